"""What docs/distributed.md tells of pods and of a worker's share fits together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ByteSize, TypeAdapter
from tests.markdown import REPOSITORY, Document

from deep_store_sync.rebuilding.limits import Machine, decide_limits
from deep_store_sync.settings import EngineSettings

GIB = 1 << 30
DOCUMENT = Document(REPOSITORY / "docs" / "distributed.md")
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(block.text) for block in DOCUMENT.blocks if block.language == "yaml"]
(POD,) = (block for block in BLOCKS if block.get("kind") == "Pod")
ENGINES = [EngineSettings.model_validate(block["engine"]) for block in BLOCKS if "engine" in block]


def size(text: str) -> int:
    return TypeAdapter(ByteSize).validate_python(text + "B")


def memory(engine: EngineSettings) -> float:
    assert engine.parallel_segments is not None
    assert engine.heap is not None
    return 2 * engine.parallel_segments * engine.heap + GIB / 2


def test_four_tasks_fit_a_worker_as_it_says() -> None:
    engine = ENGINES[0]
    assert 4 * memory(engine) == 50 * GIB
    assert 4 * int(engine.disk or 0) == 400 * GIB


def test_a_task_fits_its_pod() -> None:
    engine, (container,) = ENGINES[-1], POD["spec"]["containers"]
    assert container["name"] == "base"
    limits = container["resources"]["limits"]
    assert memory(engine) <= size(limits["memory"])
    assert int(container["resources"]["requests"]["cpu"]) >= 2 * int(engine.parallel_segments or 0)
    (mount,), (volume,) = container["volumeMounts"], POD["spec"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], str(engine.workdir))
    assert int(engine.disk or 0) <= size(volume["emptyDir"]["sizeLimit"])


@pytest.mark.parametrize(("cores", "gib"), [(1, 1), (2, 4), (8, 16), (16, 64), (64, 512)])
def test_the_defaults_are_those_that_it_tells(cores: int, gib: int) -> None:
    limits = decide_limits(EngineSettings(), Machine(cores, gib * GIB, 1000))
    assert limits.heap_bytes == min(max(gib * GIB // 8, GIB // 2), 4 * GIB)
    assert limits.parallel_segments == max(1, min(cores // 2, gib * GIB // (2 * limits.heap_bytes)))
    assert limits.disk_bytes == 800
