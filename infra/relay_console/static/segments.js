// The segments of messages and replies.
import { element } from "./element.js";
import { text } from "./texts.js";

export const note = (key) => element("p", { class: "note" }, text(key));

/** Show the segments of a message or a bubble, and how many are left out; they are null if they were not read. */
export function segments(shown) {
  const leftOut = shown.left_out > 0 && element("p", { class: "note" }, text("left_out", { n: shown.left_out }));
  return shown.segments === null ? note("large") : [shown.segments.map(segmentRow), leftOut];
}

function segmentRow(segment) {
  if (segment.picture)
    return element("img", { src: segment.picture, alt: text("picture"), loading: "lazy" });
  if (segment.type === "Plain")
    return element("p", { class: "segment" }, segment.text, segment.cut && note("cut"));
  return element(
    "p",
    { class: "segment other" },
    element("span", { class: "tag" }, segment.type),
    " ",
    segment.text,
  );
}

/** Return the text of a message on one line, at most so many characters; or its action. */
export function excerpt(message, length) {
  const words = (message.segments ?? []).map((segment) => segment.text ?? "").join(" ");
  return (words.replace(/\s+/g, " ").trim() || (message.action ?? "")).slice(0, length);
}
