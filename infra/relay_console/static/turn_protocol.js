// The protocol of a turn: its parts, and one of them in detail.
import { raw } from "./code_block.js";
import { byId, element, fill } from "./element.js";
import { facts } from "./facts.js";
import { compare, KeyedList, row } from "./keyed_list.js";
import { explained } from "./states.js";
import { text } from "./texts.js";
import { time } from "./times.js";

export class TurnProtocol {
  /** `select` gets a turn and the key of one of its parts. */
  constructor(body, select) {
    this.body = body;
    this.select = select;
    this.item = null;
    this.chosen = undefined;
  }

  /** Show a turn and its parts; `chosen` is the key of the part in detail. */
  show(item, parts, chosen) {
    const before = this.chosen;
    this.item = item;
    this.chosen = chosen;
    if (byId("part-list")?.dataset.turn !== item.id) this.begin(item.id);
    fill(
      byId("turn-head"),
      explained(item.status),
      item.push && element("p", { class: "explain" }, text("explain.push")),
    );
    this.list.update(parts.filter((part) => !this.list.get(part.id)));
    this.list.redraw(new Set([`part:${before}`, `part:${chosen}`]));
  }

  begin(turn) {
    fill(
      this.body,
      element("div", { id: "turn-head" }),
      element("div", { id: "part-detail" }),
      element("h3", {}, text("parts")),
      element("ol", { id: "part-list", class: "parts", dataset: { turn } }),
    );
    this.list = new KeyedList(byId("part-list"), {
      draw: (node, part) => this.draw(node, part),
      compare: (one, other) => compare(other.key, one.key),
    });
  }

  draw(node, part) {
    fill(
      node,
      row(
        part.key === this.chosen,
        () => this.select(this.item, part.key),
        element("span", { class: "number" }, `#${part.sequence}`),
        element("span", { class: "when" }, time(part.at)),
        element("span", { class: "size" }, part.length !== null && text("characters", { n: part.length })),
        part.final && element("span", { class: "tag" }, text("final")),
      ),
    );
  }

  /** Show the chosen part in detail. */
  showPart(part) {
    const verified = { null: "verified.response", 0: "verified.newest" }[part.secret] ?? "verified.older";
    const yes = (value) => text(value ? "yes" : "no");
    fill(
      byId("part-detail"),
      element(
        "p",
        { class: "verified" },
        element("span", { "aria-hidden": "true" }, "✓ "),
        text(verified, { at: time(part.received_at), n: part.secret + 1 }),
      ),
      facts([
        ["sequence", part.sequence],
        ["final", yes(part.final)],
        ["stream", yes(part.stream)],
        ["stamp", part.stamp],
        ["created_at", part.created_at],
        ["signed_at", part.signed_at],
        ["received_at", part.received_at],
        ["skew", text("skew.seconds", { n: part.skew })],
        ["reply_to", part.reply_to || text("reply_to.none")],
        ["digest", part.digest],
        ["normalized", part.normalized && text("normalized.about")],
        ["overflow", part.overflow],
      ]),
      raw(part.raw, text("raw.part")),
    );
  }
}
