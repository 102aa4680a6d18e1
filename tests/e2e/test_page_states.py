"""The page in a browser when something is missing, slow, wrong or large: on a live Airflow, without a Pinot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from selenium.webdriver.common.keys import Keys
from tests.browser import Browser, chromium
from tests.deep_store_sync.overview.workspace_of_runs import Runs, segment, skipped

from deep_store_sync.store.deep_store import DeepStore
from pinot_sandbox.gateway import GatewayProcess, choose_gateway
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.shell import without_proxy

MANY, EMPTY, AWAY = (f"deep_store_sync__{name}_OFFLINE" for name in ("many", "empty", "away"))

# Asked for a path that ends like this, the browser gets that answer, or none; anything else is real.
FAKE_FAULT = """
const real = window.fetch;
window.fetch = async (url, options) => {
  const fault = JSON.parse(sessionStorage.getItem('fakeFault'));
  const {pathname} = new URL(url.url ?? url, document.baseURI);
  if (!fault || !pathname.endsWith(fault.path)) return real(url, options);
  if (fault.silent) return new Promise(() => {});
  if (fault.unreachable) throw new TypeError('Failed to fetch');
  if (fault.instead) {
    const body = await real(url, options).then((answer) => answer.json());
    return new Response(JSON.stringify({...body, ...fault.instead}));
  }
  return new Response(fault.body, {status: fault.status, headers: fault.headers});
};
"""


@dataclass(frozen=True)
class Page:
    """The browser, signed in, and the Airflow that it looks at."""

    live: LiveAirflow
    browser: Browser

    def open(self, dag_id: str, **fault: Any) -> None:
        """The tab of a DAG, with a fault that is faked in the browser."""
        self.fault(**fault)
        self.browser.open(f"{self.live.url}/dags/{dag_id}/plugin/deep-store-sync-table")

    def fault(self, **fault: Any) -> None:
        """This fault from now on; none, if there is nothing of it."""
        self.browser.script("sessionStorage.setItem('fakeFault', arguments[0])", json.dumps(fault or None))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Three tables: one with ten thousand segments, one without a run, and one whose store is away."""
    home = tmp_path_factory.mktemp("page")
    (home / "logs").mkdir()
    (home / "tables").mkdir()
    gateway = GatewayProcess(*choose_gateway("auto", print), home)
    try:
        s3 = gateway.s3
        s3.client().create_bucket(Bucket=s3.bucket)
        root = f"s3://{s3.bucket}/deep-store-sync"
        write_many(Runs(DeepStore(s3.client()), root, table="many_OFFLINE"))
        of_all = {"deepStorePrefixes": ["s3://pinot/deepstore"], "workspace": root, "retries": 0}
        tables: dict[str, dict[str, Any]] = {
            "many": {"schedule": "0 0 1 1 *"},
            "empty": {"schedule": None},
            "away": {"schedule": None, "awsConnection": "away"},
        }
        for name, own in tables.items():
            settings = {"table": f"{name}_OFFLINE", **of_all, **own}
            (home / "tables" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
        aws = {"conn_type": "aws", "login": s3.access_key, "password": s3.secret_key}
        extra = {"endpoint_url": s3.endpoint_url, "region_name": s3.region}
        # Nobody answers on port 9, "discard".
        connections = {
            "aws_default": json.dumps({**aws, "extra": extra}),
            "away": json.dumps({**aws, "extra": {**extra, "endpoint_url": "http://127.0.0.1:9"}}),
            "pinot_controller_default": json.dumps({"conn_type": "pinot_controller", "host": "127.0.0.1", "port": 9}),
        }
        with (
            LiveAirflow(
                tables=home / "tables", home=home / "airflow", connections=connections, environment=without_proxy()
            ) as live,
            chromium(home) as browser,
        ):
            for dag_id in (MANY, EMPTY, AWAY):
                live.wait_for_dag(dag_id)
            script = {"source": FAKE_FAULT}
            browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
            browser.sign_in(live.url, "admin", json.loads(live.password_file.read_text())["admin"])
            yield Page(live, browser)
    finally:
        gateway.close()


def write_many(runs: Runs) -> None:
    """A dry run that looked at ten thousand segments, and at three more."""
    rows = [skipped(f"many_{number:05d}") for number in range(10_000)]
    runs.plan("dry", *rows, *(segment(f"other_{number}") for number in range(3)), dry_run=True)


def test_ten_thousand_segments_are_a_page_at_a_time(page: Page) -> None:
    browser = page.browser
    page.open(MANY)
    assert browser.see(".card.state-in-sync strong").text == "10,000"
    browser.see("[aria-label='Pages of segments'] span", "1–20 of 10,003 segments")
    browser.see("[aria-label='Pages of segments'] button", "Next").click()
    browser.see("[aria-label='Pages of segments'] span", "21–40 of 10,003 segments")
    browser.see("[aria-label=Segments] tbody th", "many_00020")
    assert len(browser.all("[aria-label=Segments] tbody tr")) == 20
    browser.see("[aria-label='Search segments by name']").send_keys("9999")
    browser.wait(lambda: len(browser.all("[aria-label=Segments] tbody tr")) == 1, "one segment")
    browser.see("[aria-label=Segments] tbody th", "many_09999")
    browser.see("[aria-label='Search segments by name']").send_keys(Keys.BACKSPACE * 4)
    browser.see(".reasons button", "out of sync").click()
    browser.wait(lambda: len(browser.all("[aria-label=Segments] tbody tr")) == 3, "three segments")


def test_a_store_that_is_away_is_told_and_hides_no_other_table(page: Page) -> None:
    browser = page.browser
    page.open(AWAY)
    problem = browser.see(".problem[role=alert]", "DeepStoreUnavailableError: ListObjectsV2 s3://").text
    assert "Check the endpoint URL of the AWS connection and the network" in problem
    browser.see(".problem small", "Asked again every 15 s.")
    browser.open(f"{page.live.url}/plugin/deep-store-sync")
    browser.see("tbody td.bad", "DeepStoreUnavailableError")
    browser.see("tbody td", "10,000")
    browser.see("tbody td.muted", "Nothing is known yet")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"status": 403, "body": '{"detail": "Forbidden"}'}, "You may not see or do this."),
        ({"status": 401, "body": "{}"}, "Your session has ended."),
        ({"status": 500, "body": "Internal Server Error"}, "Airflow's API server failed (500)."),
        ({"status": 200, "body": "<html>Sign in</html>"}, "What answered is not Airflow"),
        ({"status": 200, "body": "null"}, "What answered is not Airflow"),
        ({"unreachable": True}, "Airflow's API server does not answer."),
    ],
    ids=["403", "401", "500", "a login page", "null", "no answer"],
)
def test_what_is_wrong_is_told_and_may_be_tried_again(page: Page, fault: dict[str, Any], says: str) -> None:
    page.open(MANY, path="/overview", **fault)
    page.browser.see(".problem[role=alert]", says)
    page.fault()
    page.browser.see(".problem button", "Try again").click()
    page.browser.see(".card.state-in-sync strong", "10,000")
    assert not page.browser.all(".problem")


