// The right column: the protocol of what is selected.
import { byId, copy, element, KeyedList, row } from "./dom.js";
import { read } from "./wire.js";
import { chip, FAILED } from "./states.js";
import { text, time } from "./texts.js";

export class Protocol {
  /** `act` gets "resend" or "drop" and a message, `say` a text, `choose` a turn and one of its parts. */
  constructor(act, say, choose) {
    Object.assign(this, { act, say, choose, item: null, partKey: null });
    this.parts = new Map();
    this.body = byId("protocol-body");
  }

  open(session) {
    this.session = session;
    this.parts = new Map();
    this.item = null;
  }

  /** Show a message, or a turn and one of its parts. */
  async show(item, part = null) {
    const same = this.item?.id === item.id && this.partKey === part;
    this.item = item;
    this.partKey = item.kind === "turn" ? (part ?? item.bubbles.at(-1)?.part ?? null) : null;
    byId("close-protocol").hidden = false;
    byId("protocol-title").textContent = text(item.kind === "message" ? "protocol.message" : "protocol.turn");
    if (!same) this.body.scrollTop = 0;
    await (item.kind === "message" ? this.message(item) : this.turn(item));
  }

  /** Take what has changed; what is shown is shown anew. */
  async update(change, shown) {
    const added = change.set.filter((item) => item.kind === "part");
    for (const part of added) {
      if (!this.parts.has(part.turn)) this.parts.set(part.turn, []);
      this.parts.get(part.turn).push(part);
    }
    const now = shown.find((item) => item.id === this.item?.id);
    if (now?.kind === "message") await this.show(now);
    if (now?.kind === "turn") {
      const atEnd = this.partKey === this.item.bubbles.at(-1)?.part;
      await this.show(now, atEnd ? null : this.partKey);
    }
  }

  async message(item) {
    const head = [
      element("p", { class: "state" }, chip(item.state)),
      element("p", { class: "explain" }, text(`explain.${item.state}`, { at: time(item.due_at) })),
    ];
    if (item.indirect) head.push(element("p", { class: "explain" }, text("explain.merged")));
    if (item.probable) head.push(element("p", { class: "explain" }, text("explain.probable")));
    if (item.unfinished) head.push(element("p", { class: "explain" }, text("explain.unfinished")));
    if (item.state === "queued") {
      this.body.replaceChildren(...head);
      return;
    }
    const found = await this.fetch("/api/message", { message: item.key });
    if (!found || this.item !== item) return;
    const facts = [
      ["queued_at", time(item.queued_at)],
      ["delivered_at", item.delivered_at && time(item.delivered_at)],
      ["answered_at", item.answered_at && time(item.answered_at)],
      ["unanswered_at", item.unanswered_at && time(item.unanswered_at)],
      ["parked_at", item.parked_at && time(item.parked_at)],
      ["resent_at", item.resent_at && time(item.resent_at)],
      ["dropped_at", item.dropped_at && time(item.dropped_at)],
      ["due_at", item.state === "delivered" && item.due_at && time(item.due_at)],
      ["reason", item.reason],
      ["last_error", item.last_error],
      ["drop_reason", item.drop_reason],
      ["message_id", item.message_id],
    ];
    this.body.replaceChildren(
      ...head,
      FAILED.includes(item.state)
        ? element(
            "p",
            { class: "acts" },
            element(
              "button",
              { type: "button", class: "main", onclick: () => this.act("resend", item) },
              text("resend"),
              " ",
              key("r"),
            ),
            element(
              "button",
              { type: "button", class: "plain", onclick: () => this.act("drop", item) },
              text("drop"),
              " ",
              key("d"),
            ),
          )
        : "",
      facts_of(facts),
      element("h3", {}, text("attempts")),
      found.attempts.length
        ? element("ol", { class: "attempts" }, ...found.attempts.map(attempt))
        : element("p", { class: "note" }, text("attempts.none")),
      ...(found.response ? [element("h3", {}, text("response")), code(found.response)] : []),
      ...(found.curl
        ? [
            element("h3", {}, text("curl")),
            element("p", { class: "note" }, text("curl.about")),
            this.copier(found.curl, "curl.copy"),
            code(found.curl, "wrap"),
          ]
        : []),
      raw(found.raw, text("raw.record")),
    );
  }

