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
  const answer = await fetch(url, { credentials: "same-origin", ...options });
  const body = await answer.json().catch(() => null);
  if (answer.ok) return body;
  if (answer.status === 401) throw new Error("Your session has ended. Reload the page to sign in again.");
  if (answer.status === 403) throw new Error("You may not see or do this. Ask who gives permissions on this DAG.");
  const detail = body?.detail;
  const words = typeof detail === "string" ? detail : JSON.stringify(detail ?? answer.statusText);
  throw Object.assign(new Error(words), { status: answer.status });
}

export const ours = (path, parameters, signal) => request(`deep-store-sync/${path}`, parameters, { signal });
export const airflow = (method, path, body) =>
  request(`api/v2/${path}`, null, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
export const dagPath = (dagId) => `dags/${encodeURIComponent(dagId)}`;

/** What `load(signal)` gives: `{data, error, reload}`. Loaded again `everyMs(data)` later; what was there stays meanwhile. */
export function useLoaded(load, everyMs) {
  const [found, setFound] = useState({ data: null, error: null });
  const again = useRef(everyMs);
  again.current = everyMs;
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    let timer;
    const next = (data) => {
      const wait = again.current?.(data);
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
          next(null);
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
