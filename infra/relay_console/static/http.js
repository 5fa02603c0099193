// Requests to the console. An Error's message is for people.

/** Return the JSON of a path. */
export async function get(path, parameters) {
  return json(await fetch(`${path}?${new URLSearchParams(parameters)}`));
}

/** Change something; `fields` are all texts. */
export async function post(path, fields) {
  const headers = { "Content-Type": "application/json" };
  return json(await fetch(path, { method: "POST", headers, body: JSON.stringify(fields) }));
}

async function json(response) {
  if (!response.ok) throw new Error((await response.text()) || `HTTP ${response.status}`);
  return response.json();
}

/**
 * Subscribe to a path while the page is visible: `onChange` gets all, with `reset`, and then each change.
 * `onState` gets true while the console answers. Return a function that unsubscribes.
 */
export function subscribe(path, parameters, onChange, onState = () => {}) {
  let source = null;
  const reopen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`${path}?${new URLSearchParams(parameters)}`);
    source.onopen = () => onState(true);
    source.onerror = () => onState(false);
    source.onmessage = (event) => {
      const change = JSON.parse(event.data);
      if (change.set) onChange(change);
    };
  };
  document.addEventListener("visibilitychange", reopen);
  reopen();
  return () => {
    document.removeEventListener("visibilitychange", reopen);
    source?.close();
  };
}
