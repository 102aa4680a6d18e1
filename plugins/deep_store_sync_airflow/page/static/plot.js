// How the table's segments stood after each of its last runs, as an inline SVG.
import { STATES, count, el, plural, stateClass } from "./common.js";

const WIDTH = 720, HEIGHT = 220, LEFT = 64, RIGHT = 8, TOP = 12, BOTTOM = 44;

/** A round number at or above this one, and how far its ticks are apart. */
export function scale(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  const step = [0.25, 0.5, 1, 2, 5].map((by) => Math.max(1, by * power)).find((by) => most / by <= 4.5) ?? 10 * power;
  return { step, top: Math.max(step, Math.ceil(most / step) * step) };
}

export function Trend({ runs }) {
  const told = runs.filter((run) => run.whole && run.totals).reverse();
  const shown = STATES.filter((state) => told.some((run) => run.totals.states[state]?.segments));
  const heading = el("h2", null, "Trend");
  if (told.length === 0) {
    return el("section", null, heading, el("p", { role: "status" }, "No run that looked at all segments has reported yet."));
  }
  const segments = (run, state) => run.totals.states[state]?.segments ?? 0;
  const all = (run) => shown.reduce((sum, state) => sum + segments(run, state), 0);
  const { step, top } = scale(Math.max(...told.map(all)));
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const slot = (WIDTH - LEFT - RIGHT) / Math.max(told.length, 8);
  const bar = Math.min(36, slot * 0.7);
  const words = (run) => shown.map((state) => `${count(segments(run, state))} ${state}`).join(", ");
  const day = (run) => new Date(run.began).toLocaleDateString(undefined, { month: "short", day: "numeric" });
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, number) => number * step);
  const every = Math.ceil(told.length / 10);
  return el(
    "section",
    null,
    heading,
    el(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        className: "plot",
        "aria-label": `Segments by state after the last ${plural(told.length, "run")}; after the last one ${words(told.at(-1))}`,
      },
      ticks.map((value) =>
        el(
          "g",
          { key: value },
          el("line", { className: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
          el("text", { x: LEFT - 8, y: y(value) + 4, textAnchor: "end" }, count(value)),
        ),
      ),
      told.map((run, number) => {
        const x = LEFT + slot * (number + 0.5);
        let below = 0;
        return el(
          "g",
          { key: number },
          el("title", null, `${run.run_id}: ${words(run)}`),
          shown.map((state) => {
            const from = below;
            below += segments(run, state);
            return el("rect", {
              key: state,
              className: stateClass(state),
              x: x - bar / 2,
              width: bar,
              y: y(below),
              height: Math.max(0, y(from) - y(below)),
            });
          }),
          number % every === 0 && el("text", { x, y: HEIGHT - BOTTOM + 18, textAnchor: "middle" }, day(run)),
        );
      }),
      el("text", { className: "axis", x: LEFT + (WIDTH - LEFT) / 2, y: HEIGHT - 6, textAnchor: "middle" }, "run, by the day of its plan"),
      el("text", { className: "axis", transform: `translate(12 ${(HEIGHT - BOTTOM + TOP) / 2}) rotate(-90)`, textAnchor: "middle" }, "segments"),
    ),
    el(
      "p",
      { className: "legend" },
      shown.map((state) => el("span", { key: state }, el("span", { className: `dot ${stateClass(state)}` }), state)),
    ),
  );
}
