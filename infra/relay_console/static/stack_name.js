// Which stack it is, in the bar and in the title of the window.
import { byId } from "./element.js";
import { text } from "./texts.js";

let stack;

/** Show the stack, in the language as it is now; without an argument the same one again. */
export function showStack(read = stack) {
  stack = read;
  if (!stack) return;
  const name = stack.name === null ? text("stack.local") : text("stack.deployed", stack);
  byId("stack").textContent = name;
  document.title = `${name} · LangBot Relay`;
}
