// Elements of the page: made of texts only, never of HTML.

/**
 * Return an element of index.html, which says of what kind it is.
 * @type {(id: string) => any}
 */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element; `properties` are attributes, `on…` listeners, or `dataset`.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...any} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  return fill(made, ...children);
}

/**
 * Replace what is in a node; a child may be a list, and what is false or empty is left out.
 * @template {Element} T
 * @param {T} node
 * @param {...any} children
 */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}
