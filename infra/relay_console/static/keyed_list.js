// A list of keyed items in order. Of a long one, as many are made as are scrolled to.
import { element } from "./element.js";

const PAGE = 200;
const NEAR_END = 1500;

export class KeyedList {
  /**
   * `draw` fills the `li` of an item, `compare` orders items, `shows` says which are shown.
   * @param {HTMLElement} parent
   * @param {{
   *   draw: (node: HTMLElement, item: any) => void,
   *   compare: (one: any, other: any) => number,
   *   shows?: (item: any) => boolean,
   *   changed?: () => void,
   *   page?: number,
   * }} options
   */
  constructor(parent, { draw, compare, shows = () => true, changed = () => {}, page = PAGE }) {
    this.parent = parent;
    this.draw = draw;
    this.compare = compare;
    this.shows = shows;
    this.changed = changed;
    this.page = page;
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

  update(set, gone = []) {
    for (const id of gone) this.items.delete(id);
    for (const item of set) this.items.set(item.id, item);
    this.redraw(set.map((item) => item.id));
    this.order = [...this.items.values()].sort(this.compare);
    this.place();
  }

  /**
   * Draw items anew: all, if none are named.
   * @param {Iterable<string>} ids
   */
  redraw(ids = this.nodes.keys()) {
    for (const id of ids) {
      if (this.nodes.has(id)) this.redrawOne(this.nodes.get(id), this.items.get(id));
    }
  }

  redrawOne(node, item) {
    const active = /** @type {HTMLElement | null} */ (document.activeElement);
    const focused = node.contains(active);
    const mark = active?.dataset?.focus;
    this.draw(node, item);
    if (focused && !node.contains(document.activeElement)) {
      (node.querySelector(`[data-focus="${mark}"]`) ?? node.querySelector("button"))?.focus({
        preventScroll: true,
      });
    }
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

  place() {
    this.shown = this.order.filter((item) => this.shows(item));
    const wanted = this.shown.slice(0, this.limit);
    const keep = new Set(wanted.map((item) => item.id));
    for (const [id, node] of this.nodes) {
      if (keep.has(id)) continue;
      node.remove();
      this.nodes.delete(id);
    }
    const focused = /** @type {HTMLElement | null} */ (document.activeElement);
    let next = this.parent.firstElementChild;
    for (const item of wanted) {
      let node = this.nodes.get(item.id);
      if (!node) {
        node = element("li", { dataset: { id: item.id } });
        this.nodes.set(item.id, node);
        this.draw(node, item);
      }
      if (node === next) next = next.nextElementSibling;
      else this.parent.insertBefore(node, next);
    }
    if (focused !== document.activeElement && this.parent.contains(focused))
      focused.focus({ preventScroll: true });
    this.changed();
  }
}

/** Make the button of an item's row; `current` says that the page shows what it opens. */
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

/** Compare two values for a sort. */
export const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
