"""How a rebuild grows with rows, columns and segments: `python -m tests.benchmarks.growth`.

Seconds for one more segment in a batch, of this product and of Pinot's way, for tables of more and more rows and of
more and more columns, and the most memory of batches of more and more segments. Rows `growth_*` go to
build/benchmarks.json, plots of them to docs/images.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job
from tests.benchmarks.measure import ROOT, run
from tests.benchmarks.run import write_row
from tests.benchmarks.segments import make_job
from tests.benchmarks.tables import Table, wide

from pinot_sandbox.gateway import GatewayProcess, choose_gateway
from pinot_sandbox.toolchain import ensure_jars

_ROWS = (50_000, 100_000, 200_000, 400_000)
_COLUMNS = (11, 26, 51, 101)
_SEGMENTS = (4, 8, 16, 32)
_CHANGES = ("index_only", "type_change")


@dataclass(frozen=True, slots=True)
class Series:
    """What is varied, over which values, and the table for each."""

    name: str
    axis: str
    values: Sequence[int]
    table: Callable[[int], Table]


SERIES = (
    Series("rows", "rows of a segment (26 columns)", _ROWS, lambda rows: wide(26, rows)),
    Series("columns", "columns of a segment (100,000 rows)", _COLUMNS, lambda columns: wide(columns, 100_000)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks.json")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deep-store-sync-bench-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        jars = ensure_jars(print)
        kind, binary = choose_gateway("auto", print)
        gateway = GatewayProcess(kind, binary, folder)
        try:
            gateway.s3.client().create_bucket(Bucket=gateway.s3.bucket)
            for series in SERIES:
                row = measure_series(gateway, series, jars, folder)
                write_row(row, options.out)
                plot_series(series, row, options.images)
            row = measure_memory(gateway, jars, folder)
            write_row(row, options.out)
            plot_memory(row, options.images)
        finally:
            gateway.close()


def measure_series(gateway: GatewayProcess, series: Series, jars: Path, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": f"growth_{series.name}", "axis": series.axis, "values": list(series.values)}
    for value in series.values:
        table = series.table(value)
        job = make_job(gateway, table, 4, jars, folder / f"{series.name}{value}")
        for change in _CHANGES:
            config, schema = getattr(table, change)()
            asked = replace(job, config=config, schema=schema)
            ours = (run("ours", asked).told["batch_s"] - run("ours", first(asked)).told["batch_s"]) / 3
            theirs = run("theirs", replace(asked, segments=asked.segments[:2])).told["segments_s"][-1]
            row.setdefault(f"ours_{change}_s", []).append(round(ours, 3))
            row.setdefault(f"theirs_{change}_s", []).append(round(theirs, 3))
            print(f"{table.name}, {change}: {ours:.2f} s a segment, Pinot's way {theirs:.2f} s", flush=True)
    return row


def first(job: Job) -> Job:
    """The job on its first segment alone: what starting costs, Java's first segment included."""
    return replace(job, segments=job.segments[:1], crcs=job.crcs[:1])


def measure_memory(gateway: GatewayProcess, jars: Path, folder: Path) -> dict[str, Any]:
    table = wide(26, 100_000)
    job = make_job(gateway, table, max(_SEGMENTS), jars, folder / "memory")
    config, schema = table.index_only()
    row: dict[str, Any] = {"name": "growth_segments", "axis": "segments of a batch", "values": list(_SEGMENTS)}
    for count in _SEGMENTS:
        part = replace(job, segments=job.segments[:count], crcs=job.crcs[:count], config=config, schema=schema)
        measured = run("ours", part)
        row.setdefault("rss_mb", []).append(round(measured.rss_mb))
        row.setdefault("disk_mb", []).append(round(measured.disk_mb))
        print(f"{count} segments: {measured.rss_mb:.0f} MB RSS, {measured.disk_mb:.0f} MB disk", flush=True)
    return row


def plot_series(series: Series, row: dict[str, Any], images: Path) -> None:
    lines = {
        f"{who}, {change.replace('_', ' ')}": row[f"{side}_{change}_s"]
        for side, who in (("theirs", "Pinot's way"), ("ours", "deep store sync"))
        for change in _CHANGES
    }
    _plot(images / f"growth-{series.name}.svg", row, lines, "seconds a segment", log=True)


def plot_memory(row: dict[str, Any], images: Path) -> None:
    lines = {"memory of the task and its children": row["rss_mb"], "disk": row["disk_mb"]}
    _plot(images / "growth-segments.svg", row, lines, "MB", log=False)


def _plot(path: Path, row: dict[str, Any], lines: dict[str, list[float]], unit: str, *, log: bool) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "deep-store-sync"  # the same figures give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for label, values in lines.items():
        axes.plot(row["values"], values, marker="o", label=label, linestyle="--" if "type" in label else "-")
    axes.set_xlabel(row["axis"])
    axes.set_ylabel(unit)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
