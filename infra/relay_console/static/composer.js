// The form below the conversation, which sends a message.
import { byId } from "./element.js";
import { post } from "./http.js";
import { notify } from "./notice.js";

export class Composer {
  /** `opened` is called with the session of a message that was sent, before the conversation shows it. */
  constructor(conversation, opened) {
    Object.assign(this, { conversation, opened });
    byId("start-session").addEventListener("click", () => {
      this.choose(byId("new-bot").value, "", true);
      byId("new-id").focus();
    });
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

  /** Name the session that the next message is for; `isNew` lets the operator name it. */
  choose(bot, sessionId, isNew = false) {
    byId("new-bot").value = bot;
    byId("new-id").value = sessionId;
    byId("new-session").hidden = !isNew;
    byId("start-session").hidden = isNew;
  }

  async send() {
    const fields = {
      bot: byId("new-bot").value.trim(),
      session_id: byId("new-id").value.trim(),
      action: byId("action").value,
    };
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
