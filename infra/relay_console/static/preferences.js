// What the reader prefers, and the browser remembers: a language and a theme.
import { byId } from "./element.js";

/** Apply the choice of a select element, now and when it changes. */
export function applyPreference(id, initial, apply) {
  const select = byId(id);
  select.value = localStorage.getItem(id) ?? initial;
  select.addEventListener("change", () => {
    localStorage.setItem(id, select.value);
    apply(select.value);
  });
  return apply(select.value);
}

export function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

export const browserLanguage = () =>
  navigator.languages.some((name) => name.startsWith("zh")) && !navigator.language.startsWith("en")
    ? "zh"
    : "en";
