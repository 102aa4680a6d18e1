"""What to do about a segment: for each reason that the code gives, and the same as the operating guide says."""

from __future__ import annotations

import pytest
from tests.markdown import REPOSITORY, Document, code, rows

from deep_store_sync.decide import bad_url, blocked
from deep_store_sync.model import Action, DeferredBy, PlannedSegment, Servers, StampState
from deep_store_sync.planning.order import Left
from deep_store_sync.upkeep.remedies import remedy

OPERATING = Document(REPOSITORY / "docs" / "operating.md")
FINE = {"status": None, "in_progress": False, "replaced": False, "crypter": None, "has_crc": True, "empty": False}


def planned(action: Action, reason: str, by: DeferredBy | None = None) -> PlannedSegment:
    return PlannedSegment("s", action, reason, "v1:0", Servers.CLEAN, StampState.NONE, deferred_by=by)


REASONS = {
    "consuming": blocked(["CONSUMING"], **FINE),
    "committing": blocked(["ONLINE"], **{**FINE, "status": "COMMITTING"}),
    "nowhere": blocked([], **FINE),
    "offline": blocked(["OFFLINE"], **FINE),
    "lineage": blocked(["ONLINE"], **{**FINE, "in_progress": True}),
    "replaced": blocked(["ONLINE"], **{**FINE, "replaced": True}),
    "encrypted": blocked(["ONLINE"], **{**FINE, "crypter": "AES"}),
    "no crc": blocked(["ONLINE"], **{**FINE, "has_crc": False}),
    "empty": blocked(["ONLINE"], **{**FINE, "empty": True}),
    "bad name": bad_url("a/b", "s3://b/d/a", ["s3://b/d"], ()),
    "no url": bad_url("s", None, ["s3://b/d"], ()),
    "shared": bad_url("s", "s3://b/d/s", ["s3://b/d"], ["s3://b/d/s"]),
    "outside": bad_url("s", "s3://b/e/s", ["s3://b/d"], ()),
    "not ascii": bad_url("ß", "s3://b/d/ß", ["s3://b/d"], ()),
    "unusable": bad_url("s", "s3://b/d/../s", ["s3://b/d"], ()),
    "other name": bad_url("s", "s3://b/d/t", ["s3://b/d"], ()),
}


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_there_is_a_remedy_for_each_reason_not_to_touch_a_segment(reason: str | None) -> None:
    assert reason is not None
    assert remedy(planned(Action.NOT_ELIGIBLE, reason))


@pytest.mark.parametrize(
    "by", [by for by in DeferredBy if by.name in {left.name for left in Left} | {"SERVERS"}], ids=str
)
def test_there_is_one_for_each_way_in_which_a_plan_defers(by: DeferredBy) -> None:
    assert remedy(planned(Action.DEFER, "", by))


def test_the_guide_says_the_same_of_what_is_incurable() -> None:
    for cells in rows(OPERATING.section("Incurable")):
        (message,) = code(cells[0])
        said = remedy(planned(Action.INCURABLE, message.replace("…", "x")))
        assert said
        assert cells[1].split(";")[0] in said


@pytest.mark.parametrize("action", [Action.SKIP, Action.REBUILD, Action.AUDIT, Action.RELOAD], ids=str)
def test_what_a_run_sees_to_needs_nobody(action: Action) -> None:
    assert remedy(planned(action, "")) is None
