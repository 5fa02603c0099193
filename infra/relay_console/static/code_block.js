// Texts for programs, which can be scrolled.
import { element } from "./element.js";

export const code = (words, more = "") => element("pre", { class: more, tabindex: "0" }, words);

/** Return raw JSON behind its title. */
export const raw = (words, title) => element("details", {}, element("summary", {}, title), code(words));
