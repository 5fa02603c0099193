// The page: its columns, what is selected, and what it is subscribed to.
import { link, linked, onAddress } from "./address.js";
import { showColumn } from "./columns.js";
import { Composer } from "./composer.js";
import { showConnected, showError } from "./connection.js";
import { Conversation } from "./conversation.js";
import { byId } from "./element.js";
import { get, openLink, watch } from "./http.js";
import { bindKeys, isField } from "./keyboard.js";
import { notify } from "./notice.js";
import { ask } from "./operator.js";
import { applyPreference, applyTheme, browserLanguage } from "./preferences.js";
import { Protocol } from "./protocol.js";
import { Sessions } from "./sessions.js";
import { showStack } from "./stack_name.js";
import { StackState } from "./stack_state.js";
import { setLanguage, text } from "./texts.js";

const MAX_READS = 10;

await openLink();

const stackState = new StackState((state) => {
  sessions.showState(state);
  showColumn("sessions");
});
const sessions = new Sessions((session, item) => openSession(session, item));
const conversation = new Conversation(select);
const protocol = new Protocol(select);
const composer = new Composer(conversation, (session) => openSession(session, "", false));
let watchAgain = () => {};
let focusesLast = false;
/** The id of an item that the address names, and that is not shown yet; reads of earlier messages for it. */
let wanted = "";
let reads = 0;

function openSession(session, item = "", focus = true) {
  conversation.open(session);
  protocol.open(session);
  sessions.mark(session);
  composer.choose({ bot: conversation.bot, session_id: conversation.sessionId });
  deselect();
  want(item);
  link(session, item);
  showColumn("conversation");
  focusesLast = focus && !item;
  watchAgain();
}

function updateSession(change) {
  showError("session", change.error);
  conversation.update(change);
  protocol.update(change);
  if (change.gone.includes(protocol.item?.id)) deselect();
  showSelectedAgain();
  if (!change.error) showWanted();
  if (focusesLast && !isField(document.activeElement)) {
    /** @type {NodeListOf<HTMLElement>} */
    const opening = document.querySelectorAll("#conversation-list button.open");
    [...opening].at(-1)?.focus({ preventScroll: true });
  }
  focusesLast = false;
}

function updateOverview(change) {
  showError("overview", change.error);
  sessions.update(change);
  stackState.update(change);
  if (change.set.some((item) => item.kind === "refused")) protocol.diagnose();
  if (!protocol.item) stackState.show();
}

// ---------------------------------------------------------------- what is selected

const lastPart = (item) => item.bubbles?.at(-1)?.part;

function show(item, part) {
  conversation.mark(item.id, part);
  protocol.show(item, part);
}

function select(item, part = lastPart(item)) {
  want("");
  show(item, part);
  showColumn("protocol");
  // A message on the queue has no key yet that a link could name.
  link(conversation.session, item.state === "queued" ? "" : item.id);
}

function want(id) {
  wanted = id;
  reads = 0;
}

/** Select what the address names once it is read; earlier messages are read for it. */
function showWanted() {
  if (!wanted) return;
  const item = conversation.list.get(wanted);
  if (item) {
    select(item);
    conversation.scrollTo(item.id);
  } else if (conversation.hasEarlier && reads < MAX_READS) {
    reads += 1;
    conversation.showEarlier();
  } else {
    want("");
    notify(text("message.none"));
  }
}

/** Show what is selected as it is now; if its last part is shown, the new last part. */
function showSelectedAgain() {
  const { item, part } = protocol;
  const now = conversation.list.get(item?.state === "queued" ? conversation.recorded(item) : item?.id);
  if (now && now !== item) show(now, part === lastPart(item) ? lastPart(now) : part);
}

function deselect() {
  protocol.item = null;
  conversation.mark(null);
  stackState.show();
}

function back() {
  const { item } = protocol;
  if (item) {
    deselect();
    link(conversation.session);
    showColumn("conversation");
    conversation.list.nodes.get(item.id)?.querySelector("button.open")?.focus();
  } else {
    showColumn("sessions");
    const list = byId("session-list");
    (list.querySelector("button[aria-current]") ?? list.querySelector("button"))?.focus();
  }
}

function act(action) {
  /** @type {HTMLElement | null} */
  const focused = document.activeElement.closest("#conversation-list li");
  ask(action, conversation.list.get(focused?.dataset.id) ?? protocol.item);
}

bindKeys({ back, act });
byId("close-protocol").addEventListener("click", back);

// ---------------------------------------------------------------- language, theme, and the stack

applyPreference("theme", "", applyTheme);
await applyPreference("language", browserLanguage(), async (name) => {
  await setLanguage(name);
  showStack();
  for (const list of [sessions.list, conversation.list]) {
    list.redraw();
    list.changed();
  }
  byId("protocol-body").replaceChildren();
  if (protocol.item) protocol.show(protocol.item, protocol.part);
  else stackState.show();
});
get("/api/stack", {}).then(
  (stack) => showStack(stack),
  (error) => notify(error.message),
);
const begun = linked();
if (begun.session) openSession(begun.session, begun.item, false);
watchAgain = watch(
  () => (conversation.session === null ? {} : { session: conversation.session }),
  { overview: updateOverview, session: updateSession },
  showConnected,
);
onAddress(({ session, item }) => {
  if (session && session !== conversation.session) openSession(session, item);
  else if (session) {
    deselect();
    want(item);
    showWanted();
  }
});
