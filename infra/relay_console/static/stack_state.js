// What the right column shows while nothing is selected: bots, queues, and what callback refused.
import { byId, element, fill } from "./element.js";
import { facts } from "./facts.js";
import { compare } from "./keyed_list.js";
import { pauseButton } from "./operator.js";
import { note } from "./segments.js";
import { setText, text } from "./texts.js";
import { age, time } from "./times.js";

const SHOW_PARKED = "show-parked";

export class StackState {
  items = new Map();

  /** `showSessions` gets the state of the messages in a queue that the operator chose. */
  constructor(showSessions) {
    this.showSessions = showSessions;
  }

  update(change) {
    if (change.reset) this.items.clear();
    for (const id of change.gone) this.items.delete(id);
    for (const item of change.set) if (item.kind !== "session") this.items.set(item.id, item);
  }

  show() {
    const of = (kind) => [...this.items.values()].filter((item) => item.kind === kind);
    const bots = of("bot").sort((one, other) => other.failures - one.failures || compare(one.bot, other.bot));
    const { id } = document.activeElement;
    byId("close-protocol").hidden = true;
    setText(byId("protocol-title"), "stack.title");
    fill(
      byId("protocol-body"),
      element("h3", {}, text("queues")),
      this.items.size ? queues(of("queue"), this.showSessions) : note("loading"),
      element("h3", {}, text("refused")),
      refused(of("refused")[0]),
      element("h3", {}, text("bots")),
      bots.length ? element("ul", { class: "cards" }, bots.map(bot)) : note("bots.none"),
    );
    if (id) byId(id)?.focus({ preventScroll: true });
  }
}

function bot(item) {
  return element(
    "li",
    { class: "card", dataset: { circuit: item.circuit } },
    element(
      "p",
      { class: "title" },
      element("strong", {}, item.bot),
      element("span", { class: "chip", dataset: { circuit: item.circuit } }, text(`circuit.${item.circuit}`)),
    ),
    facts([
      ["in_flight", inFlight(item)],
      ["failures", item.failures],
      ["last_success", item.last_success ? text("ago", { age: age(item.last_success) }) : "–"],
      ["skew", item.skew === null ? "–" : text("skew.seconds", { n: item.skew })],
      ["paused_since", item.paused_since && time(item.paused_since)],
      ["failing_since", item.failing_since && time(item.failing_since)],
      ["unreachable_since", item.unreachable_since && time(item.unreachable_since)],
      ["probe_at", item.probe_at && time(item.probe_at)],
    ]),
    element("p", { class: "actions" }, pauseButton(item, `pause-${item.bot}`)),
  );
}

function inFlight({ in_flight: n, max_in_flight: most }) {
  if (n === null) return "–";
  return most ? text("in_flight.of", { n, most }) : n;
}

function queues(items, showSessions) {
  const columns = ["queue", "depth", "oldest"].map((key) => element("th", { scope: "col" }, text(key)));
  const rows = items.map((item) =>
    element(
      "tr",
      { dataset: { queue: item.queue, depth: item.depth ? "some" : "none" } },
      element("th", { scope: "row" }, text(`queue.${item.queue}`)),
      element("td", {}, item.queue === "parked" && item.depth ? parked(item.depth, showSessions) : item.depth),
      element("td", {}, item.oldest && item.depth ? age(item.oldest) : "–"),
    ),
  );
  return element(
    "table",
    { class: "queues" },
    element("thead", {}, element("tr", {}, columns)),
    element("tbody", {}, rows),
  );
}

/** Make the number of parked messages, which leads to their sessions. */
function parked(depth, showSessions) {
  const onclick = () => showSessions("parked");
  const properties = { id: SHOW_PARKED, type: "button", class: "plain", title: text("parked.show"), onclick };
  return element("button", properties, depth);
}

function refused(item) {
  if (!item) return note("loading");
  const counts = item.counts.map((count) => [count, count.n]);
  return [
    counts.length
      ? facts(counts, ({ bot, reason }) => `${bot}: ${text(`refused.${reason}`)}`)
      : element("p", {}, text("refused.none")),
    note("refused.about"),
  ];
}
