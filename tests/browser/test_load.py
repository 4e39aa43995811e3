"""Ten thousand events in ten seconds, and again: the page stays responsive, and as large as it was."""

from __future__ import annotations

import threading
import time

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.trackers import Tracker

EVENTS = 10_000
SECONDS = 10
LOT = 100
LONGEST_TASK = 200
"""Milliseconds: from there on people feel that an answer comes late."""
MORE_MEMORY = 2 << 20
"""Bytes by which two looks at the same page may differ: code that was compiled meanwhile, garbage not yet found."""


def test_ten_thousand_events_in_ten_seconds(tracker: Tracker, open_page: OpenPage) -> None:
    accounts = [tracker.create(f"busy {number}") for number in range(50)]
    live = open_page(f"{tracker.url}/?account=all").is_live()
    longest: list[float] = []
    sizes = []
    # Twice at least, to compare. Whatever else a machine does makes tasks longer, so the calmest round counts.
    while len(sizes) < 2 or (min(longest) >= LONGEST_TASK and len(sizes) < 4):
        longest.append(_load(tracker, live, accounts, f"round {len(sizes)}"))
        sizes.append(live.memory())
    assert min(longest) < LONGEST_TASK
    assert sizes[-1]["JSHeapUsedSize"] < sizes[0]["JSHeapUsedSize"] + MORE_MEMORY
    assert sizes[-1]["Nodes"] <= 1.1 * sizes[0]["Nodes"]
    assert sizes[-1]["JSEventListeners"] <= sizes[0]["JSEventListeners"]
    expect(live.gaps).to_have_count(0)


def _load(tracker: Tracker, live: LivePage, accounts: list[int], name: str) -> float:
    """Send the events, evenly, while someone uses the page; return its longest task, in milliseconds."""
    failed: list[BaseException] = []

    def send() -> None:
        try:
            began = time.monotonic()
            for lot in range(EVENTS // LOT):
                time.sleep(max(0.0, began + lot * LOT * SECONDS / EVENTS - time.monotonic()))
                numbers = range(lot * LOT, (lot + 1) * LOT)
                tracker.send_many(
                    [(accounts[n % len(accounts)], {"round": name, "number": n, "text": "x" * 60}) for n in numbers]
                )
        except BaseException as error:  # for the thread that waits
            failed.append(error)

    live.longest_task()
    sender = threading.Thread(target=send)
    sender.start()
    try:
        expect(live.data.filter(has_text=name).first).to_be_visible()
        live.filter.press_sequentially(f'{name}","number":77')
        expect(live.data.first).to_contain_text('"number":77')
        live.filter.fill("")
        live.pause.click()
        live.resume.click()
    finally:
        sender.join()
    assert not failed, failed
    expect(live.data.first).to_contain_text(f'"number":{EVENTS - 1},')
    live.is_live()
    return live.longest_task()
