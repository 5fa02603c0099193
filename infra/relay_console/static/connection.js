// Whether the console answers, and whether it can read the stack.
import { byId } from "./element.js";
import { setText, text } from "./texts.js";

const errors = {};

/** `state` is "live", or the text that says why it is not. */
export function showConnected(state) {
  byId("live").dataset.on = state === "live";
  setText(byId("live"), state);
}

/** Show the error of a subscription until it has none. */
export function showError(subscription, error) {
  errors[subscription] = error;
  const shown = Object.values(errors).find(Boolean);
  byId("error").hidden = !shown;
  byId("error").textContent = shown ? text("error", { error: shown }) : "";
}
