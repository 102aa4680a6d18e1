from __future__ import annotations

import pickle
from typing import Any

import httpx
import pytest

from deep_store_sync.errors import (
    ConfigError,
    PinotAccessError,
    PinotAnswerError,
    PinotNotFoundError,
    PinotUnavailableError,
    SegmentGoneError,
)
from deep_store_sync.model import Lineage, ServerAnswer
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.table_name import split_table

TABLE = "flights_OFFLINE"
ODD = "a b+c%2F:é"
ODD_IN_PATH = "a%20b%2Bc%252F%3A%C3%A9"


def client(fake: Any, **settings: Any) -> ControllerClient:
    return ControllerClient("http://pinot:9000", transport=fake.transport, sleep=lambda _: None, **settings)


def test_version_is_the_controllers_own(fake: Any) -> None:
    fake.answer("/version", {"pinot-s3": "0.11.0-1b4d6b6b", "pinot-controller": "1.5.1-020ff0d0", "pinot-core": None})
    assert client(fake).version() == "1.5.1"


@pytest.mark.parametrize(
    ("versions", "version"),
    [({"pinot-spi": "1.4.0-ST.13"}, "1.4.0"), ({"pinot-controller": "1.6.0-SNAPSHOT-12ab"}, "1.6.0-SNAPSHOT")],
)
def test_versions_of_other_builds(fake: Any, versions: dict[str, str], version: str) -> None:
    fake.answer("/version", versions)
    assert client(fake).version() == version


@pytest.mark.parametrize("answer", [{"pinot-controller": "UNKNOWN"}, {}, ["1.5.1"], "1.5.1", None])
def test_a_version_that_is_none(fake: Any, answer: Any) -> None:
    fake.answer("/version", answer)
    with pytest.raises(PinotAnswerError, match=r"GET http://pinot:9000/version gave .*own port"):
        client(fake).version()


def test_table_config(fake: Any) -> None:
    fake.answer("/tables/flights", {"OFFLINE": {"tableName": TABLE}})
    assert client(fake).table_config(TABLE) == {"tableName": TABLE}
    assert fake.requests[0].url.query == b"type=OFFLINE"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"code": 404, "error": "Table flights_OFFLINE does not exist"}),
        (200, {}),  # 1.3 and 1.4
    ],
)
def test_a_table_that_is_not_there(fake: Any, status: int, body: Any) -> None:
    fake.answer("/tables/flights", body, status)
    with pytest.raises(
        PinotNotFoundError, match=r"no table flights_OFFLINE on the controller http://pinot:9000.*create"
    ):
        client(fake).table_config(TABLE)


@pytest.mark.parametrize("body", [["OFFLINE"], {"OFFLINE": "secret"}, "x"])
def test_a_table_config_of_another_shape(fake: Any, body: Any) -> None:
    fake.answer("/tables/flights", body)
    with pytest.raises(PinotAnswerError) as caught:
        client(fake).table_config(TABLE)
    assert "secret" not in str(caught.value)


def test_schema(fake: Any) -> None:
    schema = {"schemaName": "flights", "dimensionFieldSpecs": []}
    fake.answer("/tables/flights/schema", schema)
    assert client(fake).schema(TABLE) == schema
    fake.answer("/tables/none/schema", {"code": 404, "error": "Schema not found for table: none"}, 404)
    with pytest.raises(PinotNotFoundError, match="Schema not found for table: none"):
        client(fake).schema("none_REALTIME")


def test_names_in_paths_are_encoded(fake: Any) -> None:
    fake.answer("/tables/my%20db.t%2F1/schema", {"schemaName": "t"})
    assert client(fake).schema("my db.t/1_OFFLINE") == {"schemaName": "t"}
    fake.answer(f"/segments/{TABLE}/{ODD_IN_PATH}/metadata", {"segment.crc": "7"})
    assert client(fake).segment(TABLE, ODD).crc == 7


