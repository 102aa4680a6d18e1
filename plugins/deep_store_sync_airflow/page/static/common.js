// What all parts of the page use: requests, numbers in words, and small components.
const React = globalThis.React;
const { useCallback, useEffect, useRef, useState } = React;

export const el = React.createElement;

export const STATES = ["in sync", "out of sync", "unknown", "incurable", "not eligible"];
export const stateClass = (state) => `state-${state.replaceAll(" ", "-")}`;

async function request(path, parameters, options) {
  // Relative to Airflow's own base, which may have a path.
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(parameters ?? {})) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const answer = await fetch(url, { credentials: "same-origin", ...options }).catch((problem) => {
    if (options?.signal?.aborted) throw problem;
    throw Object.assign(new Error("Airflow's API server does not answer."), { retryS: 10 });
  });
  const body = await answer.json().catch(() => undefined);
  if (answer.ok && body) return body;
  const retryS = Number(answer.headers.get("Retry-After")) || undefined;
  throw Object.assign(new Error(problemOf(answer, body)), { status: answer.status, retryS });
}

function problemOf(answer, body) {
  if (answer.ok) return "What answered is not Airflow: a proxy or a login page, perhaps. Reload the page.";
  if (answer.status === 401) return "Your session has ended. Reload the page to sign in again.";
  if (answer.status === 403) return "You may not see or do this. Ask who gives permissions on this DAG.";
  const detail = body?.detail;
  if (typeof detail === "string") return detail;
  return detail ? JSON.stringify(detail) : `Airflow's API server failed (${answer.status}). Its log says more.`;
}

export const ours = (path, parameters, signal) => request(`deep-store-sync/${path}`, parameters, { signal });
export const airflow = (method, path, body) =>
  request(`api/v2/${path}`, null, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
export const dagPath = (dagId) => `dags/${encodeURIComponent(dagId)}`;

/**
 * What `load(signal)` gives: `{data, error, reload}`. Loaded again `everyMs(data)` later, or when an error says that it may
 * help; what was there stays meanwhile.
 */
export function useLoaded(load, everyMs) {
  const [found, setFound] = useState({ data: null, error: null });
  const again = useRef(everyMs);
  again.current = everyMs;
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const next = (data, retryS) => {
      const wait = retryS ? retryS * 1000 : again.current?.(data);
      if (wait && !abort.signal.aborted) timer = setTimeout(run, wait);
    };
    const run = () =>
      load(abort.signal).then(
        (data) => {
          if (abort.signal.aborted) return;
          setFound({ data, error: null });
          next(data);
        },
        (error) => {
          if (abort.signal.aborted) return;
          setFound((before) => ({ ...before, error }));
          next(null, error.retryS);
        },
      );
    run();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [load, turn]);
  return { ...found, reload: useCallback(() => setTurn((number) => number + 1), []) };
}

export const count = (number) => number.toLocaleString("en");
export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

export function bytes(number) {
  if (number < 1000) return `${number} B`;
  let unit = -1;
  for (; number >= 1000 && unit < 4; unit++) number /= 1000;
  return `${number.toFixed(1)} ${["kB", "MB", "GB", "TB", "PB"][unit]}`;
}

export function seconds(number) {
  if (number < 100) return `${Math.max(1, Math.round(number))} s`;
  const minutes = Math.round(number / 60);
  if (minutes < 100) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

export function Moment({ at }) {
  if (!at) return "–";
  const when = new Date(at);
  const shown = when.toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  return el("time", { dateTime: at, title: when.toISOString() }, shown);
}

export function Problem({ error, reload }) {
  return el(
    "div",
    { className: "problem", role: "alert" },
    error.message,
    reload && el("button", { type: "button", onClick: reload }, "Try again"),
    reload && error.retryS && el("small", null, `Asked again every ${error.retryS} s.`),
  );
}

export const Loading = ({ what }) => el("p", { className: "muted", role: "status" }, `Loading ${what} …`);

/** The head of a table; what begins with # stands above numbers. */
export function Heads({ heads }) {
  const cell = (head) =>
    el("th", { key: head, scope: "col", className: head.startsWith("#") ? "number" : undefined }, head.replace("#", ""));
  return el("thead", null, el("tr", null, heads.map(cell)));
}

/** How the segments are spread over the states, as one bar. */
export function Shares({ states }) {
  const all = STATES.reduce((sum, state) => sum + (states[state]?.segments ?? 0), 0);
  const told = STATES.filter((state) => states[state]?.segments);
  const words = told.map((state) => `${count(states[state].segments)} ${state}`).join(", ") || "no segments";
  return el(
    "span",
    { className: "shares", role: "img", "aria-label": words, title: words },
    told.map((state) =>
      el("span", { key: state, className: stateClass(state), style: { flexGrow: states[state].segments / all } }),
    ),
  );
}

/** A link inside Airflow's UI: without loading it anew, where the host gives its router. */
export function InnerLink({ to, children, ...others }) {
  const Link = globalThis.ReactRouterDOM?.Link;
  return Link ? el(Link, { to: `/${to}`, ...others }, children) : el("a", { href: to, ...others }, children);
}
