from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep_store_sync.errors import PinotNotFoundError, PinotUnavailableError
from deep_store_sync.pinot.activity import Looks, active_reloads, find_activity
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.reload_job import ReloadJob, ReloadStatus

TABLE = "flights_OFFLINE"
NOW = 1_000_000
HOUR = 3_600_000
RUNNING = ReloadStatus("IN_PROGRESS", 4, 1)


def job(id_: str = "j", submitted_ms: int | None = NOW - 1000, *segments: str) -> ReloadJob:
    return ReloadJob(id_, TABLE, submitted_ms, segments)


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (ReloadStatus("COMPLETED", 4, 4), True),
        (ReloadStatus("COMPLETED_WITH_ERRORS", 4, 3, 1), True),
        (ReloadStatus("IN_PROGRESS", 4, 4), False),
        (ReloadStatus("SOMETHING_NEW", 4, 4), False),
        (ReloadStatus(None, 4, 4), True),
        (ReloadStatus(None, 4, 3), False),
        (ReloadStatus(None, 4, 3, 1), True),
        (ReloadStatus(None, 4, 5), True),  # segments were added since
        (ReloadStatus(None, 0, 0), True),
        (ReloadStatus(None, 4, 4, None, unanswered=1), False),
        (ReloadStatus(None, None, 4), False),
        (ReloadStatus(None, 4, None), False),
    ],
)
def test_when_a_job_has_ended(status: ReloadStatus, ended: bool) -> None:
    assert status.ended is ended
    report = active_reloads([job()], {"j": status}, now_ms=NOW, give_up_after_ms=HOUR)
    assert report.active == (() if ended else (job(),))
    assert report.given_up == ()


def report(jobs: list[ReloadJob], statuses: dict[str, ReloadStatus | None], **more: Any) -> tuple[list[str], list[str]]:
    found = active_reloads(jobs, statuses, now_ms=NOW, give_up_after_ms=5000, **more)
    return [j.id for j in found.active], [j.id for j in found.given_up]


def test_a_job_that_never_ends_is_given_up() -> None:
    assert report([job("j", NOW - 5000)], {"j": RUNNING}) == (["j"], [])
    assert report([job("j", NOW - 5001)], {"j": RUNNING}) == ([], ["j"])


def test_the_controllers_clock_decides_the_age() -> None:
    young, old = ReloadStatus("IN_PROGRESS", 4, 1, age_ms=10), ReloadStatus("IN_PROGRESS", 4, 1, age_ms=6000)
    assert report([job("j", 0)], {"j": young}) == (["j"], [])
    assert report([job("j", NOW)], {"j": old}) == ([], ["j"])


def test_a_job_whose_age_is_unknown_does_not_block_for_ever() -> None:
    assert report([job("j", None)], {"j": RUNNING}) == ([], ["j"])


def test_a_job_of_an_earlier_table_does_not_block() -> None:
    assert report([job("j", NOW - 10)], {"j": RUNNING}, table_created_ms=NOW - 5) == ([], [])
    assert report([job("j", NOW - 1)], {"j": RUNNING}, table_created_ms=NOW - 5) == (["j"], [])


def test_unknown_to_the_controller_is_over_but_unasked_is_not() -> None:
    assert report([job("gone"), job("unasked")], {"gone": None}) == (["unasked"], [])


@given(st.lists(st.tuples(st.integers(0, 2 * NOW), st.booleans()), max_size=20), st.integers(0, NOW))
def test_every_job_is_active_given_up_or_over(rows: list[tuple[int, bool]], give_up_after_ms: int) -> None:
    jobs = [job(str(n), submitted) for n, (submitted, _) in enumerate(rows)]
    statuses = {str(n): ReloadStatus("COMPLETED", 1, 1) if over else RUNNING for n, (_, over) in enumerate(rows)}
    found = active_reloads(jobs, statuses, now_ms=NOW, give_up_after_ms=give_up_after_ms)
    assert set(found.active).isdisjoint(found.given_up)
    assert len(found.active) + len(found.given_up) == sum(not over for _, over in rows)
    assert all(NOW - (j.submitted_ms or 0) <= give_up_after_ms for j in found.active)


