// The page: what is watched, what is selected, and the keys.
import { byId } from "./dom.js";
import { Conversation } from "./conversation.js";
import { fillHelp, Operator } from "./dialogs.js";
import { Protocol } from "./protocol.js";
import { Sessions } from "./sessions.js";
import { StackState } from "./stack_state.js";
import { speak, text } from "./texts.js";
import { act, follow, read } from "./wire.js";

// The token in the link is used up; it must not be copied with the address.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);

const stackState = new StackState();
const sessions = new Sessions((session) => openSession(session));
const operator = new Operator(() => conversation.session, say);
const conversation = new Conversation(select, (what, item) => operator.ask(what, item));
const protocol = new Protocol((what, item) => operator.ask(what, item), say, select);
let leave = () => {};

const FIELDS = "input, textarea, select";

function say(words) {
  byId("notice").textContent = words;
  byId("notice").classList.add("on");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => byId("notice").classList.remove("on"), 5000);
}

function column(name) {
  document.body.dataset.column = name;
  for (const button of document.querySelectorAll("#columns button")) {
    button.setAttribute("aria-current", button.dataset.to === name ? "true" : "false");
  }
}

// ---------------------------------------------------------------- watching

let connected = null;
function live(state) {
  connected = state;
  byId("live").dataset.on = state;
  byId("live").textContent = text(state ? "live" : "live.not");
}

const troubles = {};
function trouble(where, words) {
  troubles[where] = words;
  const shown = Object.values(troubles).find(Boolean);
  byId("trouble").hidden = !shown;
  byId("trouble").textContent = shown ? text("trouble", { error: shown }) : "";
}

function openSession(session, focus = true) {
  leave();
  conversation.open(session);
  protocol.open(session);
  sessions.mark(session);
  deselect();
  location.hash = encodeURIComponent(session);
  const [bot, id] = [session.slice(0, session.indexOf("#")), session.slice(session.indexOf("#") + 1)];
  byId("new-bot").value = bot;
  byId("new-id").value = id;
  byId("new-session").hidden = true;
  byId("start-session").hidden = false;
  column("conversation");
  let first = true;
  leave = follow("/api/session", { session }, (change) => {
    trouble("session", change.error);
    if (change.reset) protocol.parts = new Map();
    if (change.reset && !first) conversation.list.clear();
    const shown = conversation.update(change);
    protocol.update(change, shown).then(() => {
      if (protocol.item?.kind === "turn") conversation.mark(protocol.item.id, protocol.partKey);
    });
    if (first && focus && !document.activeElement.closest(FIELDS)) lastOpen()?.focus({ preventScroll: true });
    first = false;
  });
}

const lastOpen = () => [...document.querySelectorAll("#conversation-list button.open")].at(-1);

// ---------------------------------------------------------------- selecting

function select(item, part) {
  stackState.hide();
  conversation.mark(item.id, part ?? item.bubbles?.at(-1)?.part);
  if (item.kind === "message") delete byId("protocol-body").dataset.turn;
  protocol.show(item, part);
  column("protocol");
}

function deselect() {
  protocol.item = null;
  conversation.mark(null);
  stackState.show();
}

const selected = () => {
  const id = document.activeElement?.closest?.("#conversation-list li")?.dataset.id ?? protocol.item?.id;
  const item = conversation.list.get(id) ?? protocol.item;
  return item?.kind === "message" ? item : null;
};

// ---------------------------------------------------------------- sending

byId("start-session").addEventListener("click", () => {
  byId("new-session").hidden = false;
  byId("start-session").hidden = true;
  byId("new-id").value = "";
  byId("new-id").focus();
});

byId("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
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
    const sent = await act("/api/send", fields);
    if (conversation.session !== sent.session) openSession(sent.session, false);
    conversation.expect(sent.message_id, fields.text, fields.action);
    byId("text").focus();
  } catch (error) {
    byId("text").value ||= words;
    say(error.message);
  }
});

byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("composer").requestSubmit();
  }
});

byId("earlier").addEventListener("click", () =>
  act("/api/earlier", { session: conversation.session }).catch((error) => say(error.message)),
);

// ---------------------------------------------------------------- keys

function move(step) {
  const inside = document.activeElement?.closest?.("#conversation-list, #part-list, #session-list");
  const list = inside ?? byId("session-list");
  const rows = [...list.querySelectorAll("li button.row, li button.open")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const within = at >= 0 ? at : rows.findIndex((row) => row.closest("li").contains(document.activeElement));
  const next =
    rows[
      Math.min(rows.length - 1, Math.max(0, within < 0 ? (step > 0 ? 0 : rows.length - 1) : within + step))
    ];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function back() {
  if (protocol.item) {
    const id = protocol.item.id;
    deselect();
    column("conversation");
    conversation.list.node(id)?.querySelector("button.open")?.focus();
  } else {
    column("sessions");
    (
      document.querySelector("#session-list button[aria-current]") ??
      document.querySelector("#session-list button")
    )?.focus();
  }
}

function actOn(what) {
  const item = selected();
  if (item && ["parked", "unanswered"].includes(item.state)) operator.ask(what, item);
  else say(text("act.none"));
}

document.addEventListener("keydown", (event) => {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.isComposing ||
    document.querySelector("dialog[open]")
  )
    return;
  if (event.target.closest(FIELDS)) {
    if (event.key === "Escape") {
      event.target.blur();
      back();
    }
    return;
  }
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    r: () => actOn("resend"),
    d: () => actOn("drop"),
    "/": () => {
      column("sessions");
      byId("search").select();
      byId("search").focus();
    },
    "?": () => byId("help").showModal(),
    Escape: back,
  };
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

byId("open-help").addEventListener("click", () => byId("help").showModal());
byId("close-protocol").addEventListener("click", back);
for (const button of document.querySelectorAll("#columns button"))
  button.addEventListener("click", () => column(button.dataset.to));

// ---------------------------------------------------------------- language and theme

async function speakAs(name) {
  await speak(name);
  fillHelp();
  sessions.translate();
  conversation.translate();
  if (connected !== null) live(connected);
  if (protocol.item) {
    delete byId("protocol-body").dataset.turn;
    protocol.show(protocol.item, protocol.partKey);
  } else stackState.show();
}

function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

const preferred =
  navigator.languages.some((name) => name.startsWith("zh")) && !navigator.language.startsWith("en")
    ? "zh"
    : "en";
byId("language").value = localStorage.getItem("language") ?? preferred;
byId("theme").value = localStorage.getItem("theme") ?? "";
byId("language").addEventListener("change", () => {
  localStorage.setItem("language", byId("language").value);
  speakAs(byId("language").value);
});
byId("theme").addEventListener("change", () => {
  localStorage.setItem("theme", byId("theme").value);
  paint(byId("theme").value);
});
paint(byId("theme").value);

await speakAs(byId("language").value);
column("sessions");
byId("new-session").hidden = false;
byId("start-session").hidden = true;
read("/api/stack", {}).then(
  (stack) => {
    byId("stack").textContent = stack.name;
    document.title = `${stack.name} · LangBot Relay`;
  },
  (error) => say(error.message),
);
follow(
  "/api/overview",
  {},
  (change) => {
    trouble("overview", change.error);
    sessions.update({ ...change, set: change.set.filter((item) => item.kind === "session") });
    stackState.update(change);
  },
  live,
);
if (location.hash.length > 1) openSession(decodeURIComponent(location.hash.slice(1)), false);
window.addEventListener("hashchange", () => {
  const session = decodeURIComponent(location.hash.slice(1));
  if (session && session !== conversation.session) openSession(session);
});
