"""The page "Deep store sync" in a browser: on a live Airflow below a path of its URL, with a table of a live Pinot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml
from selenium.webdriver.common.keys import Keys
from tests.browser import Browser, chromium
from tests.e2e.kit import TABLE, Sync, add_indexes, outcomes

from deep_store_sync.model import Outcome
from pinot_sandbox.demo_stage import connections
from pinot_sandbox.live_airflow import LiveAirflow
from pinot_sandbox.shell import without_proxy

DAG = f"deep_store_sync__{TABLE}"
MONTHS = [1, 2, 3]


@contextmanager
def live_airflow(sync: Sync, folder: Path) -> Iterator[LiveAirflow]:
    """An Airflow with two users whose API server lies below a path, and the table's DAG."""
    tables = folder / "tables"
    tables.mkdir()
    settings = {
        "table": TABLE,
        "schedule": None,
        "deepStorePrefixes": [sync.sandbox.deep_store_url],
        "workspace": sync.workspace,
        "engine": {"jars": str(sync.sandbox.jars_dir)},
    }
    (tables / "flights.yaml").write_text(yaml.safe_dump(settings))
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,looker:viewer"}
    with LiveAirflow(
        tables=tables,
        home=folder / "home",
        connections=connections(sync.sandbox),
        environment=without_proxy() | users,
        path="/team-a",
    ) as live:
        live.wait_for_dag(DAG)
        yield live


def card(browser: Browser, state: str, count: int) -> None:
    """The card of a state has this number, at last."""
    browser.wait(
        lambda: browser.see(f".card.state-{state.replace(' ', '-')} strong").text == str(count), f"{count} {state}"
    )


def test_the_page(sync: Sync, tmp_path: Path) -> None:
    sync.sandbox.load_flights(months=MONTHS)
    assert outcomes(sync.run(force=True)) == {Outcome.STAMPED}
    add_indexes(sync.sandbox)
    with live_airflow(sync, tmp_path) as live, chromium(tmp_path) as browser:
        passwords = json.loads(live.password_file.read_text())

        # Nobody sees anything without signing in.
        for path in ("tables", f"dags/{DAG}/overview", "page/bundle.js"):
            assert httpx.get(f"{live.url}/deep-store-sync/{path}", trust_env=False).status_code == 401

        # From the navigation to the table, all below the path.
        browser.sign_in(live.url, "admin", passwords["admin"])
        browser.errors()  # Airflow's page asks before anybody has signed in, too
        browser.see("a[href='/team-a/plugin/deep-store-sync']").click()
        browser.see("tbody tr", TABLE)
        browser.see("tbody td.number", "3")
        browser.see("tbody th a", TABLE).click()
        browser.see(".dss h1", TABLE)
        assert browser.driver.current_url == f"{live.url}/dags/{DAG}/plugin/deep-store-sync-table"
        card(browser, "in sync", 3)
        browser.see("[aria-label='Last runs'] td", "3 stamped")
        browser.see("svg.plot[aria-label*='3 in sync']")

        # Search, and a filter by keyboard.
        segment = sorted(sync.look())[1]
        browser.see("[aria-label='Search segments by name']").send_keys(segment.upper())
        browser.wait(lambda: len(browser.all("[aria-label=Segments] tbody tr")) == 1, "one segment")
        browser.see("[aria-label=Segments] tbody th", segment)
        unknown = browser.see(".card.state-unknown")
        browser.script("arguments[0].focus()", unknown)
        browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        assert browser.see(".card.state-unknown").get_attribute("aria-pressed") == "true"
        browser.see("[role=status]", "No such segments.")

        # What a run would cost is shown before, and a dry run is triggered, of a DAG that is paused.
        browser.see(".actions button", "Force").click()
        browser.see("dialog li", "0 other segments to look into")
        browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        browser.wait(lambda: not browser.all("dialog"), "the dialog is closed")
        browser.see(".actions button", "Dry run").click()
        browser.see("dialog p", "The DAG is paused")
        browser.see("dialog label", "All its queued runs begin then, one after the other.").click()
        browser.see("dialog button.primary", "Start dry run").click()
        browser.see("[role=status] a", "manual__")
        (run,) = live.dag_runs(DAG)
        assert run["conf"] == {"dryRun": True}
        assert live.wait_for_run(DAG, run["dag_run_id"], 180) == "success"
        browser.driver.refresh()
        card(browser, "out of sync", 3)
        browser.see(".reasons button", "3")
        browser.see("[aria-label='Last runs'] small", "dry run")
        browser.see(".actions button", "Run").click()
        browser.see("dialog li", "3 segments that servers call stale")
        browser.see("dialog li", "6 downloads by servers")
        browser.see("dialog button", "Cancel").click()

        # Dark mode is the host's.
        def colours() -> tuple[str, str]:
            of = "const [page, card] = ['.dss', '.dss .card'].map(one => getComputedStyle(document.querySelector(one)))"
            text, back = browser.script(f"{of}; return [card.color, page.getPropertyValue('--panel')]")
            return text, back

        light = colours()
        browser.script("localStorage.setItem('theme', 'dark')")
        browser.driver.refresh()
        card(browser, "out of sync", 3)
        assert "dark" in browser.script("return document.documentElement.className")
        text, back = colours()
        assert text != light[0]
        assert back != light[1]
        assert browser.errors() == []

        # Who may only look is offered nothing, and refused.
        browser.sign_in(live.url, "looker", passwords["looker"])
        browser.open(f"{live.url}/dags/{DAG}/plugin/deep-store-sync-table")
        card(browser, "out of sync", 3)
        assert browser.all(".actions") == []
        answer = browser.script(
            "return fetch('api/v2/dags/' + arguments[0] + '/dagRuns', {method: 'POST', headers: "
            "{'Content-Type': 'application/json'}, body: '{\"logical_date\": null}'}).then(answer => answer.status)",
            DAG,
        )
        assert answer == 403
        assert len(live.dag_runs(DAG)) == 1
