// Times, and how long ago they were.
import { text } from "./texts.js";

/**
 * Return a time as the commands print it, in UTC: operators compare it with logs, and with each other.
 * @param {string | null | undefined} at
 */
export const time = (at) => (at ? `${at.slice(0, 10)} ${at.slice(11, 19)} UTC` : "–");

/**
 * Return how long ago a time was: 12 s, 5 min, 3 h, 2 d.
 * @param {string} at
 */
export function age(at) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(`${at.slice(0, 23)}Z`)) / 1000));
  if (seconds < 100) return text("seconds", { n: seconds });
  if (seconds < 5400) return text("minutes", { n: Math.round(seconds / 60) });
  if (seconds < 129600) return text("hours", { n: Math.round(seconds / 3600) });
  return text("days", { n: Math.round(seconds / 86400) });
}
