// The protocol of a message: its state, its attempts and its record.
import { code, raw } from "./code_block.js";
import { element } from "./element.js";
import { facts } from "./facts.js";
import { notify } from "./notice.js";
import { actionButtons } from "./operator.js";
import { note } from "./segments.js";
import { explained, UNUSUAL_ANSWERS } from "./states.js";
import { text } from "./texts.js";
import { time } from "./times.js";

/** `detail` is what the console adds to a message that has a record. */
export function messageProtocol(item, detail) {
  const explain = (key) => element("p", { class: "explain" }, text(key));
  const head = [
    explained(item.state, { at: time(item.due_at) }),
    UNUSUAL_ANSWERS.includes(item.answer_kind) && explain(`explain.${item.answer_kind}`),
  ];
  if (!detail.raw) return [head, diagnosis(), actionButtons(item, true)];
  const at = (name) => [name, item[name] && time(item[name])];
  return [
    head,
    diagnosis(),
    actionButtons(item, true),
    facts([
      at("queued_at"),
      at("delivered_at"),
      at("answered_at"),
      at("unanswered_at"),
      at("parked_at"),
      at("resent_at"),
      at("dropped_at"),
      item.state === "delivered" ? at("due_at") : [],
      ["message_id", item.message_id],
    ]),
    detail.context && [element("h3", {}, text("context")), code(detail.context)],
    element("h3", {}, text("attempts")),
    detail.attempts.length
      ? element("ol", { class: "attempts" }, detail.attempts.map(attemptRow))
      : note("attempts.none"),
    detail.response && [element("h3", {}, text("response")), code(detail.response)],
    detail.curl && [
      element("h3", {}, text("curl")),
      note("curl.about"),
      copyButton(detail.curl),
      code(detail.curl, "wrap"),
    ],
    raw(detail.raw, text("raw.record")),
  ];
}

/** Make the place of the diagnosis, which can take a read of callback's log. */
const diagnosis = () => element("div", { id: "diagnosis" });

function attemptRow(attempt) {
  return element(
    "li",
    { dataset: { verdict: attempt.verdict } },
    element(
      "p",
      {},
      element("strong", {}, text(`verdict.${attempt.verdict}`)),
      attempt.status && ` · HTTP ${attempt.status}`,
      ` · ${attempt.ms} ms · `,
      element("time", { datetime: attempt.at }, time(attempt.at)),
    ),
    attempt.error && element("p", { class: "reason" }, attempt.error),
    element("p", { class: "mono" }, attempt.key),
  );
}

function copyButton(words) {
  const copy = () =>
    navigator.clipboard.writeText(words).then(
      () => notify(text("copied")),
      () => notify(text("copied.not")),
    );
  return element(
    "p",
    { class: "actions" },
    element("button", { type: "button", class: "plain", onclick: copy }, text("curl.copy")),
  );
}
