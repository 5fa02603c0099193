// What the operator does: send, resend, drop; and the help.
import { byId, element } from "./dom.js";
import { act } from "./wire.js";
import { chip, STATES } from "./states.js";
import { spoken } from "./conversation.js";
import { text } from "./texts.js";

const KEYS = [
  ["j", "k", "key.move"],
  ["Enter", "key.open"],
  ["r", "key.resend"],
  ["d", "key.drop"],
  ["/", "key.search"],
  ["?", "key.help"],
  ["Esc", "key.back"],
];

export function fillHelp() {
  byId("help-keys").replaceChildren(
    ...KEYS.flatMap((row) => [
      element("dt", {}, ...row.slice(0, -1).map((name) => element("kbd", {}, name))),
      element("dd", {}, text(row.at(-1))),
    ]),
  );
  byId("help-states").replaceChildren(
    ...STATES.flatMap((state) => [
      element("dt", {}, chip(state)),
      element("dd", {}, text(`explain.${state}`, { at: text("deadline") })),
    ]),
  );
}

/** Asks for a confirmation, or a reason, and then resends or drops a message. */
export class Operator {
  constructor(session, say) {
    Object.assign(this, { session, say });
    byId("act-cancel").addEventListener("click", () => byId("act").close());
    byId("act-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.go();
    });
  }

  ask(what, item) {
    Object.assign(this, { what, item });
    byId("act-title").textContent = text(`${what}.title`);
    byId("act-about").textContent = `“${spoken(item).slice(0, 200)}” – ${text(`${what}.about`)}`;
    byId("act-go").textContent = text(what);
    byId("reason-label").hidden = what !== "drop";
    byId("reason").required = what === "drop";
    byId("reason").value = "";
    byId("act-fault").hidden = true;
    byId("act").showModal();
    (what === "drop" ? byId("reason") : byId("act-go")).focus();
  }

  async go() {
    const fields = { session: this.session(), message: this.item.key };
    if (this.what === "drop") fields.reason = byId("reason").value.trim();
    byId("act-go").disabled = true;
    try {
      await act(`/api/${this.what}`, fields);
      byId("act").close();
      this.say(text(`${this.what}.done`));
    } catch (error) {
      byId("act-fault").textContent = error.message;
      byId("act-fault").hidden = false;
    } finally {
      byId("act-go").disabled = false;
    }
  }
}
