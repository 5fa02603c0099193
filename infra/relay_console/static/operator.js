// What the operator does with a message that waits for it: resend or drop, after a confirmation.
import { byId, element } from "./element.js";
import { post } from "./http.js";
import { notify } from "./notice.js";
import { excerpt } from "./segments.js";
import { AWAITING_OPERATOR } from "./states.js";
import { text } from "./texts.js";

let asked;

/** Ask for a confirmation, or a reason; `action` is "resend" or "drop". */
export function ask(action, item) {
  if (!AWAITING_OPERATOR.includes(item?.state)) return notify(text("operator.none"));
  if (action === "resend" && item.invalid) return notify(text("operator.invalid"));
  asked = { action, item };
  byId("confirm-title").textContent = text(`${action}.title`);
  byId("confirm-about").textContent = `“${excerpt(item, 200)}” – ${text(`${action}.about`)}`;
  byId("confirm-submit").textContent = text(action);
  byId("reason-label").hidden = action !== "drop";
  byId("reason").required = action === "drop";
  byId("reason").value = "";
  byId("confirm-error").hidden = true;
  byId("confirm").showModal();
  byId(action === "drop" ? "reason" : "confirm-submit").focus();
}

byId("confirm-cancel").addEventListener("click", () => byId("confirm").close());
byId("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { action, item } = asked;
  const fields = { session: item.session, message: item.key };
  if (action === "drop") fields.reason = byId("reason").value.trim();
  byId("confirm-submit").disabled = true;
  try {
    await post(`/api/${action}`, fields);
    byId("confirm").close();
    notify(text(`${action}.done`));
  } catch (error) {
    byId("confirm-error").textContent = error.message;
    byId("confirm-error").hidden = false;
  } finally {
    byId("confirm-submit").disabled = false;
  }
});

/** Return the buttons of a message, if it waits for the operator; `large` ones have their keys. */
export function actionButtons(item, large = false) {
  if (!AWAITING_OPERATOR.includes(item.state)) return null;
  const button = (action, key) =>
    element(
      "button",
      {
        type: "button",
        class: large && action === "resend" ? "main" : "plain",
        dataset: { focus: action },
        onclick: () => ask(action, item),
      },
      text(action),
      large && [" ", element("kbd", { "aria-hidden": "true" }, key)],
    );
  return element("p", { class: "actions" }, !item.invalid && button("resend", "r"), button("drop", "d"));
}
