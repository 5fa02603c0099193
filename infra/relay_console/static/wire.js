// What goes between the page and the console.

/** Return the JSON of a path. Throws an Error whose message is for people. */
export async function read(path, parameters) {
  return answer(await fetch(`${path}?${new URLSearchParams(parameters)}`));
}

/** Do something; `fields` are all texts. Throws an Error whose message is for people. */
export async function act(path, fields) {
  const headers = { "Content-Type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(fields) }));
}

async function answer(response) {
  const type = response.headers.get("content-type") ?? "";
  const body = type.startsWith("application/json") ? await response.json() : { error: await response.text() };
  if (!response.ok) throw new Error(body.error || `HTTP ${response.status}`);
  return body;
}

/**
 * Follow a path while the page is visible: `onChange` gets all, with `reset`, and then each change.
 * `onState` gets true while the console answers. Return a function that ends it.
 */
export function follow(path, parameters, onChange, onState = () => {}) {
  let source = null;
  const open = () => {
    source = new EventSource(`${path}?${new URLSearchParams(parameters)}`);
    source.onopen = () => onState(true);
    source.onerror = () => onState(false);
    source.onmessage = (event) => {
      const change = JSON.parse(event.data);
      if (change.set) onChange(change);
    };
  };
  const look = () => {
    source?.close();
    source = null;
    if (!document.hidden) open();
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    source?.close();
  };
}
