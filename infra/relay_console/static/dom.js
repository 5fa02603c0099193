// Elements: made of texts only, never of HTML.

/** Make an element; `properties` are attributes, `on…` listeners, or `dataset`. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Write a text to the clipboard; say whether that was allowed. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

const FIRST = 100;
const CHUNK = 400;

/** A list of keyed items in order. Long ones are built in pieces, so that the first are there at once. */
export class KeyedList {
  /** `fill(node, item)` fills the `li` of an item, `compare` orders items, `shows` hides those it denies. */
  constructor(parent, { fill, compare, shows = () => true, changed = () => {} }) {
    Object.assign(this, { parent, fill, compare, shows, changed });
    this.clear();
  }

  clear() {
    this.items = new Map();
    this.nodes = new Map();
    this.order = [];
    this.parent.replaceChildren();
    clearTimeout(this.timer);
  }

  get(id) {
    return this.items.get(id);
  }

  node(id) {
    return this.nodes.get(id);
  }

  update(set, gone = []) {
    for (const id of gone) {
      this.items.delete(id);
      this.nodes.get(id)?.remove();
      this.nodes.delete(id);
    }
    for (const item of set) {
      this.items.set(item.id, item);
      const node = this.nodes.get(item.id);
      if (node) this.refill(node, item);
    }
    this.order = [...this.items.values()].sort(this.compare);
    this.place(FIRST);
  }

  /** Show all items anew: the language or the filter has changed. */
  refresh() {
    for (const [id, node] of this.nodes) this.refill(node, this.items.get(id));
    this.changed();
  }

  filter() {
    for (const [id, node] of this.nodes) node.hidden = !this.shows(this.items.get(id));
    this.changed();
  }

  refill(node, item) {
    const focused = node.contains(document.activeElement);
    const mark = document.activeElement?.dataset?.focus;
    node.hidden = !this.shows(item);
    this.fill(node, item);
    if (focused && !node.contains(document.activeElement)) {
      (node.querySelector(`[data-focus="${mark}"]`) ?? node.querySelector("button"))?.focus({ preventScroll: true });
    }
  }

  /** Put the nodes in order, and make at most `budget` of those that are missing; then go on a little later. */
  place(budget) {
    clearTimeout(this.timer);
    const focused = document.activeElement;
    let next = this.parent.firstElementChild;
    for (const item of this.order) {
      let node = this.nodes.get(item.id);
      if (!node) {
        if (budget-- <= 0) {
          this.timer = setTimeout(() => this.place(CHUNK));
          break;
        }
        node = document.createElement("li");
        node.dataset.id = item.id;
        this.nodes.set(item.id, node);
        this.refill(node, item);
      }
      if (node === next) next = next.nextElementSibling;
      else this.parent.insertBefore(node, next);
    }
    if (focused !== document.activeElement && this.parent.contains(focused)) focused.focus({ preventScroll: true });
    this.changed();
  }
}