def test_when_a_table_was_created(fake: Any) -> None:
    fake.answer("/tables/flights/stats", {"OFFLINE": {"creationTime": "20261122T144351Z"}})
    assert client(fake).table_created_ms(TABLE) == 1795358631000
    fake.answer("/tables/old/stats", {})
    assert client(fake).table_created_ms("old_OFFLINE") is None


def test_ideal_state(fake: Any) -> None:
    state = {"s": {"Server_a_1": "ONLINE"}}
    fake.answer("/tables/flights/idealstate", {"OFFLINE": state, "REALTIME": None})
    assert client(fake).ideal_state(TABLE) == state
    fake.answer("/tables/none/idealstate", {"OFFLINE": None, "REALTIME": None})
    with pytest.raises(PinotNotFoundError):
        client(fake).ideal_state("none_OFFLINE")
    fake.answer("/tables/odd/idealstate", {"OFFLINE": {"s": ["Server_a_1"]}})
    with pytest.raises(PinotAnswerError, match="segment, server and state"):
        client(fake).ideal_state("odd_OFFLINE")


def test_the_ideal_state_of_some_segments(fake: Any) -> None:
    state = {name: {"Server_a_1": "ONLINE"} for name in ("s", "t", "u,v", " w")}
    asked: list[str | None] = []

    def answer(request: Any) -> Any:
        asked.append(named := request.url.params.get("segmentNames"))
        names = named.split(",") if named else state
        return {"OFFLINE": {name: state[name] for name in names if name in state}, "REALTIME": None}

    fake.answer_by("/tables/flights/idealstate", answer)
    assert client(fake).ideal_state(TABLE, ["t", "gone"]) == {"t": state["t"]}
    assert client(fake).ideal_state(TABLE, ["gone"]) == {}
    # What Pinot would take apart, or an URL would be too long for, is picked out of the whole.
    assert client(fake).ideal_state(TABLE, ["u,v", "s"]) == {"s": state["s"], "u,v": state["u,v"]}
    assert client(fake).ideal_state(TABLE, [" w"]) == {" w": state[" w"]}
    assert client(fake).ideal_state(TABLE, ["s", *(f"no such segment {n}" for n in range(1000))]) == {"s": state["s"]}
    assert client(fake).ideal_state(TABLE, []) == {}
    assert asked == ["t,gone", "gone", None, None, None, None]


def test_the_ideal_state_of_a_pinot_that_always_tells_all(fake: Any) -> None:
    """1.3 does not know the parameter."""
    fake.answer("/tables/flights/idealstate", {"OFFLINE": {name: {"a": "ONLINE"} for name in "stu"}, "REALTIME": None})
    assert client(fake).ideal_state(TABLE, ["t"]) == {"t": {"a": "ONLINE"}}
    fake.answer("/tables/none/idealstate", {"OFFLINE": None, "REALTIME": None})
    with pytest.raises(PinotNotFoundError):
        client(fake).ideal_state("none_OFFLINE", ["t"])


def test_external_view(fake: Any) -> None:
    state = {"s": {"Server_a_1": "CONSUMING"}}
    fake.answer("/tables/flights/externalview", {"OFFLINE": state, "REALTIME": None})
    long = client(fake).long
    seen = long.seen_replicas(TABLE)
    assert seen is not None
    assert seen.of(["s", "gone"]) == state
    fake.answer("/tables/new/externalview", {"OFFLINE": None, "REALTIME": None})
    assert long.seen_replicas("new_OFFLINE") is None
    fake.answer("/tables/none/externalview", {"code": 404, "error": "Table not found"}, 404)
    assert long.seen_replicas("none_OFFLINE") is None
    fake.answer("/tables/odd/externalview", {"OFFLINE": {"s": ["Server_a_1"]}})
    with pytest.raises(PinotAnswerError, match="segment, server and state"):
        long.seen_replicas("odd_OFFLINE")


