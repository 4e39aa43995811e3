"""Pictures of the main states, kept in build/screenshots: for people to look at, and for the README."""

from __future__ import annotations

import json
import math
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, expect

from shared.embedded import Redis
from shared.tallying import TALLIES
from tests.browser.conftest import OpenPage, Watch
from tests.browser.live import LivePage
from tests.browser.trackers import Tracker

WIDE: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 760},
    "color_scheme": "light",
    "reduced_motion": "reduce",  # else it depends on the moment how far a new row has faded
}
DARK = {**WIDE, "color_scheme": "dark"}
NARROW = {**WIDE, "viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True}
ACCOUNTS = range(1, 5)
BUSY = {1: 9, 2: 7, 3: 6, 4: 4, 17: 3, 230: 3, 512: 2, 999: 1}
"""Accounts, and how busy they are compared with each other."""
HOSTS = ("tracker-1", "tracker-2", "tracker-3")
STEPS = ("order placed", "payment authorised", "picked", "packed", "handed to the carrier", "delivered")

Keep = Callable[..., None]


@pytest.fixture(scope="module")
def trackers(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tracker]]:
    """Trackers on the servers of the first one, which seem to have been busy for five minutes."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp")))
        first = stack.enter_context(Tracker(directory, "--host", HOSTS[0]))
        others = [Tracker(tmp_path_factory.mktemp(host), "--host", host, *first.servers()) for host in HOSTS[1:]]
        running = [first, *map(stack.enter_context, others)]
        _remember_five_minutes(Redis(directory).url)
        yield running


@pytest.fixture
def following(trackers: list[Tracker]) -> str:
    """The address of a page that follows some accounts, at the last one."""
    return f"{trackers[-1].url}/?" + "&".join(f"account={account}" for account in ACCOUNTS)


def test_empty(trackers: list[Tracker], open_page: OpenPage, keep: Keep) -> None:
    live = open_page(trackers[-1].url, **WIDE).is_live()
    _shows_rates(live)
    keep(live, "empty")


@pytest.mark.parametrize(("name", "look"), [("live", WIDE), ("dark", DARK), ("narrow", NARROW)])
def test_live(
    trackers: list[Tracker], open_page: OpenPage, following: str, keep: Keep, name: str, look: dict[str, Any]
) -> None:
    live = open_page(following, **look).is_live()
    _send_some(trackers, live)
    live.rows.get_by_role("button", name="All data").nth(1).click()
    _shows_rates(live)
    keep(live, name)


def test_account(trackers: list[Tracker], open_page: OpenPage, following: str, keep: Keep) -> None:
    live = open_page(following, **WIDE).is_live()
    _send_some(trackers, live)
    dialog = live.account(ACCOUNTS[0])
    expect(dialog.get_by_role("button", name="Deactivate")).to_be_visible()
    expect(dialog.locator("tr[data-position]").first).to_be_visible()
    _shows_rates(live)
    keep(live, "account")


def test_forms(trackers: list[Tracker], open_page: OpenPage, watch: Watch, following: str, keep: Keep) -> None:
    watch.expect("Failed to load resource: .* 40[04]")
    live = open_page(following, **WIDE).is_live()
    _send_some(trackers, live)
    form = live.form("Send an event")
    form.get_by_label("Account").fill("1")
    form.get_by_label("Data").fill('{"order": 4711, "step": ')
    form.get_by_label("JSON").check()
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_label("Data")).to_have_attribute("aria-invalid", "true")
    _shows_rates(live)
    keep(live, "forms", full_page=True)


def test_offline(trackers: list[Tracker], open_page: OpenPage, watch: Watch, following: str, keep: Keep) -> None:
    watch.expect("WebSocket connection to .* failed", "Failed to load resource: net::ERR_CONNECTION_REFUSED")
    live = open_page(following, **WIDE).is_live()
    _send_some(trackers, live)
    _shows_rates(live)
    trackers[-1].end(signal.SIGTERM)
    try:
        live.is_("offline")
        keep(live, "offline")
    finally:
        trackers[-1].start()


def _send_some(trackers: list[Tracker], live: LivePage) -> None:
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
        chance.choice(trackers).send(account, data)
    expect(live.data.first).to_have_text(sent[-1][1])


def _shows_rates(live: LivePage) -> None:
    busiest = live.page.get_by_role("list", name="Busiest accounts")
    expect(busiest.get_by_role("listitem").first).to_be_visible()


def _remember_five_minutes(url: str) -> None:
    """Write tallies as three trackers would have written them (`tracker/tallies.py`): there is a line to see."""
    chance = random.Random(7)
    now = int(time.time())
    accounts, weights = list(BUSY), list(BUSY.values())
    with redis.Redis.from_url(url) as client, client.pipeline() as pipe:
        for second in range(-330, 3):
            for number, host in enumerate(HOSTS, start=1):
                rate = round(max(0.0, 11 + 6 * math.sin(second / 40 + number / 5) + chance.gauss(0, 2)))
                busy = Counter(chance.choices(accounts, weights, k=rate))
                tally = {"host": host, "events": rate, "accounts": list(busy.items())}
                pipe.xadd(TALLIES, {"tally": json.dumps(tally)}, id=f"{(now + second) * 1000}-{number}")
        pipe.execute()
