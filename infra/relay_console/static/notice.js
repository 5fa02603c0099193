// A notice, which the page shows for a few seconds.
import { byId } from "./element.js";

let timer;

export function notify(words) {
  byId("notice").textContent = words;
  byId("notice").classList.add("on");
  clearTimeout(timer);
  timer = setTimeout(() => byId("notice").classList.remove("on"), 5000);
}
