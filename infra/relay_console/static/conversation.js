// The middle column: a session as a chat.
import { byId, element, KeyedList } from "./dom.js";
import { chip, FAILED } from "./states.js";
import { text, time } from "./texts.js";

const NEAR_END = 80;

export class Conversation {
  /** `select` is called with an item and a part of it, `act` with "resend" or "drop" and a message. */
  constructor(select, act) {
    Object.assign(this, { select, act, selected: null, session: null });
    this.scroll = byId("conversation-scroll");
    this.list = new KeyedList(byId("conversation-list"), {
      page: Infinity,
      fill: (node, item) => this.fill(node, item),
      compare: (one, other) =>
        one.order < other.order
          ? -1
          : one.order > other.order
            ? 1
            : one.kind === other.kind
              ? one.id < other.id
                ? -1
                : 1
              : one.kind === "message"
                ? -1
                : 1,
    });
  }

  open(session) {
    this.session = session;
    this.list.clear();
    this.atEnd = true;
    byId("choose").hidden = true;
    this.scroll.hidden = false;
    byId("earlier").hidden = true;
    const [bot, id] = [session.slice(0, session.indexOf("#")), session.slice(session.indexOf("#") + 1)];
    byId("conversation-title").textContent = id;
    byId("conversation-title").removeAttribute("data-text");
    this.bot = bot;
    this.about();
  }

  about() {
    if (this.session === null) return;
    const messages = this.list.order.filter((item) => item.kind === "message");
    const failed = messages.filter((item) => FAILED.includes(item.state)).length;
    byId("conversation-about").replaceChildren(
      element("span", {}, text("conversation.about", { bot: this.bot || "–", n: messages.length })),
      ...(failed
        ? [" ", element("strong", { class: "failed" }, text("conversation.failed", { n: failed }))]
        : []),
    );
  }

  update(change) {
    const atEnd =
      change.reset || this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < NEAR_END;
    const shown = change.set.filter((item) => item.kind === "message" || item.kind === "turn");
    const gone = change.gone.filter((id) => !id.startsWith("part:"));
    const arrived = new Set(shown.map((item) => item.message_id));
    for (const item of this.list.items.values()) {
      if (item.state === "queued" && arrived.has(item.message_id)) gone.push(item.id);
    }
    const before = this.list.order.length;
    // What a message or a turn shows of the others may have changed with them.
    const known = [...this.list.items.values()].filter((item) => !gone.includes(item.id));
    this.messages = new Map(
      [...known, ...shown].filter((item) => item.kind === "message").map((item) => [item.key, item]),
    );
    this.list.update(shown, gone);
    const earlier = change.set.find((item) => item.kind === "earlier");
    if (earlier) byId("earlier").hidden = !earlier.more;
    this.about();
    if (atEnd && (before !== this.list.order.length || shown.length)) this.scrollToEnd();
    return shown;
  }

  scrollToEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
    // Heights are known only once the last ones are drawn.
    requestAnimationFrame(() => (this.scroll.scrollTop = this.scroll.scrollHeight));
  }

  /** Show a message that has just been sent, until its record is there. */
  expect(messageId, words, action) {
    const id = `message:sent ${messageId}`;
    const at = new Date().toISOString();
    const segments = words ? [{ type: "Plain", text: words }] : [];
    if ([...this.list.items.values()].some((item) => item.message_id === messageId)) return;
    this.update({
      set: [
        {
          kind: "message",
          id,
          key: id,
          message_id: messageId,
          state: "queued",
          action,
          segments,
          queued_at: at,
          order: at,
        },
      ],
      gone: [],
    });
    this.scrollToEnd();
  }

  translate() {
    this.list.refresh();
    this.about();
  }

  mark(id, part) {
    const before = this.selected;
    if (before === id && this.selectedPart === (part ?? null)) return;
    this.selected = id;
    this.selectedPart = part ?? null;
    for (const one of new Set([before, id])) {
      const node = this.list.node(one);
      if (node) this.list.refill(node, this.list.get(one));
    }
  }

  fill(node, item) {
    node.className = item.kind === "message" ? "message" : item.push ? "turn push" : "turn";
    node.classList.toggle("selected", item.id === this.selected);
    node.replaceChildren(...(item.kind === "message" ? this.message(item) : this.turn(item)));
  }

  message(item) {
    const bubble = element(
      "div",
      { class: "bubble", onclick: () => this.select(item) },
      ...segments(item.segments),
    );
    if (item.segments === null) bubble.append(note("large"));
    if (!item.segments?.length && item.action === "reset") bubble.append(note("action.reset"));
    const tags = [];
    if (item.action && item.action !== "push") tags.push(tag(item.action));
    if (item.resend_of) tags.push(tag(text("tag.resend")));
    if (item.indirect) tags.push(tag(text("tag.merged")));
    if (item.probable) tags.push(tag(text("tag.probable")));
    if (item.unfinished) tags.push(tag(text("tag.unfinished")));
    const why =
      item.drop_reason ??
      (["parked", "unanswered", "retrying"].includes(item.state) ? (item.reason ?? item.last_error) : null);
    return [
      item.sender ? element("p", { class: "who" }, item.sender) : null,
      bubble,
      element(
        "p",
        { class: "meta" },
        ...tags,
        element(
          "button",
          { type: "button", class: "open", dataset: { focus: "open" }, onclick: () => this.select(item) },
          chip(item.state),
          element("time", { datetime: item.queued_at }, time(item.queued_at)),
          item.attempts > 1 ? element("span", {}, text("attempts.n", { n: item.attempts })) : null,
        ),
      ),
      why ? element("p", { class: "why" }, why) : null,
      FAILED.includes(item.state)
        ? element(
            "p",
            { class: "acts" },
            ...["resend", "drop"].map((action) =>
              element(
                "button",
                {
                  type: "button",
                  class: "plain",
                  dataset: { focus: action },
                  onclick: () => this.act(action, item),
                },
                text(action),
              ),
            ),
          )
        : null,
    ].filter(Boolean);
  }

  turn(item) {
    const question = this.messages?.get(item.answers);
    const head = element("p", { class: "who" });
    if (item.push) head.append(tag(text("tag.push")));
    if (question)
      head.append(
        element("span", { class: "quote" }, text("answers", { text: spoken(question).slice(0, 60) })),
      );
    else if (!item.push) head.append(element("span", { class: "quote" }, text("answers.unknown")));
    if (item.merged.length) head.append(tag(text("merges", { n: item.merged.length })));
    const bubbles = item.bubbles.map((bubble) =>
      element(
        "div",
        {
          class: bubble.part === this.selectedPart ? "bubble chosen" : "bubble",
          onclick: () => this.select(item, bubble.part),
        },
        ...segments(bubble.segments),
      ),
    );
    return [
      head,
      ...bubbles,
      element(
        "p",
        { class: "meta" },
        element(
          "button",
          { type: "button", class: "open", dataset: { focus: "open" }, onclick: () => this.select(item) },
          chip(item.status),
          element("time", { datetime: item.last_at }, time(item.last_at)),
          element("span", {}, text("parts.n", { n: item.parts })),
        ),
      ),
    ];
  }
}

const tag = (words) => element("span", { class: "tag" }, words);
const note = (key) => element("p", { class: "note" }, text(key));

/** Return the text of a message, or of a turn, on one line. */
export function spoken(item) {
  const all = item.segments ?? item.bubbles?.flatMap((bubble) => bubble.segments) ?? [];
  return (
    all
      .map((segment) => segment.text ?? "")
      .join(" ")
      .replace(/\s+/g, " ")
      .trim() ||
    (item.action ?? "")
  );
}

function segments(all) {
  return (all ?? []).map((segment) => {
    if (segment.picture)
      return element("img", { src: segment.picture, alt: text("picture"), loading: "lazy" });
    if (segment.type === "Plain")
      return element("p", { class: "said" }, segment.text, segment.cut ? note("cut") : "");
    return element(
      "p",
      { class: "said other" },
      element("span", { class: "tag" }, segment.type),
      " ",
      segment.text ?? "",
    );
  });
}
