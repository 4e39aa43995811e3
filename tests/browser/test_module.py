"""/page/events.js by itself, in a page of somebody else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, StartAnother, Watch
from tests.browser.trackers import Tracker

PAGE = """<!doctype html>
<title>Somebody else's</title>
<p id="state">
<script type="module">
    import { follow } from "%(tracker)s/page/events.js";
    window.begin = (options) => follow({ accounts: %(accounts)s, url: "%(tracker)s/events", ...options });
    window.frames_ = [];
    window.stream = begin({
        since: "%(since)s",
        onFrame: (frame) => frames_.push(frame),
        onState: (state) => (document.querySelector("#state").textContent = JSON.stringify(state)),
    });
</script>
"""


class _Elsewhere(BaseHTTPRequestHandler):
    """Answers with the page, about what its query names."""

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
            return
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((PAGE % {"since": "", **asked}).encode())

    def log_message(self, *of: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The origin of a server that has nothing to do with a tracker."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def frames(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("frames_")
    return found


def data(page: Page) -> list[Any]:
    return [frame["Data"] for frame in frames(page) if "Frame" not in frame]


def test_it_follows_from_a_page_that_is_allowed(
    another: StartAnother, open_page: OpenPage, elsewhere: str, account: int, tracker: Tracker, watch: Watch
) -> None:
    watch.expect(r"WebSocket connection to .* failed", "Failed to load resource: net::ERR_CONNECTION_REFUSED")
    second = another("--allow-origin", elsewhere)
    other = tracker.create("other")
    tracker.send(account, "before")
    page = open_page(f"{elsewhere}/?tracker={second.url}&accounts=[{account}]&since=all").page
    state = page.locator("#state")
    expect(state).to_contain_text('"live"')
    assert data(page) == ["before"]
    assert frames(page)[-1]["Frame"] == "ready"

    tracker.send(account, {"digits": 7})
    page.wait_for_function("frames_.at(-1).Seq === 2")
    assert set(frames(page)[-1]) == {"ID", "Timestamp", "Data", "Host", "Position", "Seq"}
    assert page.evaluate("stream.position") == frames(page)[-1]["Position"]

    page.evaluate("accounts => stream.setAccounts(accounts)", [other])
    expect(state).to_contain_text('"live"')
    tracker.send(account, "left")
    tracker.send(other, "joined")
    page.wait_for_function("frames_.at(-1).Data === 'joined'")

    second.end(signal.SIGTERM)
    expect(state).to_contain_text('"offline","retryAt":')
    tracker.send(other, "meanwhile")
    second.start()
    expect(state).to_contain_text('"live"')
    tracker.send(other, "after")
    page.wait_for_function("frames_.at(-1).Data === 'after'")
    assert data(page) == ["before", {"digits": 7}, "joined", "meanwhile", "after"]

    page.evaluate("stream.close()")
    expect(state).to_contain_text('"ended"')
    tracker.send(other, "too late")
    # Another stream has it, so it would have come by now.
    page.evaluate(
        "accounts => void begin({ accounts, since: stream.position, onFrame: (frame) => (window.later = frame) })",
        [other],
    )
    page.wait_for_function("window.later?.Frame === 'ready'")
    assert data(page)[-1] == "after"


def test_a_page_that_is_not_allowed_gets_nothing(
    tracker: Tracker, open_page: OpenPage, elsewhere: str, account: int, watch: Watch
) -> None:
    watch.expect(r"WebSocket connection to .*403", "Access to fetch at .* blocked by CORS", "Failed to load resource")
    tracker.send(account, "secret")
    page = open_page(f"{elsewhere}/?tracker={tracker.url}&accounts=[{account}]&since=all").page
    expect(page.locator("#state")).to_contain_text('"offline"')
    page.wait_for_function("JSON.parse(document.querySelector('#state').textContent).name === 'connecting'")
    expect(page.locator("#state")).to_contain_text('"offline"')
    assert frames(page) == []


def test_accounts_that_do_not_exist_end_it(
    another: StartAnother, open_page: OpenPage, elsewhere: str, watch: Watch
) -> None:
    watch.expect(r"WebSocket connection to .*404", "Failed to load resource: .* 404")
    second = another("--allow-origin", "*")
    page = open_page(f"{elsewhere}/?tracker={second.url}&accounts=[2000000000]").page
    expect(page.locator("#state")).to_contain_text("There is no account 2000000000.")
    expect(page.locator("#state")).to_contain_text('"ended"')


def test_more_accounts_than_it_takes(tracker: Tracker, open_page: OpenPage) -> None:
    page = open_page(tracker.url).is_live().page
    raised = page.evaluate(
        """async () => {
            const { MOST_ACCOUNTS, follow } = await import("/page/events.js");
            const many = Array.from({ length: MOST_ACCOUNTS + 1 }, (_, n) => n + 1);
            try {
                follow({ accounts: many, onFrame() {} });
            } catch (error) {
                return `${error}`;
            }
        }"""
    )
    assert raised == 'RangeError: 201 accounts: expected at most 200, or "all".'
