// A message, and a turn, as the conversation shows them.
import { element } from "./element.js";
import { actionButtons } from "./operator.js";
import { excerpt, note, segments } from "./segments.js";
import { AWAITING_OPERATOR, chip, UNUSUAL_ANSWERS } from "./states.js";
import { text } from "./texts.js";
import { time } from "./times.js";

export function messageRow(item, select) {
  const tags = [
    item.action !== "push" && item.action,
    item.resend_of && text("tag.resend"),
    UNUSUAL_ANSWERS.includes(item.answer_kind) && text(`tag.${item.answer_kind}`),
  ];
  const failed = item.state === "retrying" || AWAITING_OPERATOR.includes(item.state);
  const reason = item.drop_reason ?? (failed && (item.reason ?? item.last_error));
  return [
    item.sender && element("p", { class: "byline" }, item.sender),
    element(
      "div",
      { class: "bubble", onclick: select },
      segments(item),
      !item.segments?.length && item.action === "reset" && note("action.reset"),
    ),
    element(
      "p",
      { class: "meta" },
      tags.map(tag),
      openButton(
        item.state,
        item.queued_at,
        item.attempts > 1 && text("attempts.n", { n: item.attempts }),
        select,
      ),
    ),
    reason && element("p", { class: "reason" }, reason),
    actionButtons(item),
  ];
}

/** `question` is the message that the turn answers, if it is shown; `select` gets the key of a part. */
export function turnRow(item, question, selectedPart, select) {
  const quote = question
    ? text("answers", { text: excerpt(question, 60) })
    : !item.push && text("answers.unknown");
  return [
    element(
      "p",
      { class: "byline" },
      tag(item.push && text("tag.push")),
      quote && element("span", { class: "quote" }, quote),
      tag(item.merged.length > 0 && text("merges", { n: item.merged.length })),
    ),
    item.bubbles.map((bubble) =>
      element(
        "div",
        {
          class: bubble.part === selectedPart ? "bubble chosen" : "bubble",
          onclick: () => select(bubble.part),
        },
        segments(bubble),
      ),
    ),
    element(
      "p",
      { class: "meta" },
      openButton(item.status, item.last_at, text("parts.n", { n: item.parts }), () => select()),
    ),
  ];
}

const tag = (words) => words && element("span", { class: "tag" }, words);

function openButton(state, at, more, onclick) {
  return element(
    "button",
    { type: "button", class: "open", dataset: { focus: "open" }, onclick },
    chip(state),
    element("time", { datetime: at }, time(at)),
    more && element("span", {}, more),
  );
}
