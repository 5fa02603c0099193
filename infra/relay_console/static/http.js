// Requests to the console. An Error's message is for people.

const RETRY_AFTER_MS = 3000;

/** Exchange the token of the link, which works once, for the secret of this console. */
export async function openLink() {
  const token = new URLSearchParams(location.search).get("token");
  if (token === null) return;
  history.replaceState(null, "", location.pathname + location.hash);
  const response = await request("/api/open", { method: "POST" }, token);
  // Not a cookie, which every port of this host would get.
  if (response.ok) localStorage.setItem("secret", await response.text());
}

function request(path, options = {}, secret = localStorage.getItem("secret")) {
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
 * Watch the stack, and the session that `parameters` returns, while the page is visible. A function of
 * `listeners` gets all of its kind, with `reset`, and then each change. `onState` gets "live" while the console
 * answers. Return a function that begins again, for another session.
 */
export function watch(parameters, listeners, onState) {
  let open = new AbortController();
  const reopen = () => {
    open.abort();
    if (document.hidden) return;
    open = new AbortController();
    follow(`/api/changes?${new URLSearchParams(parameters())}`, open.signal, listeners, onState);
  };
  document.addEventListener("visibilitychange", reopen);
  reopen();
  return reopen;
}

async function follow(url, signal, listeners, onState) {
  while (!signal.aborted) {
    const response = await request(url, { signal }).catch(() => null);
    if (response?.ok) {
      onState("live");
      for await (const line of lines(response.body.getReader())) {
        if (signal.aborted) return;
        for (const [kind, change] of Object.entries(JSON.parse(line))) if (change.set) listeners[kind](change);
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
