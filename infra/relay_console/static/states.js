// The states of messages and turns: a sign, a word and a colour for each.
import { element } from "./element.js";
import { text } from "./texts.js";

export const STATES = ["retrying", "delivered", "answered", "unanswered", "parked", "resent", "dropped"];

export const AWAITING_OPERATOR = ["parked", "unanswered"];

export const ON_QUEUE = ["queued", "retrying"];

export const UNUSUAL_ANSWERS = ["merged", "probable", "unfinished"];

const SIGNS = {
  queued: "…",
  retrying: "↻",
  delivered: "→",
  answered: "✓",
  unanswered: "?",
  parked: "‖",
  resent: "↗",
  dropped: "✕",
  growing: "…",
  stalled: "!",
  broken: "!",
  unfinished: "~",
  finished: "✓",
};

/** Return a state as a chip, with a number if one is given. */
export function chip(state, number) {
  const word = text(`state.${state}`);
  const counted = number !== undefined;
  return element(
    "span",
    { class: "chip", dataset: { state }, title: counted ? `${word}: ${number}` : null },
    element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[state]),
    counted ? [number, element("span", { class: "visually-hidden" }, ` ${word}`)] : word,
  );
}

/** Return a state with what it means. */
export const explained = (state, values) => [
  element("p", { class: "state" }, chip(state)),
  element("p", { class: "explain" }, text(`explain.${state}`, values)),
];