def test_lineage(fake: Any) -> None:
    fake.answer(
        "/segments/flights/lineage",
        {
            "tableNameWithType": TABLE,
            "lineageEntries": {
                "1": {"segmentsFrom": ["a"], "segmentsTo": ["b"], "state": "COMPLETED", "timestamp": 1},
                "2": {"segmentsFrom": ["c"], "segmentsTo": ["d"], "state": "IN_PROGRESS", "timestamp": 2},
                "3": {"segmentsFrom": ["e"], "segmentsTo": ["f"], "state": "REVERTED", "timestamp": 3},
                "4": {"segmentsFrom": ["g"], "segmentsTo": [], "state": "OF_A_LATER_PINOT", "timestamp": 4},
            },
        },
    )
    assert client(fake).lineage(TABLE) == Lineage(frozenset("cdg"), frozenset("af"))


def test_a_table_without_lineage_has_an_empty_answer(fake: Any) -> None:
    fake.answer("/segments/flights/lineage")
    assert client(fake).lineage(TABLE) == Lineage()
    fake.answer("/segments/odd/lineage", {"lineageEntries": {"1": {"state": "COMPLETED"}}})
    with pytest.raises(PinotAnswerError, match="segmentsFrom"):
        client(fake).lineage("odd_OFFLINE")


def test_segments_by_name(fake: Any) -> None:
    fake.answer("/segments/flights/zkmetadata", {"b": {"segment.crc": "2"}, ODD: {"segment.crc": "1"}})
    records = client(fake).segments(TABLE)
    assert [(record.name, record.crc) for record in records] == [(ODD, 1), ("b", 2)]
    fake.answer("/segments/odd/zkmetadata", {"b": "x"})
    with pytest.raises(PinotAnswerError, match="segment and ZooKeeper metadata"):
        client(fake).segments("odd_OFFLINE")


def test_a_segment_that_was_deleted(fake: Any) -> None:
    gone = {"code": 404, "error": "Failed to find segment: s in table: flights_OFFLINE"}
    fake.answer(f"/segments/{TABLE}/s/metadata", gone, 404)
    with pytest.raises(SegmentGoneError, match="probably deleted"):
        client(fake).segment(TABLE, "s")


def test_stale_segments(fake: Any) -> None:
    fake.answer(
        f"/segments/{TABLE}/isStale",
        {
            "Server_a": {
                "staleSegmentList": [
                    {"segmentName": ODD, "reason": "inverted index changed on unsorted column: origin", "stale": True},
                    {"segmentName": "t", "reason": None},
                    {"segmentName": "u", "reason": "x", "stale": False},
                ],
                "validResponse": True,
                "errorMessage": None,
            },
            "Server_b": {"staleSegmentList": [], "validResponse": True, "errorMessage": None},
            "Server_c": {"staleSegmentList": None, "validResponse": False, "errorMessage": "Unrecognized token"},
            "Server_d": {"staleSegmentList": [], "validResponse": False, "errorMessage": None},
            "Server_e": {"staleSegmentList": None, "validResponse": True, "errorMessage": None},
        },
    )
    found = client(fake).stale(TABLE)
    assert found == {
        "Server_a": ServerAnswer(
            True, {ODD: "inverted index changed on unsorted column: origin", "t": "no reason given"}
        ),
        "Server_b": ServerAnswer(True),
        "Server_c": ServerAnswer(False, error="Unrecognized token"),
        "Server_d": ServerAnswer(False, error="validResponse is false"),
        "Server_e": ServerAnswer(False, error="validResponse is false"),
    }
    some = {**found, "Server_a": ServerAnswer(True, {"t": "no reason given"})}
    assert client(fake).stale(TABLE, ["t", "u", "gone"]) == some


def test_all_servers_down_is_no_answer_at_all(fake: Any) -> None:
    fake.answer(f"/segments/{TABLE}/isStale", {})
    assert client(fake).stale(TABLE) == {}


@pytest.mark.parametrize(
    "body", [[], {"Server_a": {}}, {"Server_a": []}, {"Server_a": {"staleSegmentList": [1], "validResponse": True}}]
)
@pytest.mark.parametrize("segments", [None, ["s"]])
def test_a_stale_answer_of_another_shape(fake: Any, body: Any, segments: list[str] | None) -> None:
    fake.answer(f"/segments/{TABLE}/isStale", body)
    with pytest.raises(PinotAnswerError):
        client(fake).stale(TABLE, segments)


