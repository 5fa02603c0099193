// Requests to the console. An Error's message is for people.

const RETRY_AFTER_MS = 3000;

/** A browser has six connections to a host, for all its windows: one is left for requests. */
const STREAMS = 5;

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
  let ended = Promise.resolve();
  const reopen = () => {
    open.abort();
    if (document.hidden) return;
    open = new AbortController();
    const { signal } = open;
    const begin = () => follow(parameters, signal, listeners, onState);
    // The stream before gives its connection back first, also if it ended with an error.
    ended = ended.then(begin, begin);
  };
  document.addEventListener("visibilitychange", reopen);
  reopen();
  return reopen;
}

async function follow(parameters, signal, listeners, onState) {
  while (!signal.aborted) {
    const url = `/api/changes?${new URLSearchParams(parameters())}`;
    const state = await withStream(() => read(url, signal, listeners, onState));
    if (signal.aborted) return;
    onState(state);
    if (state === "live.refused") return;
    await new Promise((resolve) => {
      setTimeout(resolve, RETRY_AFTER_MS);
      signal.addEventListener("abort", resolve);
    });
  }
}

/** Read while this window has one of the streams of all windows; return why it has not, or has no more. */
async function withStream(readStream) {
  for (let number = 0; number < STREAMS; number++) {
    const state = await navigator.locks.request(
      `stream ${number}`,
      { ifAvailable: true },
      (lock) => lock && readStream(),
    );
    if (state) return state;
  }
  return "live.windows";
}

async function read(url, signal, listeners, onState) {
  const response = await request(url, { signal }).catch(() => null);
  if (response?.status === 401) return "live.refused";
  if (response?.ok) {
    onState("live");
    for await (const line of lines(response.body.getReader())) {
      if (signal.aborted) break;
      for (const [kind, change] of Object.entries(JSON.parse(line))) if (change.set) listeners[kind](change);
    }
  }
  return "live.not";
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
