"""Accounts are chosen, their events appear; pausing and filtering lose none."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Watch
from tests.browser.trackers import Tracker


def test_events_appear_as_they_are_sent(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    expect(live.page.get_by_text("Waiting for events.")).to_be_visible()
    positions = tracker.send(account, "one", "two", "three")
    live.shows("one", "two", "three")
    newest = live.rows.first
    assert newest.get_attribute("data-position") == positions[-1]
    event = tracker.events(account)[-1]
    time = newest.locator("time")
    expect(time).to_have_attribute("datetime", event["Timestamp"])
    expect(time).to_have_attribute("title", event["Timestamp"])
    expect(newest.get_by_role("button", name=f"Account {account}", exact=True)).to_be_visible()
    expect(newest.get_by_role("cell").last).to_have_text("3")
    expect(newest.get_by_role("cell", name=event["Host"], exact=True)).to_be_visible()


def test_json_is_opened_and_closed(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, {"amount": 7, "tags": ["a", "b"]})
    live.shows('{"amount":7,"tags":["a","b"]}')
    more = live.rows.get_by_role("button", name="All data of event 1")
    expect(more).to_have_attribute("aria-expanded", "false")
    more.click()
    expect(more).to_have_attribute("aria-expanded", "true")
    assert live.shown() == ['{\n  "amount": 7,\n  "tags": [\n    "a",\n    "b"\n  ]\n}']
    more.click()
    assert live.shown() == ['{"amount":7,"tags":["a","b"]}']


def test_accounts_are_chosen_and_left(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    other = tracker.create("other")
    live = open_page(tracker.url).is_live()
    expect(live.page.get_by_text("Choose accounts")).to_be_visible()
    expect(live.followed).to_be_hidden()
    live.follow(f"{account}, {other}")
    expect(live.followed.get_by_role("listitem")).to_have_text([re.compile(str(account)), re.compile(str(other))])
    assert urlsplit(live.page.url).query == f"account={account}&account={other}"
    live.is_live()
    tracker.send(account, "mine")
    tracker.send(other, "theirs")
    live.shows("mine", "theirs")
    live.followed.get_by_role("button", name=f"Stop following {account}").click()
    expect(live.followed.get_by_role("listitem")).to_have_text([re.compile(str(other))])
    assert urlsplit(live.page.url).query == f"account={other}"
    tracker.send(account, "not shown")
    tracker.send(other, "theirs again")
    expect(live.data.first).to_have_text("theirs again")
    assert "not shown" not in live.shown()


def test_an_account_is_chosen_by_its_name(tracker: Tracker, open_page: OpenPage) -> None:
    chosen = tracker.create("wren-house")
    tracker.create("wrentit")
    live = open_page(tracker.url).is_live()
    live.follow("wren")
    expect(live.add).to_have_accessible_description(re.compile("2 accounts have names that begin with that"))
    expect(live.add).to_have_attribute("aria-invalid", "true")
    live.follow("WREN-")
    expect(live.followed.get_by_role("button", name=f"Stop following {chosen}")).to_be_visible()
    live.is_live()
    tracker.send(chosen, "hello")
    live.shows("hello")


def test_all_accounts(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    live.page.get_by_label("All accounts").check()
    assert urlsplit(live.page.url).query == "account=all"
    live.is_live()
    tracker.send(account, "mine")
    tracker.send(tracker.create("other"), "of another")
    live.shows("mine", "of another")
    live.page.get_by_label("All accounts").uncheck()
    assert urlsplit(live.page.url).query == f"account={account}", "what was chosen before"


def test_a_link_opens_what_was_followed(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    first = open_page(tracker.url).is_live()
    first.follow(str(account))
    second = open_page(first.page.url).is_live()
    expect(second.followed.get_by_role("button", name=f"Stop following {account}")).to_be_visible()
    tracker.send(account, "to both")
    first.shows("to both")
    second.shows("to both")
    everything = open_page(f"{tracker.url}/?account=all").is_live()
    expect(everything.page.get_by_label("All accounts")).to_be_checked()
    tracker.send(account, "to all three")
    everything.shows("to all three")


def test_one_unknown_account_of_several(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}&account=2000000000").is_live()
    expect(live.add).to_have_accessible_description("There is no account 2000000000.")
    expect(live.followed.get_by_role("listitem")).to_have_text([re.compile(str(account))])
    tracker.send(account, "goes on")
    live.shows("goes on")
    live.follow("2000000001")
    expect(live.add).to_have_accessible_description("There is no account 2000000001.")
    expect(live.followed.get_by_role("listitem")).to_have_text([re.compile(str(account))])


def test_a_link_to_an_unknown_account(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    watch.expect(r"WebSocket connection to .*404", r"Failed to load resource: .*404")
    live = open_page(f"{tracker.url}/?account=2000000000")
    expect(live.connection).to_contain_text("There is no account 2000000000.")
    live.follow(str(account))
    live.is_live()
    expect(live.followed.get_by_role("listitem")).to_have_text([re.compile(str(account))])
    tracker.send(account, "found")
    live.shows("found")


def test_pause_and_resume(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "before")
    live.shows("before")
    live.pause.click()
    tracker.send(account, "meanwhile 1", "meanwhile 2")
    expect(live.resume).to_contain_text("2")
    assert live.shown() == ["before"]
    live.resume.click()
    live.shows("before", "meanwhile 1", "meanwhile 2")
    tracker.send(account, "after")
    live.shows("before", "meanwhile 1", "meanwhile 2", "after")


def test_a_pause_longer_than_the_page_keeps_events(tracker: Tracker, open_page: OpenPage) -> None:
    """Then the log keeps them: none is missing when it goes on."""
    accounts = [tracker.create("much") for _ in range(8)]
    live = open_page(f"{tracker.url}/?" + "&".join(f"account={account}" for account in accounts)).is_live()
    live.pause.click()
    sent = [f"number {number}." for number in range(8 * 900)]
    for begin in range(0, len(sent), 900):
        tracker.send_many([(accounts[begin // 900], data) for data in sent[begin : begin + 900]])
    expect(live.resume).to_contain_text("over 5,000")
    assert live.shown() == []
    live.resume.click()
    live.is_live()
    expect(live.data.first).to_have_text(sent[-1])
    assert live.shown() == sent[-live.rows.count() :]
    expect(live.gaps).to_have_count(0)
    live.filter.fill("99.")  # beyond the rows, the page has more events for the filter
    expect(live.data.last).not_to_have_text(sent[-live.rows.count()])
    found = [data for data in sent if "99." in data]
    assert live.shown() == found[-live.rows.count() :]
    assert live.rows.count() >= 10
    live.filter.fill("")
    tracker.send(accounts[0], "after")
    expect(live.data.first).to_have_text("after")


def test_a_pause_before_the_stream_began(tracker: Tracker, open_page: OpenPage) -> None:
    """What comes then is bounded, too, and not lost."""
    accounts = [tracker.create("much") for _ in range(6)]
    url = f"{tracker.url}/?" + "&".join(f"account={account}" for account in accounts)
    live = open_page(url, held=True).is_("catching-up")
    live.pause.click()
    live.let_go()
    live.is_live()
    tracker.send(accounts[0], "first")
    expect(live.resume).to_contain_text("1")
    for account in accounts:
        tracker.send_many([(account, f"number {number}.") for number in range(900)])
    expect(live.resume).to_contain_text("over 5,000")
    live.resume.click()
    live.is_live()
    assert live.shown() == [f"number {number}." for number in range(900)][-live.rows.count() :]
    expect(live.gaps).to_have_count(0)


def test_the_filter(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "a lark", "an owl", {"bird": "Lark"})
    live.shows("a lark", "an owl", '{"bird":"Lark"}')
    live.filter.fill("lark")
    live.shows("a lark", '{"bird":"Lark"}')
    tracker.send(account, "another owl", "another lark")
    live.shows("a lark", '{"bird":"Lark"}', "another lark")
    live.filter.fill("")
    live.shows("a lark", "an owl", '{"bird":"Lark"}', "another owl", "another lark")


def test_how_busy_it_is(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    tracker.send_many([(account, "x")] * 2000)
    live = open_page(tracker.url).is_live()
    expect(live.page.locator("#rate")).to_have_text(re.compile(r"^[\d,.]+$"))
    rate = live.page.get_by_role("region", name="Rate")
    expect(rate.get_by_role("img", name=re.compile("over five minutes.* at most [1-9]"))).to_be_visible()
    busiest = live.page.get_by_role("list", name="Busiest accounts")
    busiest.get_by_role("button", name=f"Account {account}", exact=True).click()
    expect(live.page.get_by_role("dialog", name=f"Account {account}")).to_be_visible()


def test_catching_up_is_shown(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    watch.expect("Failed to load resource: net::ERR_INTERNET_DISCONNECTED")
    live = open_page(f"{tracker.url}/?account={account}", held=True)
    live.let_go()
    live.is_live()
    tracker.send(account, "before")
    live.shows("before")
    live.hold()
    tracker.send_many([(account, f"number {number}.") for number in range(900)])
    live.page.context.set_offline(True)
    live.page.context.set_offline(False)  # the browser says so, and the page connects anew, at once
    live.is_("catching-up")
    expect(live.connection).to_have_text("Catching up: 900 behind")
    expect(live.page).to_have_title(re.compile("Catching up"))
    live.let_go()
    live.is_live()
    assert live.shown() == [f"number {number}." for number in range(900)][-live.rows.count() :]


def test_all_of_it_by_keyboard(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    """Choose an account, pause, go on, open an account, close it: Tab, Enter, Space and Escape."""
    live = open_page(tracker.url).is_live()
    keyboard = live.page.keyboard
    live.press_until_focused(live.add)
    keyboard.type(str(account))
    keyboard.press("Enter")
    live.is_live()
    tracker.send(account, "first")
    live.shows("first")
    live.press_until_focused(live.pause)
    keyboard.press("Enter")
    tracker.send(account, "second")
    expect(live.resume).to_be_focused()
    expect(live.resume).to_contain_text("1")
    keyboard.press("Space")
    live.shows("first", "second")
    button = live.rows.first.get_by_role("button", name=f"Account {account}", exact=True)
    live.press_until_focused(button)
    keyboard.press("Enter")
    dialog = live.page.get_by_role("dialog", name=f"Account {account}")
    expect(dialog).to_be_visible()
    live.press_until_focused(dialog.get_by_role("button", name="Deactivate"))
    keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Activate")).to_be_focused()
    assert tracker.account(account)["IsActive"] is False
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
