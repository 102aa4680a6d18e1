// All tables that the user may see.
import { Heads, InnerLink, Loading, Moment, Problem, Shares, bytes, count, dagPath, el, ours, useLoaded } from "./common.js";

const React = globalThis.React;
const { useCallback, useMemo, useState } = React;

const PAGE = 25;
const AT_ONCE = 4;

// A fleet has many tables, and each takes some reading: a few at a time.
let busy = 0;
const waiting = [];
async function inTurn(work, signal) {
  if (busy >= AT_ONCE) await new Promise((go) => waiting.push(go));
  busy += 1;
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    busy -= 1;
    waiting.shift()?.();
  }
}

export function TablesPage() {
  const { data, error, reload } = useLoaded(useCallback((signal) => ours("tables", null, signal), []));
  const [search, setSearch] = useState("");
  const [page, setPage] = useState(0);
  const found = useMemo(
    () => (data ?? []).filter((of) => of.table.toLowerCase().includes(search.trim().toLowerCase())),
    [data, search],
  );
  const shown = found.slice(page * PAGE, (page + 1) * PAGE);
  return el(
    "main",
    null,
    el("h1", null, "Deep store sync"),
    el("p", { className: "muted" }, "How the segments of each table, in the deep store, stand to its table config and schema."),
    error && el(Problem, { error, reload }),
    !data && !error && el(Loading, { what: "tables" }),
    data && data.length === 0 && el("p", { role: "status" }, "No tables: there are no table files, or you may read none of their DAGs."),
    data && data.length > 0 && el("input", {
      type: "search",
      placeholder: "Search tables",
      "aria-label": "Search tables",
      value: search,
      onChange: (event) => {
        setSearch(event.target.value);
        setPage(0);
      },
    }),
    data && data.length > 0 && el(
      "table",
      { "aria-label": "Tables" },
      el(Heads, { heads: ["Table", "Segments", "#In sync", "#Out of sync", "#Unknown", "As of", "Now"] }),
      el("tbody", null, shown.map((of) => el(Row, { key: of.dag_id, of }))),
    ),
    data && data.length > 0 && shown.length === 0 && el("p", { role: "status" }, "No table has this in its name."),
    el(Pager, { page, setPage, total: found.length, size: PAGE, of: "tables" }),
  );
}

function Row({ of }) {
  const load = useCallback(
    (signal) => (of.problem ? Promise.resolve(null) : inTurn(() => ours(`${dagPath(of.dag_id)}/overview`, null, signal), signal)),
    [of],
  );
  const { data, error } = useLoaded(load, (found) => (found?.running ? 10_000 : 60_000));
  const name = el("th", { scope: "row" }, el(InnerLink, { to: `${dagPath(of.dag_id)}/plugin/deep-store-sync-table` }, of.table));
  const whole = (words, kind) => el("tr", null, name, el("td", { colSpan: 6, className: kind }, words));
  if (of.problem) return whole(of.problem, "bad");
  if (error && !data) return whole(error.message, "bad");
  if (!data) return whole("Loading …", "muted");
  if (!data.as_of) return whole("Nothing is known yet: no run has left a plan. Begin with a dry run.", "muted");
  const cell = (state) => {
    const { segments, bytes: size } = data.states[state];
    return el("td", { className: "number" }, count(segments), el("small", null, bytes(size)));
  };
  return el(
    "tr",
    null,
    name,
    el("td", null, el(Shares, { states: data.states })),
    cell("in sync"),
    cell("out of sync"),
    cell("unknown"),
    el("td", null, el(Moment, { at: data.as_of }), !data.whole && el("small", null, "only a part was looked at")),
    el("td", null, data.running ? `${count(data.running.stamped.batches)} of ${count(data.running.batches)} batches done` : "–"),
  );
}

export function Pager({ page, setPage, total, size, of }) {
  const pages = Math.ceil(total / size);
  if (pages <= 1) return null;
  const button = (words, to) =>
    el("button", { type: "button", disabled: to < 0 || to >= pages, onClick: () => setPage(to) }, words);
  return el(
    "nav",
    { className: "pager", "aria-label": `Pages of ${of}` },
    button("Previous", page - 1),
    el("span", { role: "status" }, `${count(page * size + 1)}–${count(Math.min(total, (page + 1) * size))} of ${count(total)} ${of}`),
    button("Next", page + 1),
  );
}
