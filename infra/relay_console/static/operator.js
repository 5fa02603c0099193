// What the operator does, after a confirmation: resend, drop or cancel messages, erase a session, pause or resume a bot.
import { byId, element } from "./element.js";
import { get, post } from "./http.js";
import { notify } from "./notice.js";
import { excerpt } from "./segments.js";
import { AWAITING_OPERATOR, ON_QUEUE } from "./states.js";
import { text } from "./texts.js";

const INPUTS = { drop: "reason", drop_many: "reason", erase: "typed" };

let asked;

/** Ask for a confirmation, or a reason; `action` is "resend", "drop" or "cancel_message". */
export function ask(action, item) {
  const isQueued = action === "cancel_message";
  if (!(isQueued ? ON_QUEUE : AWAITING_OPERATOR).includes(item?.state)) return notify(text("operator.none"));
  if (action === "resend" && item.invalid) return notify(text("operator.invalid"));
  const about = `“${excerpt(item, 200)}” – ${text(`${action}.about`)}`;
  const id = isQueued ? { message_id: item.message_id } : { message: item.key };
  open(action, about, { session: item.session, ...id });
}

/** Ask whether to resend or drop what a filter of bot and state selects; `action` is "resend_many" or "drop_many". */
export async function askMany(action, filter) {
  try {
    const { n, until } = await get("/api/selected", filter);
    if (!n) return notify(text("many.none"));
    open(action, text("many.about", { n }), { ...filter, until });
  } catch (error) {
    notify(error.message);
  }
}

/** Ask for the id of a session, and then erase it; `session` is its key. */
export async function askToErase(session, sessionId) {
  try {
    open("erase", text("erase.about", await get("/api/erasable", { session })), { session }, sessionId);
  } catch (error) {
    notify(error.message);
  }
}

/** Open the dialog; the action takes `fields`, and its input if it has one, which must be `typed` if given. */
function open(action, about, fields, typed) {
  asked = { action, fields, typed };
  byId("confirm-title").textContent = text(`${action}.title`);
  byId("confirm-about").textContent = about;
  byId("confirm-submit").textContent = text(action);
  for (const name of Object.values(INPUTS)) {
    byId(`${name}-label`).hidden = name !== INPUTS[action];
    byId(name).required = name === INPUTS[action];
    byId(name).value = "";
  }
  byId("confirm-error").hidden = true;
  byId("confirm").showModal();
  byId(INPUTS[action] ?? "confirm-submit").focus();
}

function fail(message) {
  byId("confirm-error").textContent = message;
  byId("confirm-error").hidden = false;
}

byId("confirm-cancel").addEventListener("click", () => byId("confirm").close());
byId("confirm-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { action, fields, typed } = asked;
  const input = INPUTS[action];
  const value = input && byId(input).value;
  if (typed !== undefined && value !== typed) return fail(text("erase.mismatch"));
  byId("confirm-submit").disabled = true;
  try {
    const done = await post(`/api/${action}`, input ? { ...fields, [input]: value } : fields);
    byId("confirm").close();
    notify(text(`${action}.done`, done));
  } catch (error) {
    fail(error.message);
  } finally {
    byId("confirm-submit").disabled = false;
  }
});

/** Return the button that pauses or resumes a bot; the page knows it by `id`. */
export function pauseButton({ bot, paused_since }, id) {
  const action = paused_since ? "resume" : "pause";
  const onclick = () => open(action, `${bot}: ${text(`${action}.about`)}`, { bot });
  return element("button", { id, type: "button", class: "plain", onclick }, text(action));
}

/** Return the buttons of a message, if there is something to do about it; `large` ones have their keys. */
export function actionButtons(item, large = false) {
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
      large && key && [" ", element("kbd", { "aria-hidden": "true" }, key)],
    );
  if (ON_QUEUE.includes(item.state)) return large ? element("p", { class: "actions" }, button("cancel_message")) : null;
  if (!AWAITING_OPERATOR.includes(item.state)) return null;
  return element("p", { class: "actions" }, !item.invalid && button("resend", "r"), button("drop", "d"));
}
