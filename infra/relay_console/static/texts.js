// The texts of the page in the reader's language.

/** @type {Record<string, string>} */
let texts = {};

/**
 * Return a text; `{name}` in it stands for a value.
 * @param {string} key
 * @param {Record<string, any>} values
 */
export function text(key, values = {}) {
  const found = texts[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Show a text that follows the language. */
export function setText(node, key) {
  node.dataset.text = key;
  node.textContent = text(key);
}

/** Load a language and fill the texts that are in the page itself. */
export async function setLanguage(name) {
  texts = await (await fetch(`/static/${name}.json`)).json();
  document.documentElement.lang = name === "zh" ? "zh-CN" : name;
  for (const node of all("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of all("[data-placeholder]"))
    node.setAttribute("placeholder", text(node.dataset.placeholder));
  for (const node of all("[data-label]")) node.setAttribute("aria-label", text(node.dataset.label));
}

/** @type {(selector: string) => NodeListOf<HTMLElement>} */
const all = (selector) => document.querySelectorAll(selector);
