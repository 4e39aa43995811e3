"""Whatever is in an event or an account, it is shown as text, and does nothing."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, StartAnother, Watch
from tests.browser.trackers import Tracker

MARKUP = (
    "<script>window.harmed = 1</script>",
    '<img src="/x" onerror="window.harmed = 1">',
    "</td></tr></table><h1>out</h1>",
    '" onmouseover="window.harmed = 1" x="',
    "javascript:window.harmed = 1",
    "&lt;b&gt; &amp; <b>bold</b>",
    "${window.harmed = 1} {{ 1 + 1 }} %s \\u003cscript\\u003e",
)
# What can't be seen, or changes how the rest is seen, is made visible.
HIDDEN = {
    "\x1b[31mred\x1b[0m\x07": "\\u001b[31mred\\u001b[0m\\u0007",
    "nul \x00 and \x7f": "nul \\u0000 and \\u007f",
    "one\ntwo\ttabs\r": "one\\u000atwo\\u0009tabs\\u000d",
    "abc\u202edcba": "abc\\u202edcba",
    "zero\u200bwidth\ufeff": "zero\\u200bwidth\\ufeff",
}


def test_markup_in_data(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    nested = {"<script>window.harmed = 1</script>": ["<img src=x onerror='window.harmed = 1'>"]}
    tracker.send(account, *MARKUP, nested)
    expect(live.rows).to_have_count(len(MARKUP) + 1)
    assert live.shown()[:-1] == list(MARKUP)
    assert live.shown()[-1] == ('{"<script>window.harmed = 1</script>":["<img src=x onerror=\'window.harmed = 1\'>"]}')
    for button in live.rows.get_by_role("button", name="All data").all():
        button.click()
    dialog = live.account(account)
    expect(dialog.locator("tr[data-position]")).to_have_count(len(MARKUP) + 1)
    assert live.page.evaluate("window.harmed") is None
    assert live.page.locator("table :is(script, img, h1, b)").count() == 0


def test_what_can_not_be_seen(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, *HIDDEN)
    expect(live.rows).to_have_count(len(HIDDEN))
    assert live.shown() == list(HIDDEN.values())


@pytest.mark.parametrize("data", ["12345678901234567890", "1.10", "-0", '{"big":[9007199254740993]}'])
def test_json_keeps_its_digits(tracker: Tracker, open_page: OpenPage, account: int, data: str) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.put(account, data.encode(), "application/json")
    expect(live.rows).to_have_count(1)
    assert live.shown() == [data]
    dialog = live.account(account)
    expect(dialog.locator(".data .text")).to_have_text([data])


@pytest.mark.parametrize("data", ["0", "false", "null", "[]", "{}", '"a string"'])
def test_json_of_every_kind(tracker: Tracker, open_page: OpenPage, account: int, data: str) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.put(account, data.encode(), "application/json")
    expect(live.rows).to_have_count(1)
    assert live.shown() == [data.strip('"')]


def test_much_data(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    """It is cut short, and shown at full length when it is opened, without making the page wider."""
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    data = "0123456789" * 6000
    tracker.send(account, data)
    expect(live.rows).to_have_count(1)
    assert len(live.shown()[0]) < 1000
    live.rows.get_by_role("button", name="All data").click()
    assert live.shown() == [data]
    assert live.sideways() == 0


def test_what_opens_a_row_stands_beside_its_data(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    tracker.send(account, "short", {"short": 1}, {"long": ["word"] * 100}, "long " * 100)
    expect(live.rows).to_have_count(4)
    heights = {row.evaluate("row => row.getBoundingClientRect().height") for row in live.rows.all()}
    assert max(heights) - min(heights) < 3


def test_markup_in_names(tracker: Tracker, another: StartAnother, open_page: OpenPage) -> None:
    host = "<b>host</b>"
    second = another("--host", host)
    name = '<img src=x onerror="window.harmed = 1">'
    account = second.create(name)
    live = open_page(f"{second.url}/?account={account}").is_live()
    second.send(account, "x")
    expect(live.rows.get_by_role("cell", name=host, exact=True)).to_be_visible()
    dialog = live.account(account)
    expect(dialog.get_by_text(name, exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(live.page.get_by_role("list", name="Trackers").get_by_text(host, exact=True)).to_be_visible()
    live.add.fill("<img")
    option = live.page.locator("datalist option")
    expect(option).to_have_attribute("label", re.compile(re.escape(name)))
    assert live.page.evaluate("window.harmed") is None


def test_a_link_is_text_too(tracker: Tracker, open_page: OpenPage) -> None:
    live = open_page(f"{tracker.url}/?account=<script>window.harmed=1</script>&account=1.5&account=-1#<b>x").is_live()
    expect(live.page.get_by_text("Choose accounts")).to_be_visible()
    assert live.page.evaluate("window.harmed") is None


def test_the_policy_forbids_what_was_brought_in(tracker: Tracker, open_page: OpenPage, watch: Watch) -> None:
    """And the tests would notice: all that a test does not expect on the console fails it."""
    live = open_page(tracker.url).is_live()
    live.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.harmed = 1";
            document.body.append(script);
            const image = document.createElement("img");
            image.src = "https://elsewhere.example/x.png";
            document.body.append(image);
            return fetch("https://elsewhere.example/").catch(() => null);
        }"""
    )
    assert live.page.evaluate("window.harmed") is None
    forbidden = [text for text in watch.unexpected if "Content Security Policy" in text]
    for directive in ("script-src", "img-src", "connect-src"):
        assert any(directive in text for text in forbidden), forbidden
    watch.expect(".*Content Security Policy", "Fetch API cannot load https://elsewhere.example")
