// Whether the console answers, and whether it can read the stack.
import { byId } from "./element.js";
import { setText, text } from "./texts.js";

const errors = {};
let state;

/** `now` is "live", or the text that says why it is not. */
export function showConnected(now) {
  state = now;
  show();
}

/** Show the error of a subscription until it has none. */
export function showError(subscription, error) {
  errors[subscription] = error;
  show();
}

function show() {
  const error = Object.values(errors).find(Boolean);
  const shown = state === "live" && error ? "live.unread" : state;
  byId("live").dataset.on = shown === "live";
  setText(byId("live"), shown);
  byId("error").hidden = !error;
  byId("error").textContent = error ? text("error", { error }) : "";
}