def test_jobs_in_words() -> None:
    assert job().describe() == "reload job j (all segments)"
    assert ReloadJob("j", TABLE, 1, ("a", "b"), "Server_x").describe() == "reload job j (segments a, b on Server_x)"


# --- asking the controller -------------------------------------------------------------------------------------------


def find(fake: Any, looks: Looks | None = None) -> tuple[list[str], list[str]]:
    """What is found where nothing but reloads is at work."""
    fake.answer("/tables/flights/stats", {"OFFLINE": {}})
    fake.answer("/segments/flights/lineage", None)
    fake.answer("/tasks/tasktypes", [])
    with ControllerClient("http://pinot:9000", transport=fake.transport, sleep=lambda _: None) as controller:
        found = find_activity(controller, TABLE, give_up_after_ms=5000, looks=looks)
    reloads = (found.active, found.given_up)
    active, given_up = ([one.id for one in some if isinstance(one, ReloadJob)] for some in reloads)
    return active, given_up


def jobs_are(fake: Any, **jobs: str | None) -> None:
    reloads = {id_: {"submissionTimeMs": str(NOW)} | ({"segmentName": s} if s else {}) for id_, s in jobs.items()}
    fake.answer_by(
        "/table/flights/jobs", lambda request: reloads if request.url.params["jobTypes"] == "RELOAD_SEGMENT" else {}
    )


def status_is(fake: Any, id_: str, status: str, *, code: int = 200) -> None:
    body = (
        {"status": status, "totalSegmentCount": 1, "successCount": 0}
        if code == 200
        else {"code": code, "error": status}
    )
    fake.answer(f"/segments/segmentReloadStatus/{id_}", body, code)


def asked(fake: Any) -> list[str]:
    return [request.url.path.rpartition("/")[2] for request in fake.requests if "ReloadStatus" in request.url.path]


def test_each_job_is_asked_for(fake: Any) -> None:
    jobs_are(fake, running=None, over=None, forgotten=None)
    status_is(fake, "running", "IN_PROGRESS")
    status_is(fake, "over", "COMPLETED")
    status_is(fake, "forgotten", "Failed to find controller job id", code=404)
    assert find(fake) == (["running"], [])


def test_no_jobs(fake: Any) -> None:
    jobs_are(fake)
    assert find(fake) == ([], [])


def test_what_has_ended_is_not_asked_for_again(fake: Any) -> None:
    jobs_are(fake, running=None, over=None)
    status_is(fake, "running", "IN_PROGRESS")
    status_is(fake, "over", "COMPLETED")
    looks = Looks()
    assert find(fake, looks) == find(fake, looks) == (["running"], [])
    assert looks.ended == {"over"}
    assert asked(fake).count("over") == 1


def test_a_job_for_a_segment_that_was_deleted_is_over(fake: Any) -> None:
    # What 1.5.1 answers then.
    gone = "Segment: s does not exist in the ideal state of table: flights_OFFLINE"
    jobs_are(fake, gone="s", unanswered="t", whole_table=None)
    for id_ in ("gone", "unanswered", "whole_table"):
        status_is(fake, id_, gone, code=500)
    fake.answer("/tables/flights/idealstate", {"OFFLINE": {"t": {}}})
    assert find(fake) == (["unanswered", "whole_table"], [])
    assert sorted(asked(fake)) == ["gone", "unanswered", "whole_table"]


def test_a_controller_that_fails_is_not_taken_for_a_quiet_table(fake: Any) -> None:
    jobs_are(fake, j="s")
    status_is(fake, "j", "out of memory", code=500)
    fake.answer("/tables/flights/idealstate", status=500)
    with pytest.raises(PinotUnavailableError):
        find(fake)


def test_no_table(fake: Any) -> None:
    fake.answer("/table/flights/jobs", {"code": 404, "error": "Table 'flights_OFFLINE' not found."}, 404)
    with pytest.raises(PinotNotFoundError, match="no table flights_OFFLINE"):
        find(fake)
