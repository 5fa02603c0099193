// Times in the reader's language.
import { text } from "./texts.js";

const date = (at) => new Date(at.slice(0, 23) + "Z");

/** Return a time of today as 14:03:22, an earlier one with its day. */
export function time(at) {
  if (!at) return "–";
  const when = date(at);
  const { lang } = document.documentElement;
  const clock = when.toLocaleTimeString(lang, { hour12: false });
  if (when.toDateString() === new Date().toDateString()) return clock;
  return `${when.toLocaleDateString(lang, { month: "short", day: "numeric" })} ${clock.slice(0, 5)}`;
}

/** Return how long ago a time was: 12 s, 5 min, 3 h, 2 d. */
export function age(at) {
  const seconds = Math.max(0, Math.round((Date.now() - date(at)) / 1000));
  if (seconds < 100) return text("seconds", { n: seconds });
  if (seconds < 5400) return text("minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129600) return text("hours", { n: Math.round(seconds / 3600) });
  return text("days", { n: Math.round(seconds / 86400) });
}
