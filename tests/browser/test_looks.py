"""Pictures of the main states, kept in build/screenshots: for people to look at, and for the README."""

from __future__ import annotations

import json
import math
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, expect

from shared.embedded import Redis
from shared.tallying import TALLIES
from tests.browser.conftest import OpenPage, Watch
from tests.browser.live import LivePage
from tests.browser.trackers import Tracker

WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 760}, "color_scheme": "light"}
DARK = {**WIDE, "color_scheme": "dark"}
NARROW = {**WIDE, "viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True}
ACCOUNTS = range(1, 5)
STEPS = ("order placed", "payment authorised", "picked", "packed", "handed to the carrier", "delivered")

Keep = Callable[[LivePage, str], None]


@pytest.fixture(scope="module")
def tracker(browser: Browser, data_dir: Any) -> Iterator[Tracker]:
    """A tracker that seems to have been busy for five minutes, together with others."""
    with Tracker(data_dir, "--host", "tracker-1") as running:
        _remember_five_minutes(Redis(running.data_dir).url)
        yield running


@pytest.fixture
def following(tracker: Tracker) -> str:
    """The address of a page that follows some accounts."""
    return f"{tracker.url}/?" + "&".join(f"account={account}" for account in ACCOUNTS)


def test_empty(tracker: Tracker, open_page: OpenPage, keep: Keep) -> None:
    live = open_page(tracker.url, **WIDE).is_live()
    _shows_rates(live)
    keep(live, "empty")


@pytest.mark.parametrize(("name", "look"), [("live", WIDE), ("dark", DARK), ("narrow", NARROW)])
def test_live(
    tracker: Tracker, open_page: OpenPage, following: str, keep: Keep, name: str, look: dict[str, Any]
) -> None:
    live = open_page(following, **look).is_live()
    _send_some(tracker, live)
    live.rows.nth(3).get_by_role("button", name="All data").click()
    _shows_rates(live)
    keep(live, name)


def test_account(tracker: Tracker, open_page: OpenPage, following: str, keep: Keep) -> None:
    live = open_page(following, **WIDE).is_live()
    _send_some(tracker, live)
    dialog = live.account(ACCOUNTS[0])
    expect(dialog.get_by_role("button", name="Deactivate")).to_be_visible()
    expect(dialog.locator("tr[data-position]").first).to_be_visible()
    _shows_rates(live)
    keep(live, "account")


def test_forms(tracker: Tracker, open_page: OpenPage, watch: Watch, following: str, keep: Keep) -> None:
    watch.expect("Failed to load resource: .* 40[04]")
    live = open_page(following, **WIDE).is_live()
    _send_some(tracker, live)
    form = live.form("Send an event")
    form.get_by_label("Account").fill("1")
    form.get_by_label("Data").fill('{"order": 4711, "step": ')
    form.get_by_label("JSON").check()
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_label("Data")).to_have_attribute("aria-invalid", "true")
    _shows_rates(live)
    keep(live, "forms")


def test_offline(tracker: Tracker, open_page: OpenPage, watch: Watch, following: str, keep: Keep) -> None:
    watch.expect("WebSocket connection to .* failed", "Failed to load resource: net::ERR_CONNECTION_REFUSED")
    live = open_page(following, **WIDE).is_live()
    _send_some(tracker, live)
    _shows_rates(live)
    tracker.end(signal.SIGTERM)
    try:
        live.is_("offline")
        keep(live, "offline")
    finally:
        tracker.start()


def _send_some(tracker: Tracker, live: LivePage) -> None:
    chance = random.Random(7)
    sent = []
    for number in range(40):
        account, step, order = chance.choice(ACCOUNTS), chance.choice(STEPS), 4700 + chance.randrange(40)
        if number % 3:
            sent.append((account, f"{step}: order {order}"))
        else:
            sent.append((account, {"order": order, "step": step, "items": chance.randrange(1, 9), "express": False}))
    sent.append((ACCOUNTS[0], "refund: order 4711 · “arrived broken” <photo.jpg>"))
    for account, data in sent:
        tracker.send(account, data)
    expect(live.data.first).to_have_text(sent[-1][1])


def _shows_rates(live: LivePage) -> None:
    busiest = live.page.get_by_role("list", name="Busiest accounts")
    expect(busiest.get_by_role("listitem").first).to_be_visible()


def _remember_five_minutes(url: str) -> None:
    """Write tallies as three trackers would have written them (`tracker/tallies.py`), so that there is a line to see."""
    chance = random.Random(7)
    now = int(time.time())
    with redis.Redis.from_url(url) as client, client.pipeline() as pipe:
        for second in range(-330, 0):
            for number in range(1, 4):
                rate = int(max(0.0, 60 + 35 * math.sin(second / 40 + number / 5) + chance.gauss(0, 9)))
                shares = [(account, rate // (account + 2)) for account in (1, 2, 3, 4, 17, 230, 512, 999)]
                tally = {"host": f"tracker-{number}", "events": rate, "accounts": shares}
                pipe.xadd(TALLIES, {"tally": json.dumps(tally)}, id=f"{(now + second) * 1000}-{number}")
        pipe.execute()
