"""Servers go and come: the page says so, and then shows what was accepted meanwhile, each event once."""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest
import redis
from playwright.sync_api import expect

from shared.embedded import Redis
from tests.browser.conftest import OpenPage, StartAnother, Watch
from tests.browser.trackers import Tracker, Writer

NO_TRACKER = (r"WebSocket connection to .* failed", r"Failed to load resource: net::ERR_")
NO_LOG = r"Failed to load resource: .* 50[34]"


def test_redis_is_killed_and_comes_back(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    watch.expect(NO_LOG)
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    with Writer(tracker, account) as writer:
        writer.gets_in(3)
        with tracker.redis_away():
            live.is_("offline")
        writer.gets_in(3)
        live.is_live()
        writer.gets_in(3)
    expect(live.data.first).to_have_text(writer.accepted[-1])
    _all_once(live.shown(), writer)
    expect(live.gaps).to_have_count(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_tracker_is_started_again(
    tracker: Tracker, another: StartAnother, open_page: OpenPage, watch: Watch, account: int, number: signal.Signals
) -> None:
    """While its tracker is away, another one takes events."""
    watch.expect(*NO_TRACKER)
    second = another()
    live = open_page(f"{second.url}/?account={account}").is_live()
    with Writer(tracker, account) as writer:
        writer.gets_in(3)
        second.end(number)
        live.is_("offline")
        expect(live.connection).to_contain_text(re.compile(r"Offline: next try in \d+ s"))
        writer.gets_in(20)
        second.start()
        live.is_live()
        writer.gets_in(3)
    expect(live.data.first).to_have_text(writer.accepted[-1])
    assert live.shown() == writer.accepted
    expect(live.gaps).to_have_count(0)


def test_the_own_tracker_is_started_again(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    """With its Redis and its PostgreSQL, at the same address."""
    watch.expect(*NO_TRACKER, NO_LOG)
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    with Writer(tracker, account) as writer:
        writer.gets_in(3)
        tracker.end(signal.SIGTERM)
        live.is_("offline")
        tracker.start()
        writer.gets_in(3)
        live.is_live()
        writer.gets_in(3)
    expect(live.data.first).to_have_text(writer.accepted[-1])
    _all_once(live.shown(), writer)


def test_paused_while_the_tracker_is_away(
    tracker: Tracker, another: StartAnother, open_page: OpenPage, watch: Watch, account: int
) -> None:
    watch.expect(*NO_TRACKER)
    second = another()
    live = open_page(f"{second.url}/?account={account}").is_live()
    live.pause.click()
    tracker.send(account, "before")
    expect(live.resume).to_contain_text("1")
    second.end(signal.SIGTERM)
    live.is_("offline")
    tracker.send(account, "meanwhile")
    second.start()
    live.is_live()
    tracker.send(account, "after")
    expect(live.resume).to_contain_text("3")
    live.resume.click()
    live.shows("before", "meanwhile", "after")


def test_what_the_log_no_longer_has_is_a_gap(
    tracker: Tracker, another: StartAnother, open_page: OpenPage, watch: Watch, account: int
) -> None:
    watch.expect(*NO_TRACKER)
    second = another()
    forgetful = another("--keep-events", "5")
    live = open_page(f"{second.url}/?account={account}").is_live()
    tracker.send(account, "first")
    live.shows("first")
    second.end(signal.SIGTERM)
    live.is_("offline")
    forgetful.send(account, *(f"number {number}." for number in range(2, 21)))
    second.start()
    live.shows("first", *(f"number {number}." for number in range(16, 21)))
    expect(live.gaps).to_have_text([re.compile(f"Events 2 to 15 of account {account} are gone")])
    order = live.events.locator("tbody tr").all_text_contents()
    assert "Events 2 to 15" in order[-2], "between what was before it and what came after"


def test_a_log_that_was_lost(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "before")
    live.shows("before")
    with redis.Redis.from_url(Redis(tracker.data_dir).url) as client:
        client.flushall()
    tracker.send(account, "after")
    live.shows("before", "after")
    expect(live.gaps).to_have_text(["The log was lost and began anew: what was here before is not known any more."])
    live.is_live()


def _all_once(shown: list[str], writer: Writer) -> None:
    """Each event that was accepted, in order, once; and perhaps some of those of which the writer was told nothing."""
    assert [data for data, times in Counter(shown).items() if times > 1] == []
    assert [data for data in shown if data not in writer.unknown] == writer.accepted
