// The address of the page: the session that is open, and the message or the reply that is selected.

let shown = location.hash;

/** Return the session that the address names, and the id of what is selected, "" for none. */
export function linked() {
  try {
    const [session, item = ""] = location.hash.slice(1).split("/").map(decodeURIComponent);
    return { session, item };
  } catch {
    return { session: "", item: "" }; // typed by hand
  }
}

/** Give the page the address of a session, or of an item in it. */
export function link(session, item = "") {
  location.hash = [session, item].filter(Boolean).map(encodeURIComponent).join("/");
  shown = location.hash;
}

/** Call a function when the operator goes to another address. */
export function onAddress(changed) {
  window.addEventListener("hashchange", () => {
    if (location.hash === shown) return;
    shown = location.hash;
    changed(linked());
  });
}
