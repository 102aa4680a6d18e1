"""Numbers that documents tell are those of the code, of Airflow, and of measurements, or worked out from them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from airflow.configuration import conf
from tests.deep_store_sync.jvm.test_library_versions import VERSIONS
from tests.markdown import DOCUMENTS, REPOSITORY, rows

from deep_store_sync.jvm import start_java
from deep_store_sync.pinot import storage_quota
from deep_store_sync.planning import order
from deep_store_sync.publishing import push_pace, server_words
from deep_store_sync.rebuilding import disk, pipeline
from deep_store_sync.settings import Discovery, TableSync
from deep_store_sync.upkeep import object_metadata, retention
from deep_store_sync_airflow.operators import rebuild_segment
from pinot_sandbox import toolchain

DOCS = {str(document): document for document in DOCUMENTS}
GB, TB = 10**9, 10**12
MIB, GIB = 1024**2, 1024**3
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINNED = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().split() if "==" in line)
WORDS = {2: "two", 4: "four", 6: "six", 10: "ten"}


def default(name: str) -> Any:
    return TableSync.model_fields[name].default


def of_airflow(section: str, option: str) -> int:
    described = conf.configuration_description[section]["options"][option]
    return int(described["default"])


def hours(name: str) -> int:
    return int(default(name).total_seconds() // 3600)


(AIRFLOW,) = (text.partition(">=")[2] for text in PROJECT["dependencies"] if text.startswith("apache-airflow>="))
PYTHON = PROJECT["requires-python"].removeprefix(">=")
ONE_IN = round(1 / (1 - order._NEWEST_FIRST))
FILES = round(of_airflow("dag_processor", "dag_file_processor_timeout") / 0.04, -2)

TOLD = {
    "README.md": [
        f"Airflow has to be {AIRFLOW} or later; it is tested with {PINNED['apache-airflow']}",
        f"Python {PYTHON} or later",
        f"a JDK, {toolchain._JAVA_AT_LEAST} or later",
        f"a cluster of Pinot {toolchain.pinot_version()}",
        f"the segment libraries of {VERSIONS[0]}, {VERSIONS[1]} and {VERSIONS[2]}",
    ],
    "docs/deployment.md": [
        f"Airflow {AIRFLOW} or later",
        f"tested with {PINNED['apache-airflow']}",
        f"its archive and {WORDS[disk._need(0, 1)]} times its unpacked size of disk",
    ],
    "docs/distributed.md": [
        f"({of_airflow('scheduler', 'task_instance_heartbeat_timeout') // 60} minutes, unless it is set)",
        f"of {default('batch_bytes') // GIB} GiB, a run over 1 TiB has {1024 * GIB // default('batch_bytes')}",
        f"{default('max_active_waves')} unless it is set",
    ],
    "docs/faq.md": [f"{WORDS[hours('reload_give_up_after')]} hours by default"],
    "docs/how-it-works.md": [
        {1.0: "Where servers take more than a second"}[server_words.AT_ONCE_S],
        f"{WORDS[server_words._KEPT_TIMES]} times as long as it took them",
    ],
    "docs/operating.md": [
        f"`auditBudget` ({default('audit_budget') // GIB} GiB)",
        f"every {rebuild_segment._SWITCH_EVERY_S:g} seconds meanwhile",
        f"From {storage_quota.LARGE:,} segments on",
        {60.0: "a pause as long as it took, a minute at most"}[push_pace.LONGEST_PAUSE_S],
        {4: "Every fourth run or so"}[ONE_IN],
        {"0 * * * *": "asks the controller, once an hour"}[Discovery.model_fields["discover_schedule"].default],
    ],
    "docs/pinot-jars.md": [
        f"Java {start_java._JAVA_AT_LEAST} or later",
        f"libraries of Pinot {VERSIONS[0]}, {VERSIONS[1]} and {VERSIONS[2]}",
    ],
    "docs/rebuilding.md": [f"while {WORDS[pipeline._BESIDES]} more are downloaded or uploaded"],
    "docs/rollback.md": [f"{retention.MOST_REMOVED:,} objects at most"],
    "docs/command-line.md": [f"it reads {object_metadata._START // MIB} MiB"],
    "docs/scale.md": [
        f"from {storage_quota.LARGE:,} segments on",
        f"{of_airflow('dag_processor', 'dag_file_processor_timeout')} s unless set: some {FILES:,.0f} table files",
    ],
}


@pytest.mark.parametrize("name", sorted(TOLD))
def test_numbers_are_those_of_the_code(name: str) -> None:
    prose = " ".join(DOCS[name].prose.split())
    assert [sentence for sentence in TOLD[name] if sentence not in prose] == []


# --- docs/scale.md: what is worked out from what was measured ---------------------------------------------------------

SCALE = " ".join(DOCS["docs/scale.md"].prose.split())


def cells(first: str) -> list[str]:
    (row,) = [row for row in rows(DOCS["docs/scale.md"].section("What that comes to")) if row[0].startswith(first)]
    return row


def number(cell: str) -> float:
    found = re.match(r"[\d,.]+", cell)
    assert found, cell
    return float(found[0].replace(",", ""))


def test_rates_are_those_that_were_measured() -> None:
    """MB of archives that a core rebuilds in a second, from the benchmarks' times on two cores."""
    rates: dict[str, list[float]] = {"indexes added": [], "INT to LONG": []}
    objects = 0.0
    for batch, change, ours, *_ in rows(DOCS["docs/benchmarks.md"].section("Against Pinot's way")):
        if found := re.search(r"(\d+) MB an object; (\d+) segments", batch):
            objects = float(found[1]) * float(found[2])
        if objects > 400:  # with the small segments of flights, starting weighs
            rates[change].append(objects / number(ours) / 2)
    told = re.search(r"(\d+) to (\d+) MB of archives a second \(indexes added.*?\), (\d+) to (\d+)", SCALE)
    assert told
    measured = [bound(rates[change]) for change in ("indexes added", "INT to LONG") for bound in (min, max)]
    assert [float(text) for text in told.groups()] == pytest.approx(measured, rel=0.05)