def test_need_reload(fake: Any) -> None:
    servers = {
        "Server_a": {"needReload": True, "instanceId": "Server_a"},
        "Server_b": {"needReload": False, "instanceId": "Server_b"},
    }
    fake.answer(f"/segments/{TABLE}/needReload", {"needReload": True, "serverToSegmentsCheckReloadList": servers})
    assert client(fake).need_reload(TABLE) == {"Server_a": True, "Server_b": False}
    assert fake.requests[0].url.query == b"verbose=true"


@pytest.mark.parametrize(
    ("body", "job"),
    [
        (
            {"status": "Submitted reload job id: cef4-b7c9, sent 2 reload messages. Job meta ZK storage status: OK"},
            "cef4-b7c9",
        ),
        (b"Submitted reload job id: cef4-b7c9, sent 2 reload messages.", "cef4-b7c9"),
        ({"status": '{"flights_OFFLINE":{"reloadJobId":"c6c3-9eca","numMessagesSent":"2"}}'}, "c6c3-9eca"),
        ({"status": {"flights_OFFLINE": {"numMessagesSent": "2", "reloadJobId": "c6c3-9eca"}}}, "c6c3-9eca"),
    ],
)
def test_reload_gives_the_job(fake: Any, body: Any, job: str) -> None:
    fake.answer(f"/segments/{TABLE}/{ODD_IN_PATH}/reload", body, method="POST")
    assert client(fake).reload(TABLE, ODD, force_download=True) == job
    assert fake.requests[0].url.query == b"forceDownload=true"


def test_reload_without_a_job(fake: Any) -> None:
    fake.answer(f"/segments/{TABLE}/s/reload", {"status": "done"}, method="POST")
    with pytest.raises(PinotAnswerError, match=r"POST .*/s/reload gave a str where a reload job's id"):
        client(fake).reload(TABLE, "s", force_download=False)
    fake.answer(f"/segments/{TABLE}/t/reload", {"code": 404, "error": "Failed to find segment: t"}, 404, method="POST")
    with pytest.raises(PinotNotFoundError, match="Failed to find segment: t"):
        client(fake).reload(TABLE, "t", force_download=False)


def test_reload_is_sent_once(fake: Any) -> None:
    fake.fail(f"/segments/{TABLE}/s/reload", httpx.ReadError, method="POST")
    with pytest.raises(PinotUnavailableError):
        client(fake).reload(TABLE, "s", force_download=False)
    assert len(fake.requests) == 1


def test_reload_jobs(fake: Any) -> None:
    fake.answer(
        "/table/flights/jobs",
        {
            "2": {
                "jobId": "2",
                "messageCount": "2",
                "submissionTimeMs": "5",
                "segmentName": "a|b c",
                "instanceName": "Server_a",
            },
            "1": {"jobId": "1", "tableName": TABLE, "jobType": "RELOAD_SEGMENT"},
        },
    )
    first, second = client(fake).reload_jobs(TABLE)
    assert (first.id, first.table, first.submitted_ms, first.segments, first.instance) == ("1", TABLE, None, (), None)
    assert (second.submitted_ms, second.segments, second.instance, second.messages) == (5, ("a", "b c"), "Server_a", 2)
    assert fake.requests[0].url.query == b"type=OFFLINE&jobTypes=RELOAD_SEGMENT"


@pytest.mark.parametrize("body", [{"1": "x"}, {"1": {"submissionTimeMs": "soon"}}, ["1"]])
def test_reload_jobs_of_another_shape(fake: Any, body: Any) -> None:
    fake.answer("/table/flights/jobs", body)
    with pytest.raises(PinotAnswerError):
        client(fake).reload_jobs(TABLE)


STATUS = {
    "status": "IN_PROGRESS",
    "totalSegmentCount": 4,
    "successCount": 1,
    "failureCount": None,
    "totalServerCallsFailed": 1,
    "totalServersQueried": 2,
    "timeElapsedInMinutes": 1.5,
    "metadata": {"submissionTimeMs": 5},
}