  async turn(item) {
    const parts = this.parts.get(item.id) ?? [];
    const fresh = this.body.dataset.turn !== item.id;
    if (fresh) {
      this.list = null;
      this.body.replaceChildren(
        element("div", { id: "turn-head" }),
        element("div", { id: "part-detail" }),
        element("h3", {}, text("parts")),
        element("ol", { id: "part-list", class: "parts" }),
      );
      this.list = new KeyedList(byId("part-list"), {
        fill: (node, part) => this.partRow(node, part),
        compare: (one, other) => (one.key < other.key ? 1 : -1),
      });
      this.body.dataset.turn = item.id;
    }
    byId("turn-head").replaceChildren(
      element("p", { class: "state" }, chip(item.status)),
      element("p", { class: "explain" }, text(`explain.${item.status}`)),
      item.push ? element("p", { class: "explain" }, text("explain.push")) : "",
    );
    const known = this.list.items.size;
    if (parts.length !== known) this.list.update(parts.slice(known));
    for (const node of this.list.nodes.values()) {
      const chosen = node.dataset.id === `part:${this.partKey}`;
      if (chosen !== (node.firstElementChild.getAttribute("aria-current") === "true"))
        this.list.refill(node, this.list.get(node.dataset.id));
    }
    const key = this.partKey;
    if (!key) return;
    const found = await this.fetch("/api/part", { part: key });
    if (!found || this.item !== item || this.partKey !== key || !byId("part-detail")) return;
    byId("part-detail").replaceChildren(...this.partDetail(found));
  }

  partRow(node, part) {
    node.replaceChildren(
      row(
        part.key === this.partKey,
        () => this.choose(this.item, part.key),
        element("span", { class: "number" }, `#${part.sequence}`),
        element("span", { class: "when" }, time(part.at)),
        element("span", { class: "size" }, text("characters", { n: part.length })),
        part.final ? element("span", { class: "tag" }, text("final")) : null,
      ),
    );
  }

  partDetail(part) {
    const verified =
      part.secret === null
        ? text("verified.response")
        : text(part.secret === 0 ? "verified.newest" : "verified.older", {
            at: time(part.received_at),
            n: part.secret + 1,
          });
    const yes = (value) => text(value ? "yes" : "no");
    return [
      element("p", { class: "verified" }, element("span", { "aria-hidden": "true" }, "✓ "), verified),
      facts_of([
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
    ];
  }

  async fetch(path, parameters) {
    try {
      return await read(path, { session: this.session, ...parameters });
    } catch (error) {
      this.say(error.message);
      return null;
    }
  }

  copier(words, label) {
    return element(
      "p",
      { class: "acts" },
      element(
        "button",
        {
          type: "button",
          class: "plain",
          onclick: async () => this.say(text((await copy(words)) ? "copied" : "copied.not")),
        },
        text(label),
      ),
    );
  }
}

function attempt(one) {
  return element(
    "li",
    { dataset: { verdict: one.verdict } },
    element(
      "p",
      {},
      element("strong", {}, text(`verdict.${one.verdict}`)),
      one.status ? ` · HTTP ${one.status}` : "",
      ` · ${one.ms} ms · `,
      element("time", { datetime: one.at }, time(one.at)),
    ),
    one.error ? element("p", { class: "why" }, one.error) : null,
    element("p", { class: "mono" }, one.key),
  );
}

const key = (name) => element("kbd", { "aria-hidden": "true" }, name);

const code = (words, more = "") => element("pre", { class: more, tabindex: "0" }, words);

const raw = (words, title) => element("details", {}, element("summary", {}, title), code(words));

function facts_of(facts) {
  const shown = facts.filter(
    ([, value]) => value !== undefined && value !== null && value !== false && value !== "",
  );
  return element(
    "dl",
    { class: "facts" },
    ...shown.flatMap(([name, value]) => [
      element("dt", {}, text(`field.${name}`)),
      element("dd", {}, `${value}`),
    ]),
  );
}
