// The form below the conversation, which sends a message.
import { byId, element, fill } from "./element.js";
import { get, post } from "./http.js";
import { notify } from "./notice.js";

export class Composer {
  /** `opened` is called with the session of a message that was sent, before the conversation shows it. */
  constructor(conversation, opened) {
    this.conversation = conversation;
    this.opened = opened;
    this.session = null;
    byId("start-session").addEventListener("click", () => {
      this.choose(null);
      this.offerBots();
      byId("new-id").focus();
    });
    this.offerBots();
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    byId("text").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        byId("composer").requestSubmit();
      }
    });
  }

  /** Name the session that the next message is for, by `bot` and `session_id`; null lets the operator name it. */
  choose(session) {
    this.session = session;
    byId("new-id").value = "";
    byId("new-session").hidden = session !== null;
    byId("start-session").hidden = session === null;
  }

  /** List the stack's bots: a message to any other one would be parked. */
  async offerBots() {
    try {
      const { bots } = await get("/api/bots", {});
      const chosen = byId("new-bot").value || "default";
      const options = bots.map((bot) => element("option", { value: bot, selected: bot === chosen }, bot));
      fill(byId("new-bot"), options);
    } catch (error) {
      notify(error.message);
    }
  }

  async send() {
    const named = { bot: byId("new-bot").value, session_id: byId("new-id").value.trim() };
    const fields = { ...(this.session ?? named), action: byId("action").value };
    const words = byId("text").value;
    if (fields.action !== "reset") fields.text = words;
    // The next message may be typed before this one is on the queue.
    byId("text").value = "";
    try {
      const sent = await post("/api/send", fields);
      if (this.conversation.session !== sent.session) this.opened(sent.session);
      this.conversation.addQueued(sent.message_id, fields.text, fields.action);
      byId("text").focus();
    } catch (error) {
      byId("text").value ||= words;
      notify(error.message);
    }
  }
}
