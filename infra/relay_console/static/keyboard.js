// The keys.
import { showColumn } from "./columns.js";
import { byId } from "./element.js";
import { showHelp } from "./help.js";

/** Tell whether an element takes what is typed. */
export const isField = (node) => node.closest("input, textarea, select") !== null;

/** Bind the keys; `back` goes back, `act` gets "resend" or "drop". */
export function bindKeys({ back, act }) {
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    r: () => act("resend"),
    d: () => act("drop"),
    "/": () => {
      showColumn("sessions");
      byId("search").select();
      byId("search").focus();
    },
    "?": showHelp,
    Escape: back,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || !Object.hasOwn(keys, event.key)) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (!isField(target)) event.preventDefault();
    else if (event.key === "Escape") target.blur();
    else return;
    keys[event.key]();
  });
}

/** Focus the next or the previous row of the list that has the focus. */
function move(step) {
  const focused = document.activeElement;
  const list = focused.closest("#conversation-list, #part-list") ?? byId("session-list");
  const rows = [...list.querySelectorAll("button.row, button.open")];
  const at = rows.findIndex((row) => row.closest("li").contains(focused));
  const wanted = at >= 0 ? at + step : step > 0 ? 0 : rows.length;
  const next = rows[Math.max(0, Math.min(wanted, rows.length - 1))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