def test_a_page_that_is_told_to_come_back_does(page: Page) -> None:
    busy = {"status": 503, "body": '{"detail": "The workspace is still being read"}', "headers": {"Retry-After": "1"}}
    page.open(MANY, path="/overview", **busy)
    page.browser.see(".problem[role=alert]", "The workspace is still being read")
    page.browser.see(".problem small", "Asked again every 1 s.")
    page.fault()
    page.browser.see(".card.state-in-sync strong", "10,000")
    assert not page.browser.all(".problem")


def test_while_nothing_is_there_yet_it_says_so(page: Page) -> None:
    page.open(MANY, path="/overview", silent=True)
    page.browser.see("[role=status]", "Loading the table …")
    page.open(MANY, path="/segments", silent=True)
    page.browser.see("[role=status]", "Loading segments …")
    page.browser.see(".card.state-in-sync strong", "10,000")
    page.open(EMPTY)
    page.browser.see(".dss header p", "Nothing is known yet: no run has left a plan.")


def test_segments_that_cannot_be_had_leave_the_rest_of_the_page(page: Page) -> None:
    page.open(MANY, path="/segments", status=503, body='{"detail": "the store is away"}')
    page.browser.see("section .problem", "the store is away")
    page.browser.see(".card.state-in-sync strong", "10,000")


def test_a_run_of_a_paused_dag_waits_and_unpausing_is_the_users_choice(page: Page) -> None:
    browser, live = page.browser, page.live
    page.open(MANY, path="/overview", instead={"may_unpause": False})
    browser.see(".actions button", "Dry run").click()
    browser.see("dialog p", "You may not unpause it")
    assert not browser.all("dialog input")

    page.open(EMPTY)
    browser.see(".actions button", "Dry run").click()
    browser.see("dialog p", "The DAG is paused: Airflow queues this run, and it begins when the DAG is unpaused.")
    browser.see("dialog label", "All its queued runs begin then, one after the other.")
    assert not browser.see("dialog input[type=checkbox]").is_selected()
    browser.see("dialog button.primary", "Start dry run").click()
    browser.see("[role=status] p", "Queued until the DAG is unpaused: manual__")

    page.open(MANY)
    browser.see(".actions button", "Force").click()
    browser.see("dialog .muted", "This is no bound.")
    browser.see("dialog button", "Dry run instead").click()
    browser.see("dialog label", "and the scheduled run that is due, which is no dry run.").click()
    browser.see("dialog button.primary", "Start dry run").click()
    browser.see("[role=status] p", "Started: manual__")

    def runs() -> dict[str, str]:
        return {run["run_type"]: run["state"] for run in live.dag_runs(MANY)}

    live.wait_until(
        "both have begun", lambda: runs().keys() == {"manual", "scheduled"} and "queued" not in runs().values(), 180
    )
    assert [run["state"] for run in live.dag_runs(EMPTY)] == ["queued"]


def test_a_dag_that_airflow_does_not_know_is_told_before_it_is_triggered(page: Page) -> None:
    page.open(MANY, path=f"/api/v2/dags/{MANY}", status=404, body='{"detail": "no such DAG"}')
    page.browser.see(".actions button", "Run").click()
    page.browser.see("dialog .problem", "no such DAG")
