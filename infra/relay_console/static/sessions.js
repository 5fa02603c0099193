// The left column: the sessions by last activity.
import { byId, element, fill } from "./element.js";
import { get } from "./http.js";
import { compare, KeyedList, row } from "./keyed_list.js";
import { notify } from "./notice.js";
import { askMany } from "./operator.js";
import { AWAITING_OPERATOR, chip, STATES } from "./states.js";
import { text } from "./texts.js";
import { time } from "./times.js";

export class Sessions {
  /** `open` gets the key of a session, and the id of the message that was searched for. */
  constructor(open) {
    this.open = open;
    this.opened = null;
    /** The sessions that a search found: of each the id of a message. */
    this.found = {};
    this.loaded = false;
    this.list = new KeyedList(byId("session-list"), {
      draw: (node, item) => this.draw(node, item),
      compare: (one, other) => compare(other.at, one.at) || compare(one.id, other.id),
      shows: (item) => this.shows(item),
      changed: () => this.count(),
    });
    byId("state").append(
      ...STATES.map((state) => element("option", { value: state, dataset: { text: `state.${state}` } })),
    );
    byId("search").addEventListener("input", () => {
      this.list.filter();
      this.searching = this.search();
    });
    byId("bot").addEventListener("change", () => this.list.filter());
    byId("state").addEventListener("change", () => this.list.filter());
    for (const action of ["resend", "drop"])
      byId(`${action}-many`).addEventListener("click", () => askMany(`${action}_many`, this.filter()));
    byId("open-typed").addEventListener("click", () => open(this.typed()));
    byId("search").addEventListener("keydown", async (event) => {
      if (event.key !== "Enter" || !byId("search").value) return;
      byId("search").blur();
      await this.searching;
      this.openFound();
    });
  }

  update(change) {
    this.loaded = true;
    const set = change.set.filter((item) => item.kind === "session");
    const known = new Set(change.set.map((item) => item.id));
    // The list stays where it is when another session is opened.
    const gone = change.reset ? [...this.list.items.keys()].filter((id) => !known.has(id)) : change.gone;
    this.list.update(set, gone);
    if (set.length && this.wanted()) this.search();
    for (const name of new Set(set.map((item) => item.bot))) this.offerBot(name);
  }

  offerBot(name) {
    const options = [...byId("bot").options];
    if (options.some((option) => option.value === name)) return;
    const next = options.find((option) => option.value > name) ?? null;
    byId("bot").insertBefore(element("option", { value: name }, name), next);
  }

  /** Ask the console which sessions have a message with the text or the id that is typed. */
  async search() {
    const wanted = this.wanted();
    try {
      const found = wanted ? await get("/api/search", { text: wanted }) : {};
      if (wanted !== this.wanted()) return;
      this.found = found;
      this.list.place();
    } catch (error) {
      notify(error.message);
    }
  }

  wanted() {
    return byId("search").value.trim().toLowerCase();
  }

  hasId(item) {
    return item.session_id.toLowerCase().includes(this.wanted());
  }

  /** Open the session with the very id that is typed, or the only one found; go to the first of several. */
  openFound() {
    const { shown } = this.list;
    const exact = shown.find((item) => item.session === this.typed());
    const found = exact ?? (shown.length === 1 && shown[0]);
    if (found) this.openItem(found);
    else if (shown.length) byId("session-list").querySelector("button").focus();
    else this.open(this.typed());
  }

  /** Open a session, and the message that was searched for if it is not the session itself. */
  openItem(item) {
    this.open(item.session, this.hasId(item) ? "" : `message:${this.found[item.session]}`);
  }

  /** Show the sessions in a state. */
  showState(state) {
    byId("state").value = state;
    this.list.filter();
  }

  filter() {
    return { bot: byId("bot").value, state: byId("state").value };
  }

  shows(item) {
    const { bot, state } = this.filter();
    const states = statesOf(state);
    return (
      (!bot || item.bot === bot) &&
      (!state || states.some((one) => item.states[one])) &&
      (this.hasId(item) || item.session in this.found)
    );
  }

  count() {
    const all = this.list.order.length;
    const shown = this.list.shown.length;
    const states = statesOf(byId("state").value);
    byId("many").hidden = Boolean(this.wanted()) || !states.every((one) => AWAITING_OPERATOR.includes(one));
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
        () => this.openItem(item),
        element("span", { class: "name" }, item.session_id || "–"),
        element(
          "span",
          { class: "states" },
          states.map((state) => chip(state, item.states[state])),
        ),
        element("span", { class: "bot" }, item.bot || text("bot.none")),
        element("span", { class: "when" }, time(item.at)),
      ),
    );
  }
}

const statesOf = (state) => (state === "awaiting_operator" ? AWAITING_OPERATOR : [state]);
