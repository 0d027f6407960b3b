"""A real browser for the tests of the console: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Response, sync_playwright

PASSWORD = "a-password-for-tests"
REQUIRED = "CI"  # set by .ci/run: there, a missing browser is a failure


def chromium() -> str:
    """Where it is; without one the test is skipped, or fails where a browser is required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    if os.environ.get(REQUIRED):
        pytest.fail("there is no Chromium, and this is CI")
    pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")


@contextmanager
def launched() -> Iterator[tuple[Playwright, Browser]]:
    """Ends with its tests: Playwright's event loop would forbid Django's ORM to all tests after them."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield playwright, browser
        finally:
            browser.close()


@dataclass
class Complaints:
    """What the browser has against a page: errors of scripts, violations of the CSP, requests that failed."""

    found: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"{page.url}: {error}"))
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.location.get('url')}: {message.text}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"{response.status} {response.url}")


def log_in(page: Page, base: str, name: str = "operator") -> None:
    page.goto(f"{base}/admin/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/")
