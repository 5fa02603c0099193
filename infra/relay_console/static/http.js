// Requests to the console. An Error's message is for people.

const RETRY_AFTER_MS = 3000;

/** Exchange the token of the link, which works once, for this tab's secret. */
export async function openLink() {
  const token = new URLSearchParams(location.search).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.hash);
  const response = await request("/api/open", { method: "POST" }, token);
  // Not a cookie, which every port of this host would get. The tab may have its secret from an earlier link.
  if (response.ok) sessionStorage.setItem("secret", await response.text());
}

function request(path, options = {}, secret = sessionStorage.getItem("secret")) {
  return fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${secret}` } });
}

/** Return the JSON of a path. */
export async function get(path, parameters) {
  return json(await request(`${path}?${new URLSearchParams(parameters)}`));
}

/** Change something; `fields` are all texts. */
export async function post(path, fields) {
  const headers = { "Content-Type": "application/json" };
  return json(await request(path, { method: "POST", headers, body: JSON.stringify(fields) }));
}

async function json(response) {
  if (!response.ok) throw new Error((await response.text()) || `HTTP ${response.status}`);
  return response.json();
}

/**
 * Subscribe to a path while the page is visible: `onChange` gets all, with `reset`, and then each change.
 * `onState` gets "live" while the console answers. Return a function that unsubscribes.
 */
export function subscribe(path, parameters, onChange, onState = () => {}) {
  let open = new AbortController();
  const reopen = () => {
    open.abort();
    if (document.hidden) return;
    open = new AbortController();
    follow(`${path}?${new URLSearchParams(parameters)}`, open.signal, onChange, onState);
  };
  document.addEventListener("visibilitychange", reopen);
  reopen();
  return () => {
    document.removeEventListener("visibilitychange", reopen);
    open.abort();
  };
}

async function follow(url, signal, onChange, onState) {
  while (!signal.aborted) {
    const response = await request(url, { signal }).catch(() => null);
    if (response?.ok) {
      onState("live");
      for await (const line of lines(response.body.getReader())) {
        const change = JSON.parse(line);
        if (change.set && !signal.aborted) onChange(change);
      }
    }
    if (signal.aborted) return;
    if (response?.status === 401) return onState("live.refused");
    onState("live.not");
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS));
  }
}

/** Return the lines of a stream until it ends or breaks off. */
async function* lines(reader) {
  const decoder = new TextDecoder();
  let line = "";
  while (true) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const [end, ...next] = decoder.decode(value, { stream: true }).split("\n");
    line += end;
    for (const begun of next) {
      yield line;
      line = begun;
    }
  }
}