def test_reload_status(fake: Any) -> None:
    fake.answer("/segments/segmentReloadStatus/1", STATUS)
    status = client(fake).reload_status("1")
    assert (status.status, status.total, status.succeeded, status.failed) == ("IN_PROGRESS", 4, 1, None)
    assert (status.unanswered, status.age_ms, status.ended) == (1, 90_000, False)


def test_reload_status_of_older_versions(fake: Any) -> None:
    old = {key: value for key, value in STATUS.items() if key not in ("status", "failureCount")}
    fake.answer("/segments/segmentReloadStatus/1", old)
    assert client(fake).reload_status("1").status is None
    fake.answer("/segments/segmentReloadStatus/2", {"code": 404, "error": "Failed to find controller job id: 2"}, 404)
    with pytest.raises(PinotNotFoundError):
        client(fake).reload_status("2")
    fake.answer("/segments/segmentReloadStatus/3", {"status": "IN_PROGRESS"})
    with pytest.raises(PinotAnswerError):
        client(fake).reload_status("3")


def instance(**fields: Any) -> dict[str, Any]:
    return {"instanceName": "Server_a_1", "hostName": "a", "port": "1", "adminPort": 8097} | fields


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "http://a:8097"),
        ({"hostName": "Server_a"}, "http://a:8097"),
        ({"hostName": "fe80::1"}, "http://[fe80::1]:8097"),
    ],
)
def test_admin_urls(fake: Any, fields: dict[str, Any], url: str) -> None:
    fake.answer("/instances/Server_a_1", instance(**fields))
    assert client(fake).instance_admin_url("Server_a_1") == url


def test_admin_url_of_a_server_with_tls_only(fake: Any) -> None:
    fake.answer("/instances/Server_a_1", instance(adminPort=-1))
    fake.answer("/cluster/info", {"clusterName": "my cluster"})
    fake.answer("/zk/get", {"id": "Server_a_1", "simpleFields": {"adminHttpsPort": "7443"}})
    assert client(fake).instance_admin_url("Server_a_1") == "https://a:7443"
    assert fake.requests[-1].url.params["path"] == "/my cluster/CONFIGS/PARTICIPANT/Server_a_1"


def test_admin_url_that_may_not_be_read(fake: Any) -> None:
    fake.answer("/instances/Server_a_1", instance(adminPort=-1))
    fake.answer("/cluster/info", {"code": 403, "error": "Permission denied"}, 403)
    assert client(fake).instance_admin_url("Server_a_1") is None
    fake.answer("/instances/Server_gone", {"code": 404, "error": "Instance Server_gone not found"}, 404)
    with pytest.raises(PinotNotFoundError):
        client(fake).instance_admin_url("Server_gone")


def test_headers_and_auth_go_with_every_call(fake: Any) -> None:
    fake.answer("/version", {"pinot-controller": "1.5.1"})
    with client(fake, headers={"database": "shop"}, auth=httpx.BasicAuth("u", "p")) as controller:
        controller.version()
    assert fake.requests[0].headers["database"] == "shop"
    assert fake.requests[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "call",
    [
        "table_config",
        "schema",
        "ideal_state",
        "lineage",
        "segments",
        "stale",
        "need_reload",
        "reload_jobs",
    ],
)
def test_every_read_maps_refusals(fake: Any, call: str) -> None:
    refusing = httpx.MockTransport(lambda _: httpx.Response(403, json={"code": 403, "error": "Permission denied"}))
    controller = ControllerClient("http://pinot:9000", transport=refusing)
    with pytest.raises(PinotAccessError, match="Permission denied") as caught:
        getattr(controller, call)(TABLE)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("table", ["flights", "_OFFLINE", "flights_offline", ""])
def test_a_table_name_needs_its_type(fake: Any, table: str) -> None:
    with pytest.raises(ConfigError, match="has no type"):
        client(fake).table_config(table)


def test_split_table() -> None:
    assert split_table("my_flights_REALTIME") == ("my_flights", "REALTIME")
