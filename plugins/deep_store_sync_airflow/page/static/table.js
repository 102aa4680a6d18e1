// One table: how it stands, what is at work, its runs, its segments.
import { Actions } from "./actions.js";
import {
  Heads, InnerLink, Loading, Moment, Problem, STATES, airflow, bytes, count, dagPath, el, ours, plural, seconds, stateClass, useLoaded,
} from "./common.js";
import { Trend } from "./plot.js";
import { Pager } from "./tables.js";

const { useCallback, useEffect, useState } = globalThis.React;

const PAGE = 20;

export function TablePage({ dagId }) {
  const load = useCallback((signal) => ours(`${dagPath(dagId)}/overview`, null, signal), [dagId]);
  const { data, error, reload } = useLoaded(load, (found) => (found?.running ? 5_000 : 30_000));
  const [filter, setFilter] = useState({ state: null, reason: null });
  if (!data) {
    if (error?.status === 404) return el("main", null, el("p", { role: "status" }, error.message));
    return el("main", null, error ? el(Problem, { error, reload }) : el(Loading, { what: "the table" }));
  }
  return el(
    "main",
    null,
    el(
      "header",
      null,
      el("div", null, el("h1", null, data.table), el("p", { className: "muted" }, el(AsOf, { data }))),
      data.may_trigger && el(Actions, { data, reload }),
    ),
    error && el(Problem, { error, reload }),
    data.running && el(Running, { dagId, running: data.running }),
    data.as_of && el(States, { data, filter, setFilter }),
    data.as_of && el(Reasons, { data, filter, setFilter }),
    data.as_of && el(Segments, { dagId, filter, asOf: data.as_of }),
    el(Trend, { runs: data.runs }),
    el(Runs, { data }),
  );
}

function AsOf({ data }) {
  if (!data.as_of) return "Nothing is known yet: no run has left a plan. Begin with a dry run, which changes nothing.";
  const part = data.whole ? "" : " No run has looked at all segments yet: there may be more of them.";
  return el("span", null, "As of the plan of ", el(Moment, { at: data.as_of }), ".", part);
}

function States({ data, filter, setFilter }) {
  return el(
    "div",
    { className: "cards", role: "group", "aria-label": "Segments by state" },
    STATES.map((state) => {
      const { segments, bytes: size } = data.states[state];
      const chosen = filter.state === state;
      return el(
        "button",
        {
          key: state,
          type: "button",
          className: `card ${stateClass(state)}`,
          "aria-pressed": chosen,
          onClick: () => setFilter({ state: chosen ? null : state, reason: null }),
        },
        el("span", null, state),
        el("strong", null, count(segments)),
        el("small", null, bytes(size)),
      );
    }),
  );
}

function Reasons({ data, filter, setFilter }) {
  const shown = data.reasons.filter((reason) => !filter.state || reason.state === filter.state);
  if (shown.length === 0) return null;
  return el(
    "section",
    null,
    el("h2", null, "Why"),
    el(
      "ul",
      { className: "reasons" },
      shown.map((reason) => {
        const chosen = filter.state === reason.state && filter.reason === reason.reason;
        return el(
          "li",
          { key: reason.state + reason.reason },
          el(
            "button",
            {
              type: "button",
              "aria-pressed": chosen,
              onClick: () => setFilter({ state: reason.state, reason: chosen ? null : reason.reason }),
            },
            el("span", { className: `dot ${stateClass(reason.state)}` }),
            el("span", { className: "number" }, count(reason.segments)),
            el("span", null, `${reason.state}: ${reason.reason}`),
          ),
        );
      }),
    ),
  );
}

function Segments({ dagId, filter, asOf }) {
  const [typed, setTyped] = useState("");
  const [search, setSearch] = useState("");
  const [page, setPage] = useState(0);
  useEffect(() => {
    const timer = setTimeout(() => setSearch(typed.trim()), 250);
    return () => clearTimeout(timer);
  }, [typed]);
  useEffect(() => setPage(0), [search, filter]);
  const load = useCallback(
    (signal) => ours(`${dagPath(dagId)}/segments`, { ...filter, search, offset: page * PAGE, limit: PAGE }, signal),
    [dagId, filter, search, page, asOf],
  );
  const { data, error, reload } = useLoaded(load);
  const narrowed = [filter.state, filter.reason].filter(Boolean).join(": ");
  return el(
    "section",
    null,
    el("h2", null, "Segments"),
    el("input", {
      type: "search",
      placeholder: "Search segments by name",
      "aria-label": "Search segments by name",
      value: typed,
      onChange: (event) => setTyped(event.target.value),
    }),
    narrowed && el("span", { className: "muted" }, ` only ${narrowed}`),
    error && el(Problem, { error, reload }),
    !data && !error && el(Loading, { what: "segments" }),
    data && data.total === 0 && el("p", { role: "status" }, "No such segments."),
    data && data.total > 0 && el(
      "table",
      { "aria-label": "Segments" },
      el(Heads, { heads: ["Segment", "State", "Why", "#Size", "By run"] }),
      el(
        "tbody",
        null,
        data.rows.map((row) =>
          el(
            "tr",
            { key: row.segment },
            el("th", { scope: "row", className: "code" }, row.segment),
            el("td", { className: "state" }, el("span", { className: `dot ${stateClass(row.state)}` }), row.state),
            el("td", null, row.reason),
            el("td", { className: "number" }, bytes(row.bytes)),
            el("td", { className: "code" }, el(RunLink, { dagId, runId: row.run_id })),
          ),
        ),
      ),
    ),
    data && el(Pager, { page, setPage, total: data.total, size: PAGE, of: "segments" }),
  );
}

