// Facts: names with their values.
import { element } from "./element.js";
import { text } from "./texts.js";

/** Return those of the facts that have a value. */
export function facts(all, name = (key) => text(`field.${key}`)) {
  const shown = all.filter(([, value]) => value || value === 0);
  return element(
    "dl",
    { class: "facts" },
    shown.map(([key, value]) => [element("dt", {}, name(key)), element("dd", {}, value)]),
  );
}
