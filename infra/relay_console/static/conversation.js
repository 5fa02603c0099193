// The middle column: a session as a chat.
import { messageRow, turnRow } from "./conversation_rows.js";
import { byId, element, fill } from "./element.js";
import { post } from "./http.js";
import { isField } from "./keyboard.js";
import { compare, KeyedList } from "./keyed_list.js";
import { notify } from "./notice.js";
import { askToErase } from "./operator.js";
import { AWAITING_OPERATOR } from "./states.js";
import { text } from "./texts.js";

const NEAR_END = 80;

export class Conversation {
  /** `select` gets a message, or a turn and the key of one of its parts. */
  constructor(select) {
    this.select = select;
    this.session = null;
    /** The id of what is selected, and of a turn the key of the part. */
    this.selected = null;
    this.selectedPart = undefined;
    this.scroll = byId("conversation-scroll");
    this.list = new KeyedList(byId("conversation-list"), {
      page: Infinity,
      draw: (node, item) => this.draw(node, item),
      compare: (one, other) =>
        compare(one.order, other.order) || compare(one.kind, other.kind) || compare(one.id, other.id),
      changed: () => this.summarize(),
    });
    byId("earlier").addEventListener("click", () => this.showEarlier());
    byId("erase").addEventListener("click", () => askToErase(this.session, this.sessionId));
  }

  showEarlier() {
    post("/api/earlier", { session: this.session }).catch((error) => notify(error.message));
  }

  get hasEarlier() {
    return !byId("earlier").hidden;
  }

  /** Return the id of a message that was queued, once it has a record. */
  recorded({ message_id }) {
    return this.list.order.find((item) => item.message_id === message_id && item.state !== "queued")?.id;
  }

  open(session) {
    this.session = session;
    this.bot = session.slice(0, session.indexOf("#"));
    this.sessionId = session.slice(session.indexOf("#") + 1);
    this.list.clear();
    byId("choose").hidden = true;
    this.scroll.hidden = false;
    byId("earlier").hidden = true;
    byId("erase").hidden = false;
    byId("conversation-title").textContent = this.sessionId;
    delete byId("conversation-title").dataset.text;
    this.summarize();
  }

  summarize() {
    if (this.session === null) return;
    const messages = this.list.order.filter((item) => item.kind === "message");
    const n = messages.filter((item) => AWAITING_OPERATOR.includes(item.state)).length;
    fill(
      byId("conversation-about"),
      element("span", {}, text("conversation.about", { bot: this.bot || "–", n: messages.length })),
      n > 0 && [" ", element("strong", { class: "failed" }, text("conversation.awaiting_operator", { n }))],
    );
  }

  update(change) {
    const { scrollTop, clientHeight, scrollHeight } = this.scroll;
    const atEnd = change.reset || scrollHeight - scrollTop - clientHeight < NEAR_END;
    const set = change.set.filter((item) => item.kind === "message" || item.kind === "turn");
    const arrived = new Set(set.map((item) => item.message_id));
    const gone = [...this.list.items.values()].filter((item) =>
      item.state === "queued" ? arrived.has(item.message_id) : change.reset,
    );
    this.list.update(set, [...change.gone, ...gone.map((item) => item.id)]);
    const earlier = change.set.find((item) => item.kind === "earlier");
    if (earlier) byId("earlier").hidden = !earlier.more;
    if (atEnd && set.length) this.scrollToEnd();
  }

  scrollToEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
    // Heights are known only once the last ones are drawn.
    requestAnimationFrame(() => (this.scroll.scrollTop = this.scroll.scrollHeight));
  }

  scrollTo(id) {
    const node = this.list.nodes.get(id);
    if (!isField(document.activeElement))
      node.querySelector("button.open").focus({ preventScroll: true });
    // After the scroll to the end.
    requestAnimationFrame(() => node.scrollIntoView({ block: "center" }));
  }

  /** Show a message that has just been sent, until its record is there. */
  addQueued(messageId, words, action) {
    if (this.list.order.some((item) => item.message_id === messageId)) return;
    const at = new Date().toISOString();
    const item = {
      kind: "message",
      id: `message:queued ${messageId}`,
      session: this.session,
      message_id: messageId,
      state: "queued",
      action,
      segments: words ? [{ type: "Plain", text: words }] : [],
      queued_at: at,
      order: at,
    };
    this.update({ set: [item], gone: [] });
    this.scrollToEnd();
  }

  /** Mark what is selected: an item, and of a turn one part. */
  mark(id, part) {
    const before = this.selected;
    if (before === id && this.selectedPart === part) return;
    this.selected = id;
    this.selectedPart = part;
    this.list.redraw(new Set([before, id]));
  }

  draw(node, item) {
    node.className = item.push ? "turn push" : item.kind;
    node.classList.toggle("selected", item.id === this.selected);
    fill(
      node,
      item.kind === "message"
        ? messageRow(item, () => this.select(item))
        : turnRow(item, this.list.get(`message:${item.answers}`), this.selectedPart, (part) =>
            this.select(item, part),
          ),
    );
  }
}
