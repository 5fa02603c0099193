// The help: the keys, and what the states mean.
import { byId, element, fill } from "./element.js";
import { chip, STATES } from "./states.js";
import { text } from "./texts.js";

const KEYS = [
  ["j", "k", "key.move"],
  ["Enter", "key.open"],
  ["r", "key.resend"],
  ["d", "key.drop"],
  ["/", "key.search"],
  ["?", "key.help"],
  ["Esc", "key.back"],
];

export function showHelp() {
  fill(
    byId("help-keys"),
    KEYS.map((row) => [
      element(
        "dt",
        {},
        row.slice(0, -1).map((name) => element("kbd", {}, name)),
      ),
      element("dd", {}, text(row.at(-1))),
    ]),
  );
  fill(
    byId("help-states"),
    STATES.map((state) => [
      element("dt", {}, chip(state)),
      element("dd", {}, text(`explain.${state}`, { at: text("deadline") })),
    ]),
  );
  byId("help").showModal();
}

byId("open-help").addEventListener("click", showHelp);
