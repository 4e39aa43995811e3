"""A browser for all tests of a run, a tracker for those of a module, and a window for each test."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser.chromium import ARGUMENTS, browser_program_or_skip
from tests.browser.live import LONG_TASKS, LivePage
from tests.browser.trackers import Tracker

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FAILED_SCREENSHOTS = SCREENSHOTS / "failed"
PATIENCE = 30_000
"""Milliseconds for anything to appear: a page that is slower on a busy machine is no failure."""
_FAILED = pytest.StashKey[bool]()
_accounts = count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The installed Chromium, without a window."""
    program = browser_program_or_skip(playwright)
    shutil.rmtree(FAILED_SCREENSHOTS, ignore_errors=True)
    with playwright.chromium.launch(executable_path=program, args=ARGUMENTS) as running:
        yield running


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def tracker(browser: Browser, data_dir: Path) -> Iterator[Tracker]:
    """A tracker with a PostgreSQL and a Redis of its own. Its tests take accounts of their own."""
    with Tracker(data_dir) as running:
        yield running


StartAnother = Callable[..., Tracker]


@pytest.fixture
def another(tracker: Tracker) -> Iterator[StartAnother]:
    """`another("--keep-events", "5")` starts one more tracker on the same database and log."""
    with ExitStack() as stack:

        def start(*given: str) -> Tracker:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp")))
            return stack.enter_context(Tracker(directory, *tracker.servers(), *given))

        yield start


@pytest.fixture
def account() -> int:
    """An account of the 1000 that a new database has, which no other test of this run uses."""
    return next(_accounts)


class Watch:
    """What the windows of a test complained about: errors, and what the Content-Security-Policy forbade."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._expected: list[str] = []

    def expect(self, *patterns: str) -> None:
        """Take what begins like one of these for a part of the test: what the browser says of a server that is away."""
        self._expected += patterns

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.said.append(message.text) if _is_bad(message.type) else None)
        page.on("pageerror", lambda error: self.said.append(f"{error}\n{error.stack}"))

    @property
    def unexpected(self) -> list[str]:
        return [text for text in self.said if not any(re.match(pattern, text) for pattern in self._expected)]


def _is_bad(kind: str) -> bool:
    return kind in ("error", "warning", "assert")


@pytest.fixture
def watch() -> Watch:
    return Watch()


OpenPage = Callable[..., LivePage]


@pytest.fixture
def open_page(browser: Browser, watch: Watch, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """`open_page(url, viewport=…)` opens a window of its own, with these options of Playwright's `new_context`.

    `held`: see LivePage. Whatever its console complains about fails the test, unless `watch` was told to expect it.
    """
    pages: list[Page] = []

    def open_(url: str, *, held: bool = False, **options: Any) -> LivePage:
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE)
        page.add_init_script(LONG_TASKS)
        watch.watch(page)
        pages.append(page)
        live = LivePage(page, held=held)
        page.goto(url)
        return live

    yield open_
    for number, page in enumerate(pages):
        if request.node.stash.get(_FAILED, False):
            page.screenshot(path=FAILED_SCREENSHOTS / f"{request.node.name}-{number}.png")
        page.context.close()
    assert watch.unexpected == []


@pytest.fixture
def keep() -> Callable[..., None]:
    """`keep(page, "live")` keeps what the window shows as build/screenshots/live.png; full_page=True: all of it."""

    def keep_(live: LivePage, name: str, *, full_page: bool = False) -> None:
        live.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full_page)

    return keep_
