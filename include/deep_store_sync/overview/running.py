"""The run that is at work: how far it is, from what its batches have left so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from deep_store_sync.store.deep_store import DeepStore, ObjectInfo
from deep_store_sync.totals import Amount

STAGES = ("rebuilt", "published", "stamped")


@dataclass(frozen=True, slots=True)
class Stage:
    """How many batches have come through a step, with their segments and bytes."""

    batches: int
    segments: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Running:
    """A run that has a plan and no report: it is at work, or it died.

    `batches` with `work` are to be done; `rebuilt`, `published` and `stamped` have come through these steps. `last` is
    when it wrote something last, by the store's clock. `left_s` is how long the rest takes, from then on, at the pace
    of its stamped batches; before the first one is, at that of the runs before, and None without any.
    """

    run_id: str
    began: datetime | None
    last: datetime | None
    batches: int
    work: Amount
    rebuilt: Stage
    published: Stage
    stamped: Stage
    left_s: float | None


def results(store: DeepStore, run_url: str) -> dict[str, list[ObjectInfo]]:
    """The files that the batches of a run have left, by step."""
    return {
        stage: [item for item in store.list(f"{run_url}/{stage}/") if item.url.endswith(".parquet")] for stage in STAGES
    }


def batches(plan: pa.Table) -> dict[str, Amount]:
    """The batches of a plan, from its columns `batch` and `size_bytes`."""
    work = plan.filter(pc.is_valid(plan.column("batch"))).select(["batch", "size_bytes"])
    groups = work.group_by("batch", use_threads=False).aggregate([("size_bytes", "count"), ("size_bytes", "sum")])
    return {row["batch"]: Amount(row["size_bytes_count"], row["size_bytes_sum"] or 0) for row in groups.to_pylist()}


def running(
    run_id: str,
    began: datetime | None,
    planned: Mapping[str, Amount],
    left: Mapping[str, Collection[ObjectInfo]],
    pace: float | None = None,
) -> Running:
    """How far a run is, from its batches and from what these have left. `pace` is that of earlier runs, in bytes/s."""
    stages = {stage: _stage(planned, {_batch(item) for item in left.get(stage, ())}) for stage in STAGES}
    total = Amount(sum(of.segments for of in planned.values()), sum(of.bytes for of in planned.values()))
    written = [item.last_modified for of in left.values() for item in of if item.last_modified]
    ended = [item.last_modified for item in left.get("stamped", ()) if item.last_modified]
    return Running(
        run_id=run_id,
        began=began,
        last=max(written, default=began),
        batches=len(planned),
        work=total,
        rebuilt=stages["rebuilt"],
        published=stages["published"],
        stamped=stages["stamped"],
        left_s=_left(began, max(ended, default=None), stages["stamped"].bytes, total.bytes, pace),
    )


def _left(began: datetime | None, last: datetime | None, done: int, total: int, pace: float | None) -> float | None:
    if began and last and done > 0 and last > began:
        pace = done / (last - began).total_seconds()
    return (total - done) / pace if pace else None


def _stage(planned: Mapping[str, Amount], batches: Collection[str]) -> Stage:
    of = [planned[batch] for batch in batches if batch in planned]
    return Stage(len(of), sum(amount.segments for amount in of), sum(amount.bytes for amount in of))


def _batch(item: ObjectInfo) -> str:
    return unquote(item.url.rpartition("/")[2].removesuffix(".parquet"))
