// What the right column shows while nothing is selected: bots, queues, and what callback refused.
import { byId, element } from "./dom.js";
import { age, text, time } from "./texts.js";

const QUEUES = ["push", "parked", "sync", "spill", "recheck"];

export class StackState {
  constructor() {
    this.items = new Map();
    this.shown = true;
  }

  update(change) {
    if (change.reset) this.items.clear();
    for (const id of change.gone) this.items.delete(id);
    for (const item of change.set) if (item.kind !== "session") this.items.set(item.id, item);
    if (this.shown) this.draw();
  }

  show() {
    this.shown = true;
    byId("close-protocol").hidden = true;
    delete byId("protocol-body").dataset.turn;
    this.draw();
  }

  hide() {
    this.shown = false;
  }

  draw() {
    const of = (kind) => [...this.items.values()].filter((item) => item.kind === kind);
    const bots = of("bot").sort(
      (one, other) => other.failures - one.failures || (one.bot < other.bot ? -1 : 1),
    );
    byId("protocol-title").textContent = text("stack.title");
    byId("protocol-body").replaceChildren(
      element("h3", {}, text("queues")),
      this.items.size ? queues(of("queue")) : element("p", { class: "note" }, text("loading")),
      element("h3", {}, text("refused")),
      refused(of("refused")[0]),
      element("h3", {}, text("bots")),
      bots.length
        ? element("ul", { class: "cards" }, ...bots.map(bot))
        : element("p", { class: "note" }, text("bots.none")),
    );
  }
}

function bot(item) {
  const facts = [
    ["in_flight", item.in_flight ?? "–"],
    ["free_slots", item.free_slots ?? "–"],
    ["failures", item.failures],
    ["last_success", item.last_success ? text("ago", { age: age(item.last_success) }) : "–"],
    ["skew", item.skew === null ? "–" : text("skew.seconds", { n: item.skew })],
  ];
  if (item.failing_since) facts.push(["failing_since", time(item.failing_since)]);
  if (item.unreachable_since) facts.push(["unreachable_since", time(item.unreachable_since)]);
  if (item.probe_at) facts.push(["probe_at", time(item.probe_at)]);
  return element(
    "li",
    { class: "card", dataset: { circuit: item.circuit } },
    element(
      "p",
      { class: "title" },
      element("strong", {}, item.bot),
      element("span", { class: "chip", dataset: { circuit: item.circuit } }, text(`circuit.${item.circuit}`)),
    ),
    element(
      "dl",
      { class: "facts" },
      ...facts.flatMap(([name, value]) => [
        element("dt", {}, text(`field.${name}`)),
        element("dd", {}, `${value}`),
      ]),
    ),
  );
}

function queues(items) {
  const known = new Map(items.map((item) => [item.queue, item]));
  return element(
    "table",
    { class: "queues" },
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("th", { scope: "col" }, text("queue")),
        element("th", { scope: "col" }, text("depth")),
        element("th", { scope: "col" }, text("oldest")),
      ),
    ),
    element(
      "tbody",
      {},
      ...QUEUES.filter((name) => known.has(name)).map((name) => {
        const item = known.get(name);
        return element(
          "tr",
          { dataset: { queue: name, depth: item.depth ? "some" : "none" } },
          element("th", { scope: "row" }, text(`queue.${name}`)),
          element("td", {}, item.depth),
          element("td", {}, item.oldest && item.depth ? age(item.oldest) : "–"),
        );
      }),
    ),
  );
}

function refused(item) {
  if (!item) return element("p", { class: "note" }, text("loading"));
  const reasons = Object.entries(item.reasons);
  return element(
    "div",
    {},
    reasons.length
      ? element(
          "dl",
          { class: "facts" },
          ...reasons.flatMap(([reason, count]) => [
            element("dt", {}, text(`refused.${reason}`)),
            element("dd", {}, `${count}`),
          ]),
        )
      : element("p", {}, text("refused.none")),
    element("p", { class: "note" }, text("refused.about")),
  );
}