def test_what_a_petabyte_comes_to() -> None:
    a_core = number(SCALE.partition("A core that rebuilds does ")[2]) * 10**6
    days = [size / a_core / 86400 for size in (300 * TB, 1000 * TB)]
    assert [number(cell) for cell in cells("days of one core")[1:3]] == pytest.approx(days, rel=0.02)
    one_table, many_tables, in_sync = cells("segments, of 300 MB")[1:4]
    assert [number(one_table), number(many_tables)] == pytest.approx([300 * TB / 3e8, 1000 * TB / 3e8], rel=0.02)
    assert number(cells("waves of 10")[1]) == pytest.approx(number(one_table) / 10 / 3600, rel=0.02)
    assert number(cells("server downloads")[1]) == 3 * 300
    assert number(cells("server downloads")[2]) == 3 * 1
    tasks = [number(cell) for cell in cells("tasks of Airflow")[1:4]]
    assert tasks == [4 * order.MAX_BATCHES + 3, 100 * (4 * order.MAX_BATCHES + 3), 3 * 10_000]
    assert number(in_sync) == 1_000_000


def test_how_long_a_bootstrap_takes() -> None:
    slow, fast = (80 * rate * 10**6 for rate in (20, 30))
    assert f"80 cores at 20 to 30 MB a second each are {slow / GB:g} to {fast / GB:g} GB a second" in SCALE
    days = [300 * TB / rate / 86400 for rate in (fast, slow)]
    assert f"({days[0]:.1f} to {days[1]:.1f})" in SCALE
    assert f"it is {10 * days[0]:.0f} to {10 * days[1]:.0f} days divided by N" in SCALE