function Running({ dagId, running }) {
  // The workspace cannot tell a run that is at work from one that died: Airflow can.
  const load = useCallback(
    () => airflow("GET", `${dagPath(dagId)}/dagRuns/${encodeURIComponent(running.run_id)}`).then((run) => run.state, () => null),
    [dagId, running],
  );
  const { data: state } = useLoaded(load);
  const { work, rebuilt, published, stamped } = running;
  const share = (100 * stamped.bytes) / Math.max(1, work.bytes);
  const dead = state === "failed" || state === "success";
  const left = running.left_s === null ? "nobody can tell yet how long it takes" : `about ${seconds(running.left_s)} left`;
  return el(
    "section",
    { className: "running", "aria-live": "polite" },
    el("h2", null, dead ? "Left unfinished" : "At work"),
    el("p", null, el(RunLink, { dagId, runId: running.run_id }), state && ` (${state})`, ", planned ", el(Moment, { at: running.began })),
    el(
      "div",
      {
        className: "bar",
        role: "progressbar",
        "aria-label": "Bytes of the batches that are done",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": Math.floor(share),
      },
      el("span", { style: { width: `${share}%` } }),
    ),
    el(
      "p",
      null,
      `${count(stamped.batches)} of ${count(running.batches)} batches done, `,
      `${count(stamped.segments)} of ${plural(work.segments, "segment")}, `,
      `${bytes(stamped.bytes)} of ${bytes(work.bytes)}. `,
      `Rebuilt: ${rebuilt.batches}, published: ${published.batches}. `,
      dead ? "The next run takes up the rest. " : `${left[0].toUpperCase()}${left.slice(1)}. `,
      "Last heard of ",
      el(Moment, { at: running.last }),
      ".",
    ),
  );
}

function Runs({ data }) {
  const heads = ["Run", "Planned", "#Took", "Outcomes", "#Downloaded", "#Uploaded", "#Server downloads", "#Saved"];
  return el(
    "section",
    null,
    el("h2", null, "Last runs"),
    data.runs.length === 0
      ? el("p", { role: "status" }, "None yet.")
      : el(
          "table",
          { "aria-label": "Last runs" },
          el(Heads, { heads }),
          el("tbody", null, data.runs.map((run, number) => el(RunRow, { key: number, run, dagId: data.dag_id }))),
        ),
    data.saved.runs > 0 && el(
      "p",
      null,
      `Saved by ${plural(data.saved.runs, "run")}: ${plural(data.saved.downloads, "server download")}, ${bytes(data.saved.bytes)}. `,
      el("span", { className: "muted" }, "What was published quietly, no replica downloaded; pushed under a new CRC, each one would have."),
    ),
  );
}

function RunRow({ run, dagId }) {
  const of = run.totals;
  const kind = [run.dry_run && "dry run", run.force && "force", !run.whole && !run.problem && "a part of the table"].filter(Boolean).join(", ");
  const said =
    run.problem ??
    (of
      ? Object.entries(of.counts).map(([outcome, number]) => `${count(number)} ${outcome}`).join(", ") || "nothing to look at"
      : run.dry_run
        ? "changed nothing"
        : run.report_url ? "no totals: its report is of an older version" : "no report");
  const number = (text) => el("td", { className: "number" }, of ? text : "–");
  return el(
    "tr",
    null,
    el("th", { scope: "row", className: "code" }, run.problem ? run.run_id : el(RunLink, { dagId, runId: run.run_id }), kind && el("small", null, kind)),
    el("td", null, el(Moment, { at: run.began })),
    el("td", { className: "number" }, run.duration_s === null || run.dry_run ? "–" : seconds(run.duration_s)),
    el("td", { className: run.problem ? "bad" : undefined }, said),
    number(of && bytes(of.downloaded_bytes)),
    number(of && bytes(of.uploaded_bytes)),
    number(of && count(of.server_downloads)),
    number(of && `${count(of.saved_downloads)} (${bytes(of.saved_bytes)})`),
  );
}

export function RunLink({ dagId, runId }) {
  return el(InnerLink, { to: `${dagPath(dagId)}/runs/${encodeURIComponent(runId)}` }, runId);
}
