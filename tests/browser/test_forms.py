"""The two forms, with what the tracker says of what it refuses."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenPage, Watch
from tests.browser.trackers import Tracker

REFUSED = r"Failed to load resource: .* 4\d\d"


def test_send_text(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    form = live.form("Send an event")
    form.get_by_label("Account").fill(str(account))
    form.get_by_label("Data").fill("héllo {\n")
    form.get_by_role("button", name="Send").click()
    expect(live.rows).to_have_count(1)
    assert tracker.events(account)[0]["Data"] == "héllo {\n"
    expect(form.get_by_role("status")).to_contain_text(tracker.events(account)[0]["Position"])


def test_send_json(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    form = live.form("Send an event")
    form.get_by_label("Account").fill(str(account))
    form.get_by_label("Data").fill(' {"amount": 7} ')
    form.get_by_label("JSON").check()
    form.get_by_role("button", name="Send").click()
    live.shows('{"amount":7}')


@pytest.mark.parametrize(
    ("account", "data", "json", "field", "says"),
    [
        ("", "x", False, "Account", "Which account"),
        ("one", "x", False, "Account", "'one' is no account ID"),
        ("0", "x", False, "Account", "'0' is no account ID"),
        ("1/2", "x", False, "Account", "not found"),
        ("2000000000", "x", False, "Account", "There is no account 2000000000"),
        ("1", "", False, "Data", "There is no data"),
        ("1", '{"amount": ', True, "Data", "not valid JSON"),
        ("1", '"' + "x" * 70_000 + '"', True, "Data", "65,?536"),
    ],
)
def test_an_event_that_is_refused(
    tracker: Tracker, open_page: OpenPage, watch: Watch, account: str, data: str, json: bool, field: str, says: str
) -> None:
    watch.expect(REFUSED)
    form = open_page(tracker.url).is_live().form("Send an event")
    form.get_by_label("Account").fill(account)
    form.get_by_label("Data").fill(data)
    form.get_by_label("JSON").set_checked(json)
    form.get_by_role("button", name="Send").click()
    _is_wrong(form.get_by_label(field), says)
    form.get_by_label("Account").fill("1")
    form.get_by_label("Data").fill('"better"')
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("Sent")
    _is_right(form.get_by_label(field))


def test_an_event_for_an_account_that_is_not_active(tracker: Tracker, open_page: OpenPage, watch: Watch) -> None:
    watch.expect(REFUSED)
    account = tracker.create("asleep", active=False)
    form = open_page(tracker.url).is_live().form("Send an event")
    form.get_by_label("Account").fill(str(account))
    form.get_by_label("Data").fill("x")
    form.get_by_role("button", name="Send").click()
    _is_wrong(form.get_by_label("Account"), "not active")


@pytest.mark.parametrize("active", [True, False])
def test_create_an_account(tracker: Tracker, open_page: OpenPage, active: bool) -> None:
    live = open_page(tracker.url).is_live()
    form = live.form("Create an account")
    form.get_by_label("Name").fill("Zoë's <b>")
    form.get_by_label("Active").set_checked(active)
    form.get_by_role("button", name="Create").click()
    said = form.get_by_role("status")
    expect(said).to_contain_text(re.compile(r"account \d+"))
    account = int(said.inner_text().split()[-1])
    assert tracker.account(account) == {"ID": account, "Name": "Zoë's <b>", "IsActive": active}
    expect(live.followed.get_by_role("button", name=f"Stop following {account}")).to_be_visible()


@pytest.mark.parametrize(("name", "says"), [("", "Name"), ("x" * 256, "255")])
def test_an_account_that_is_refused(tracker: Tracker, open_page: OpenPage, watch: Watch, name: str, says: str) -> None:
    watch.expect(REFUSED)
    form = open_page(tracker.url).is_live().form("Create an account")
    form.get_by_label("Name").fill(name)
    form.get_by_role("button", name="Create").click()
    _is_wrong(form.get_by_label("Name"), says)


def test_the_tracker_does_not_answer(tracker: Tracker, open_page: OpenPage, watch: Watch, account: int) -> None:
    watch.expect("Failed to load resource: net::ERR_INTERNET_DISCONNECTED", "WebSocket connection to .* failed")
    live = open_page(tracker.url).is_live()
    form = live.form("Send an event")
    form.get_by_label("Account").fill(str(account))
    form.get_by_label("Data").fill("kept for the next try")
    live.page.context.set_offline(True)
    form.get_by_role("button", name="Send").click()
    _is_wrong(form.get_by_label("Data"), "The tracker does not answer.")
    live.page.context.set_offline(False)
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_contain_text("Sent")
    assert [event["Data"] for event in tracker.events(account)] == ["kept for the next try"]


def _is_wrong(field: Locator, says: str) -> None:
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile(says))
    expect(field).to_be_focused()


def _is_right(field: Locator) -> None:
    expect(field).not_to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("")
