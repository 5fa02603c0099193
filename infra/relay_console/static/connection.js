// Whether the console answers, and whether it can read the stack.
import { byId } from "./element.js";
import { setText, text } from "./texts.js";

const errors = {};

export function showConnected(connected) {
  byId("live").dataset.on = connected;
  setText(byId("live"), connected ? "live" : "live.not");
}

/** Show the error of a subscription until it has none. */
export function showError(subscription, error) {
  errors[subscription] = error;
  const shown = Object.values(errors).find(Boolean);
  byId("error").hidden = !shown;
  byId("error").textContent = shown ? text("error", { error: shown }) : "";
}
