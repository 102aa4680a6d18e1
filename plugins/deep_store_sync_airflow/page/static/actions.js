// Dry run, run, force: what they would cost is shown before anything is triggered. Airflow's REST API triggers, with the
// user's own session: it decides whether the user may.
import { InnerLink, Moment, Problem, airflow, bytes, dagPath, el, plural, useLoaded } from "./common.js";

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
    started && el("p", { role: "status" }, "Started: ", el(InnerLink, { to: `${dagPath(data.dag_id)}/runs/${encodeURIComponent(started)}` }, started)),
    chosen && el(Ask, {
      name: chosen,
      data,
      close: () => setChosen(null),
      choose: setChosen,
      done: (runId) => {
        setChosen(null);
        setStarted(runId);
        reload();
      },
    }),
  );
}

function Ask({ name, data, close, choose, done }) {
  const dialog = useRef(null);
  const [unpause, setUnpause] = useState(true);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const load = useCallback(() => airflow("GET", dagPath(data.dag_id)), [data.dag_id]);
  const { data: dag } = useLoaded(load);
  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
  }, []);
  const unknown = name !== "Dry run" && !data.as_of;
  const trigger = async () => {
    setBusy(true);
    setError(null);
    try {
      if (dag?.is_paused && unpause) await airflow("PATCH", `${dagPath(data.dag_id)}?update_mask=is_paused`, { is_paused: false });
      const run = await airflow("POST", `${dagPath(data.dag_id)}/dagRuns`, { logical_date: null, conf: ACTIONS[name].conf });
      done(run.dag_run_id);
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
    dag?.is_paused && el(
      "label",
      null,
      el("input", { type: "checkbox", checked: unpause, onChange: (event) => setUnpause(event.target.checked) }),
      " The DAG is paused. Unpause it, so that the run begins: scheduled runs begin, too.",
    ),
    error && el(Problem, { error }),
    el(
      "div",
      { className: "buttons" },
      el("button", { type: "button", onClick: close }, "Cancel"),
      unknown && el("button", { type: "button", className: "primary", onClick: () => choose("Dry run") }, "Dry run instead"),
      el("button", { type: "button", className: unknown ? undefined : "primary", disabled: busy || !dag, onClick: trigger }, unknown ? `${name} anyway` : `Start ${name.toLowerCase()}`),
    ),
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
    el("p", null, "At most, by the plan of ", el(Moment, { at: data.as_of }), ":"),
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
    el("p", { className: "muted" }, "Segments that were pushed since are not in it."),
  );
}
