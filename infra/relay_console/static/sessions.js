// The left column: the sessions by last activity.
import { byId, element, fill } from "./element.js";
import { compare, KeyedList, row } from "./keyed_list.js";
import { AWAITING_OPERATOR, chip, STATES } from "./states.js";
import { text } from "./texts.js";
import { time } from "./times.js";

export class Sessions {
  /** `open` gets the key of a session. */
  constructor(open) {
    Object.assign(this, { open, opened: null });
    this.list = new KeyedList(byId("session-list"), {
      draw: (node, item) => this.draw(node, item),
      compare: (one, other) => compare(other.at, one.at) || compare(one.id, other.id),
      shows: (item) => this.shows(item),
      changed: () => this.count(),
    });
    byId("state").append(
      ...STATES.map((state) => element("option", { value: state, dataset: { text: `state.${state}` } })),
    );
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
    this.loaded = true;
    const set = change.set.filter((item) => item.kind === "session");
    const known = new Set(change.set.map((item) => item.id));
    // The list stays where it is when another session is opened.
    const gone = change.reset ? [...this.list.items.keys()].filter((id) => !known.has(id)) : change.gone;
    this.list.update(set, gone);
    for (const name of new Set(set.map((item) => item.bot))) this.offerBot(name);
  }

  offerBot(name) {
    const options = [...byId("bot").options];
    if (options.some((option) => option.value === name)) return;
    const next = options.find((option) => option.value > name) ?? null;
    byId("bot").insertBefore(element("option", { value: name }, name), next);
  }

  shows(item) {
    const [wanted, bot, state] = ["search", "bot", "state"].map((id) => byId(id).value);
    const states = state === "awaiting_operator" ? AWAITING_OPERATOR : [state];
    return (
      (!bot || item.bot === bot) &&
      (!state || states.some((one) => item.states[one])) &&
      (!wanted || item.session_id.toLowerCase().includes(wanted.trim().toLowerCase()))
    );
  }

  count() {
    const all = this.list.order.length;
    const shown = this.list.shown.length;
    byId("session-count").textContent = shown === all ? `${all}` : `${shown} / ${all}`;
    byId("no-sessions").hidden = shown > 0;
    byId("no-sessions").textContent = text(
      !this.loaded ? "loading" : all ? "sessions.none" : "sessions.empty",
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
    const before = this.opened;
    this.opened = session;
    this.list.redraw([`session:${before}`, `session:${session}`]);
  }

  draw(node, item) {
    const states = STATES.filter((state) => item.states[state]);
    fill(
      node,
      row(
        item.session === this.opened,
        () => this.open(item.session),
        element("span", { class: "name" }, item.session_id || "–"),
        element("span", { class: "when" }, time(item.at)),
        element("span", { class: "bot" }, item.bot || text("bot.none")),
        element(
          "span",
          { class: "states" },
          states.map((state) => chip(state, item.states[state])),
        ),
      ),
    );
  }
}
