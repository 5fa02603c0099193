// The states of messages and turns: a sign, a word and a colour for each.
import { element } from "./dom.js";
import { text } from "./texts.js";

export const STATES = ["retrying", "delivered", "answered", "unanswered", "parked", "resent", "dropped"];

export const FAILED = ["parked", "unanswered"];

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
  const words = number === undefined ? text(`state.${state}`) : `${number}`;
  const label = number === undefined ? null : `${text(`state.${state}`)}: ${number}`;
  return element(
    "span",
    { class: "chip", dataset: { state }, title: label },
    element("span", { class: "sign", "aria-hidden": "true" }, SIGNS[state] ?? "·"),
    words,
    label && element("span", { class: "hidden" }, ` ${text(`state.${state}`)}`),
  );
}
