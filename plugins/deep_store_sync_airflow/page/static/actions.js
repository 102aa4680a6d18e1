// Dry run, run, force: what they would cost is shown before anything is triggered. Airflow's REST API triggers, with the
// user's own session: it decides whether the user may.
import { InnerLink, Loading, Moment, Problem, airflow, bytes, dagPath, el, plural, useLoaded } from "./common.js";

const { useCallback, useEffect, useRef, useState } = globalThis.React;

const ACTIONS = {
  "Dry run": { conf: { dryRun: true }, says: "Makes a plan and changes nothing. It asks the controller and each server, and lists the deep store." },
  Run: { conf: {}, says: "Brings in sync what servers call stale, and looks into others as far as the budget goes." },
  Force: { conf: { forceReload: true }, says: "Looks into every segment that is not stamped for the current config." },
};

export function Actions({ data, reload }) {
  const [chosen, setChosen] = useState(null);
  const [started, setStarted] = useState(null);
  return el(
    "div",
    { className: "actions" },
    Object.keys(ACTIONS).map((name) => el("button", { key: name, type: "button", onClick: () => setChosen(name) }, name)),
    started && el(Started, { dagId: data.dag_id, ...started }),
    chosen && el(Ask, {
      name: chosen,
      data,
      close: () => setChosen(null),
      choose: setChosen,
      done: (run) => {
        setChosen(null);
        setStarted(run);
        reload();
      },
    }),
  );
}

function Started({ dagId, runId, waits, problem }) {
  const link = el(InnerLink, { to: `${dagPath(dagId)}/runs/${encodeURIComponent(runId)}` }, runId);
  return el(
    "div",
    { role: "status" },
    el("p", null, waits ? "Queued until the DAG is unpaused: " : "Started: ", link),
    problem && el(Problem, { error: problem }),
  );
}

function Ask({ name, data, close, choose, done }) {
  const dialog = useRef(null);
  const [unpause, setUnpause] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const load = useCallback(() => airflow("GET", dagPath(data.dag_id)), [data.dag_id]);
  const { data: dag, error: unseen } = useLoaded(load);
  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
  }, []);
  const unknown = name !== "Dry run" && !data.as_of;
  const trigger = async () => {
    setBusy(true);
    setError(null);
    try {
      const run = await airflow("POST", `${dagPath(data.dag_id)}/dagRuns`, { logical_date: null, conf: ACTIONS[name].conf });
      // Only now: what may not be triggered is not to unpause anything.
      const problem = unpause ? await unpaused(data.dag_id) : null;
      done({ runId: run.dag_run_id, waits: dag?.is_paused && (!unpause || problem !== null), problem });
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return el(
    "dialog",
    { ref: dialog, onClose: close, "aria-labelledby": "dss-ask" },
    el("h2", { id: "dss-ask" }, `${name}: ${data.table}`),
    el("p", null, ACTIONS[name].says),
    el(Cost, { name, data }),
    data.running && el("p", null, "A run is not finished yet: this one waits for it."),
    !dag && !unseen && el(Loading, { what: "the DAG" }),
    unseen && el(Problem, { error: unseen }),
    dag?.is_paused && el(Paused, { dag, mayUnpause: data.may_unpause, unpause, setUnpause }),
    error && el(Problem, { error }),
    el(
      "div",
      { className: "buttons" },
      el("button", { type: "button", onClick: close }, "Cancel"),
      name !== "Dry run" && el("button", { type: "button", className: unknown ? "primary" : undefined, onClick: () => choose("Dry run") }, "Dry run instead"),
      el("button", { type: "button", className: unknown ? undefined : "primary", disabled: busy || (!dag && !unseen), onClick: trigger }, unknown ? `${name} anyway` : `Start ${name.toLowerCase()}`),
    ),
  );
}

async function unpaused(dagId) {
  return airflow("PATCH", `${dagPath(dagId)}?update_mask=is_paused`, { is_paused: false }).then(() => null, (problem) => problem);
}

/** What becomes of the run while the DAG is paused, and what begins with it when it is unpaused. */
function Paused({ dag, mayUnpause, unpause, setUnpause }) {
  const next = dag.next_dagrun_run_after;
  const due = next && new Date(next) <= new Date();
  return el(
    "div",
    null,
    el("p", null, "The DAG is paused: Airflow queues this run, and it begins when the DAG is unpaused."),
    mayUnpause
      ? el(
          "label",
          null,
          el("input", { type: "checkbox", checked: unpause, onChange: (event) => setUnpause(event.target.checked) }),
          " Unpause the DAG. ",
          el("span", null, "All its queued runs begin then, one after the other"),
          next && due && el("span", null, ", and the scheduled run that is due, which is no dry run"),
          next && !due && el("span", null, ", and scheduled runs, the next one ", el(Moment, { at: next })),
          ".",
        )
      : el("p", null, "You may not unpause it: who may edit the DAG can."),
  );
}

function Cost({ name, data }) {
  if (name === "Dry run") return null;
  if (!data.as_of) return el("p", { className: "bad" }, "There is no plan yet, so nobody knows what it would cost. A dry run tells.");
  const { stale, others, stale_downloads: staleDownloads, others_downloads: othersDownloads } = data.work;
  const budget = data.audit_budget;
  const bounded = name === "Run" && others.bytes > budget;
  const downloads = staleDownloads + othersDownloads;
  return el(
    "div",
    null,
    el("p", null, "By the last plan, of ", el(Moment, { at: data.as_of }), ":"),
    el(
      "ul",
      null,
      el("li", null, `${plural(stale.segments, "segment")} that servers call stale, ${bytes(stale.bytes)}`),
      el(
        "li",
        null,
        `${plural(others.segments, "other segment")} to look into, ${bytes(others.bytes)}`,
        bounded && `: of these, up to the auditBudget of ${bytes(budget)}`,
      ),
      el("li", null, `${plural(downloads, "download")} by servers, if all of this has to be refreshed`),
    ),
    el(
      "p",
      { className: "muted" },
      "This is no bound. If table config or schema were changed since, or segments were pushed, it is more, up to the whole table: a dry run tells what it is now.",
    ),
  );
}
