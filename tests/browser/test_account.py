"""An account's dialog: its state, which can be changed, and its history, backwards."""

from __future__ import annotations

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, StartAnother, Watch
from tests.browser.trackers import Tracker


def test_the_history_backwards(tracker: Tracker, open_page: OpenPage) -> None:
    account = tracker.create("long-lived")
    data = [f"number {number}." for number in range(1, 121)]
    tracker.send_many([(account, item) for item in data])
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "newest")
    live.shows("newest")
    dialog = live.account(account)
    expect(dialog.get_by_text("long-lived", exact=True)).to_be_visible()
    history = dialog.get_by_role("table", name="History")
    shown = history.locator("tr[data-position] .data .text")
    expect(shown).to_have_count(50)
    older = dialog.get_by_role("button", name="Older")
    older.click()
    expect(shown).to_have_count(100)
    older.click()
    expect(shown).to_have_count(121)
    expect(older).to_be_disabled()
    assert shown.all_text_contents() == ["newest", *reversed(data)]
    expect(history.locator("tr.gap")).to_have_count(0)


def test_what_the_log_no_longer_has_stands_at_the_end(
    tracker: Tracker, another: StartAnother, open_page: OpenPage
) -> None:
    account = tracker.create("forgotten")
    another("--keep-events", "60").send_many([(account, f"number {number}.") for number in range(1, 101)])
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, {"the": "newest"})
    live.shows('{"the":"newest"}')
    dialog = live.account(account)
    dialog.get_by_role("button", name="All data of event 101").click()
    history = dialog.get_by_role("table", name="History")
    expect(history.get_by_text('"the": "newest"')).to_be_visible()
    older = dialog.get_by_role("button", name="Older")
    older.click()
    expect(older).to_be_disabled()
    expect(history.locator("tbody tr").last).to_contain_text(f"Events 1 to 40 of account {account} are gone")
    expect(history.locator("tr.gap")).to_have_count(1)
    expect(history.locator("tr[data-position]")).to_have_count(61)


def test_an_account_without_events(tracker: Tracker, open_page: OpenPage) -> None:
    account = tracker.create("quiet")
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "one")
    live.shows("one")
    dialog = live.account(account)
    expect(dialog.locator("tr[data-position]")).to_have_count(1)
    expect(dialog.get_by_role("button", name="older")).to_be_disabled()


def test_deactivate_and_activate(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "one")
    live.shows("one")
    dialog = live.account(account)
    dialog.get_by_role("button", name="Deactivate").click()
    activate = dialog.get_by_role("button", name="Activate", exact=True)
    expect(activate).to_be_visible()
    expect(dialog.get_by_text("Not active")).to_be_visible()
    assert tracker.account(account)["IsActive"] is False
    refused = httpx.put(f"{tracker.url}/{account}", params={"data": "two"})
    assert refused.status_code == 400
    activate.click()
    expect(dialog.get_by_role("button", name="Deactivate")).to_be_visible()
    assert tracker.account(account)["IsActive"] is True
    tracker.send(account, "two")
    live.shows("one", "two")


def test_follow_and_stop_following(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "one")
    live.shows("one")
    dialog = live.account(account)
    dialog.get_by_role("button", name="Stop following").click()
    expect(live.page.get_by_role("button", name=f"Stop following {account}", include_hidden=True)).to_have_count(0)
    dialog.get_by_role("button", name="Follow", exact=True).click()
    dialog.get_by_role("button", name="Close").click()
    expect(live.followed.get_by_role("button", name=f"Stop following {account}")).to_be_visible()
    live.is_live()
    tracker.send(account, "two")
    live.shows("one", "two")


def test_it_says_what_went_wrong(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    watch.expect("Failed to load resource: .* 50[34]")
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "one")
    live.shows("one")
    with tracker.redis_away():
        live.is_("offline")
        dialog = live.account(account)
        expect(dialog.get_by_text("log")).to_be_visible()
        expect(dialog.get_by_role("button", name="Deactivate")).to_be_visible()
        expect(dialog.locator("tr[data-position]")).to_have_count(0)
    live.is_live()
    dialog.get_by_role("button", name="Older").click()
    expect(dialog.locator("tr[data-position]")).to_have_count(1)
