"""A headless Chromium for tests of what people see."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

Value = TypeVar("Value")

_TIMEOUT_S = 60.0


class Browser:
    """What a user does, and waits to see."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Goes to an address."""
        self.driver.get(url)

    def sign_in(self, url: str, user: str, password: str) -> None:
        """Signs in by Airflow's own form, as nobody else any more."""
        self.driver.delete_all_cookies()
        self.open(url)
        self.see("input[name=username]").send_keys(user)
        self.see("input[name=password]").send_keys(password)
        self.see("button[type=submit]").click()
        self.see("[data-testid=nav-sidebar]")

    def see(self, css: str, text: str = "") -> WebElement:
        """Waits for an element that is shown, with this in its text."""

        def found() -> WebElement | None:
            elements = self.driver.find_elements(By.CSS_SELECTOR, css)
            return next((one for one in elements if one.is_displayed() and text in one.text), None)

        return self.wait(found, f"{css} with {text!r}")

    def all(self, css: str) -> list[WebElement]:
        """The elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def wait(self, answer: Callable[[], Value | None], what: str) -> Value:
        """Waits until something is so; fails with what the page shows instead."""
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                if found := answer():
                    return found
            except (NoSuchElementException, StaleElementReferenceException):
                pass
            time.sleep(0.1)
        shown = self.driver.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"not seen: {what}. {self.driver.current_url} shows:\n{shown}\n{self.errors()}")

    def script(self, code: str, *arguments: Any) -> Any:
        """What JavaScript in the page returns."""
        return self.driver.execute_script(code, *arguments)  # type: ignore[no-untyped-call]

    def errors(self) -> list[str]:
        """What the page has complained of since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]

    def picture(self, path: Path) -> None:
        """Keeps what is seen."""
        self.driver.save_screenshot(str(path))


@contextmanager
def chromium(home: Path, *, width: int = 1400, height: int = 1100) -> Iterator[Browser]:
    """Debian's Chromium (packages chromium and chromium-driver). Without it, the test is skipped.

    Where REQUIRE_BROWSER is set, as in CI, it fails instead.
    """
    binary, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not chromedriver:
        missing = "needs Chromium: apt-get install chromium chromium-driver"
        assert not os.environ.get("REQUIRE_BROWSER"), missing
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which does not work for root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--no-proxy-server",
        "--lang=en-GB",
        f"--window-size={width},{height}",
        f"--user-data-dir={home / 'chromium'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = {**os.environ, "HOME": str(home), "NO_PROXY": "*", "no_proxy": "*", "TZ": "UTC"}
    service = ChromeService(chromedriver, log_output=str(home / "chromedriver.log"), env=environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")  # for what speaks to chromedriver
        patch.setenv("no_proxy", "*")
        driver = Chrome(options=options, service=service)
        try:
            yield Browser(driver)
        finally:
            driver.quit()
