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

/** Make the button of a list's row; `current` says that the page shows what it opens. */
export function row(current, onclick, ...cells) {
  return element(
    "button",
    {
      type: "button",
      class: "row",
      dataset: { focus: "row" },
      "aria-current": current ? "true" : null,
      onclick,
    },
    ...cells,
  );
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

const PAGE = 200;
const NEAR_END = 1500;

/** A list of keyed items in order. Of a long one, as many are made as are scrolled to. */
export class KeyedList {
  /** `fill(node, item)` fills the `li` of an item, `compare` orders items, `shows` says which are shown. */
  constructor(parent, { fill, compare, shows = () => true, changed = () => {}, page = PAGE }) {
    Object.assign(this, { parent, fill, compare, shows, changed, page });
    parent.addEventListener("scroll", () => this.more(), { passive: true });
    this.clear();
  }

  clear() {
    this.items = new Map();
    this.nodes = new Map();
    this.order = [];
    this.shown = [];
    this.limit = this.page;
    this.parent.replaceChildren();
  }

  get(id) {
    return this.items.get(id);
  }

  node(id) {
    return this.nodes.get(id);
  }

  update(set, gone = []) {
    for (const id of gone) this.items.delete(id);
    for (const item of set) {
      this.items.set(item.id, item);
      const node = this.nodes.get(item.id);
      if (node) this.refill(node, item);
    }
    this.order = [...this.items.values()].sort(this.compare);
    this.place();
  }

  /** Show all items anew: the language has changed. */
  refresh() {
    for (const [id, node] of this.nodes) this.refill(node, this.items.get(id));
    this.changed();
  }

  filter() {
    this.limit = this.page;
    this.place();
  }

  more() {
    const { scrollTop, clientHeight, scrollHeight } = this.parent;
    if (this.limit >= this.shown.length || scrollTop + clientHeight < scrollHeight - NEAR_END) return;
    this.limit += this.page;
    this.place();
  }

  refill(node, item) {
    const focused = node.contains(document.activeElement);
    const mark = document.activeElement?.dataset?.focus;
    this.fill(node, item);
    if (focused && !node.contains(document.activeElement)) {
      (node.querySelector(`[data-focus="${mark}"]`) ?? node.querySelector("button"))?.focus({
        preventScroll: true,
      });
    }
  }

  place() {
    this.shown = this.order.filter((item) => this.shows(item));
    const wanted = this.shown.slice(0, this.limit);
    const keep = new Set(wanted.map((item) => item.id));
    for (const [id, node] of this.nodes) {
      if (keep.has(id)) continue;
      node.remove();
      this.nodes.delete(id);
    }
    const focused = document.activeElement;
    let next = this.parent.firstElementChild;
    for (const item of wanted) {
      let node = this.nodes.get(item.id);
      if (!node) {
        node = element("li", { dataset: { id: item.id } });
        this.nodes.set(item.id, node);
        this.fill(node, item);
      }
      if (node === next) next = next.nextElementSibling;
      else this.parent.insertBefore(node, next);
    }
    if (focused !== document.activeElement && this.parent.contains(focused))
      focused.focus({ preventScroll: true });
    this.changed();
  }
}
