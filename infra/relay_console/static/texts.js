// The texts of the page in the reader's language, and times.

let texts = {};

export const language = () => document.documentElement.lang;

/** Return a text; `{name}` in it stands for a value. */
export function text(key, values = {}) {
  const found = texts[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Load a language and fill the texts that are in the page itself. */
export async function speak(name) {
  texts = await (await fetch(`/static/${name}.json`)).json();
  document.documentElement.lang = name === "zh" ? "zh-CN" : name;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const node of document.querySelectorAll("[data-placeholder]"))
    node.placeholder = text(node.dataset.placeholder);
  for (const node of document.querySelectorAll("[data-label]"))
    node.setAttribute("aria-label", text(node.dataset.label));
}

const date = (at) => new Date(at.slice(0, 23) + "Z");

/** Return a time of today as 14:03:22, an earlier one with its day. */
export function time(at) {
  if (!at) return "–";
  const when = date(at);
  const clock = when.toLocaleTimeString(language(), { hour12: false });
  if (when.toDateString() === new Date().toDateString()) return clock;
  return `${when.toLocaleDateString(language(), { month: "short", day: "numeric" })} ${clock.slice(0, 5)}`;
}

/** Return how long ago a time was: 12 s, 5 min, 3 h, 2 d. */
export function age(at) {
  const seconds = Math.max(0, Math.round((Date.now() - date(at)) / 1000));
  if (seconds < 100) return text("seconds", { n: seconds });
  if (seconds < 5400) return text("minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129600) return text("hours", { n: Math.round(seconds / 3600) });
  return text("days", { n: Math.round(seconds / 86400) });
}
