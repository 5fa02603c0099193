// The left column: the sessions by last activity.
import { byId, element, KeyedList, row } from "./dom.js";
import { chip, STATES } from "./states.js";
import { text, time } from "./texts.js";

export class Sessions {
  /** `open` is called with the key of a session. */
  constructor(open) {
    this.open = open;
    this.opened = null;
    this.bots = new Set();
    this.list = new KeyedList(byId("session-list"), {
      fill: (node, item) => this.fill(node, item),
      compare: (one, other) => (one.at < other.at ? 1 : one.at > other.at ? -1 : one.id < other.id ? -1 : 1),
      shows: (item) => this.shows(item),
      changed: () => this.count(),
    });
    byId("search").addEventListener("input", () => this.list.filter());
    byId("bot").addEventListener("change", () => this.list.filter());
    byId("state").addEventListener("change", () => this.list.filter());
    byId("open-typed").addEventListener("click", () => open(this.typed()));
    byId("search").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !byId("search").value) return;
      byId("search").blur();
      open(this.list.shown.length === 1 ? this.list.shown[0].session : this.typed());
    });
  }

  update(change) {
    this.known = true;
    if (change.reset) this.list.clear();
    this.list.update(
      change.set,
      change.gone.filter((id) => id.startsWith("session:")),
    );
    const bots = change.set.filter((item) => !this.bots.has(item.bot));
    for (const item of bots) this.bots.add(item.bot);
    if (bots.length) this.offerBots();
  }

  offerBots() {
    const select = byId("bot");
    const chosen = select.value;
    const names = [...this.bots].filter((name) => name).sort();
    select.replaceChildren(
      element("option", { value: "" }, text("bots.all")),
      ...names.map((name) => element("option", { value: name }, name)),
    );
    select.value = chosen;
  }

  translate() {
    const chosen = byId("state").value;
    byId("state").replaceChildren(
      element("option", { value: "" }, text("states.all")),
      element("option", { value: "trouble" }, text("states.trouble")),
      ...STATES.map((state) => element("option", { value: state }, text(`state.${state}`))),
    );
    byId("state").value = chosen;
    this.offerBots();
    this.list.refresh();
  }

  shows(item) {
    const [wanted, bot, state] = ["search", "bot", "state"].map((id) => byId(id).value);
    return (
      (!bot || item.bot === bot) &&
      (!state || (state === "trouble" ? item.states.parked || item.states.unanswered : item.states[state])) &&
      (!wanted || item.session_id.toLowerCase().includes(wanted.trim().toLowerCase()))
    );
  }

  count() {
    const all = this.list.order.length;
    const shown = this.list.shown.length;
    byId("session-count").textContent = shown === all ? `${all}` : `${shown} / ${all}`;
    byId("no-sessions").hidden = shown > 0;
    byId("no-sessions").textContent = text(
      !this.known ? "loading" : all ? "sessions.none" : "sessions.empty",
    );
    const typed = byId("search").value.trim();
    byId("open-typed").hidden = !typed || this.list.items.has(`session:${this.typed()}`);
    byId("open-typed").textContent = text("sessions.open", {
      session: typed,
      bot: byId("bot").value || "default",
    });
  }

  /** Return the key of the session with the very id that is typed, whether it is listed or not. */
  typed() {
    const wanted = byId("search").value.trim();
    const found = this.list.shown.find((item) => item.session_id === wanted);
    return found?.session ?? `${byId("bot").value || "default"}#${wanted}`;
  }

  mark(session) {
    const before = this.list.node(`session:${this.opened}`);
    this.opened = session;
    for (const node of [before, this.list.node(`session:${session}`)]) {
      if (node) this.list.refill(node, this.list.get(node.dataset.id));
    }
  }

  fill(node, item) {
    const states = STATES.filter((state) => item.states[state]).map((state) =>
      chip(state, item.states[state]),
    );
    node.replaceChildren(
      row(
        item.session === this.opened,
        () => this.open(item.session),
        element("span", { class: "name" }, item.session_id || "–"),
        element("span", { class: "when" }, time(item.at)),
        element("span", { class: "bot" }, item.bot || text("bot.none")),
        element("span", { class: "states" }, ...states),
      ),
    );
  }
}
