"""For everyone: axe-core finds nothing, nothing moves for who wants no motion, and a narrow window is enough."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, StartAnother, Watch
from tests.browser.live import LivePage
from tests.browser.trackers import Tracker

NARROW = {"width": 360, "height": 640}
LIGHT = {"color_scheme": "light"}
DARK = {"color_scheme": "dark"}
LOOKS = [
    pytest.param(LIGHT, id="light"),
    pytest.param(DARK, id="dark"),
    pytest.param({**LIGHT, "viewport": NARROW}, id="narrow"),
    pytest.param({**DARK, "viewport": NARROW}, id="narrow and dark"),
    pytest.param({**LIGHT, "forced_colors": "active"}, id="forced colors"),
]
LONG = ("0123456789" * 100, {"key": "a " * 300}, "word " * 100, "line\n" * 20)


def _is_clean(live: LivePage) -> None:
    """axe-core finds no violation, and sees more than an empty page."""
    found = Axe().run(live.page, options={"resultTypes": ["violations", "passes"], "reporter": "v2"})
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(
    tracker: Tracker, another: StartAnother, open_page: OpenPage, watch: Watch, look: dict[str, object]
) -> None:
    watch.expect("Failed to load resource: .* 40[04]")
    account = tracker.create("for everyone")
    another("--keep-events", "5").send_many([(account, f"number {number}.") for number in range(1, 101)])
    live = open_page(tracker.url, **look).is_live()
    _is_clean(live)

    live.follow(str(account))
    live.is_live()
    tracker.send(account, *LONG)
    live.rows.get_by_role("button", name="All data").first.click()
    live.pause.click()
    expect(live.page.get_by_role("list", name="Busiest accounts").get_by_role("button").first).to_be_visible()
    tracker.send(account, "one more")
    expect(live.resume).to_contain_text("1")
    _is_clean(live)
    live.resume.click()

    for name, button in (("Send an event", "Send"), ("Create an account", "Create")):
        live.form(name).get_by_role("button", name=button).click()
        expect(live.page.get_by_role("form", name=name).locator("[aria-invalid]").first).to_be_visible()
    live.follow("no such name at all")
    expect(live.add).to_have_attribute("aria-invalid", "true")
    _is_clean(live)

    dialog = live.account(account)
    dialog.get_by_role("button", name="Deactivate").click()
    expect(dialog.get_by_role("button", name="Activate", exact=True)).to_be_visible()
    expect(dialog.locator("tr.gap")).to_be_visible()
    _is_clean(live)


@pytest.mark.parametrize("look", LOOKS[:2])
def test_axe_finds_nothing_offline(
    tracker: Tracker, open_page: OpenPage, watch: Watch, account: int, look: dict[str, object]
) -> None:
    watch.expect("Failed to load resource: .* 50[34]")
    live = open_page(f"{tracker.url}/?account={account}", **look).is_live()
    with tracker.redis_away():
        live.is_("offline")
        _is_clean(live)
    live.is_live()


def test_axe_would_find_something(tracker: Tracker, open_page: OpenPage) -> None:
    live = open_page(tracker.url).is_live()
    live.page.evaluate("document.body.append(document.createElement('button'))")
    with pytest.raises(AssertionError, match="button-name"):
        _is_clean(live)


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_motion(tracker: Tracker, open_page: OpenPage, account: int, motion: str, moves: bool) -> None:
    live = open_page(f"{tracker.url}/?account={account}", reduced_motion=motion).is_live()
    # Of every element and everything that is drawn before or after one; of the row, and while it connects.
    moving = """() => [...document.querySelectorAll("*")].some((element) =>
        [null, "::before", "::after"].some((part) => {
            const { animationName, transitionDuration } = getComputedStyle(element, part);
            return animationName !== "none" || /[1-9]/.test(transitionDuration);
        })
    )"""
    tracker.send(account, "one")
    live.shows("one")
    assert live.page.evaluate(moving) is moves
    live.connection.evaluate("element => element.dataset.state = 'connecting'")
    assert live.page.evaluate(moving) is moves


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 2560])
def test_nothing_is_wider_than_the_window(
    tracker: Tracker, another: StartAnother, open_page: OpenPage, width: int
) -> None:
    second = another("--host", "a-host-with-quite-a-long-name.in-a-long.example")
    account = second.create("a name without a space to break it at".replace(" ", "-") * 5)
    another("--keep-events", "5").send_many([(account, f"number {number}.") for number in range(1, 101)])
    size = {"width": width, "height": 800}
    live = open_page(f"{second.url}/?account={account}", viewport=size).is_live()
    assert live.sideways() == 0
    second.send(account, *LONG)
    expect(live.rows).to_have_count(len(LONG))
    for button in live.rows.get_by_role("button", name="All data").all():
        button.click()
    for name in ("Send an event", "Create an account"):
        live.form(name)
    expect(live.page.get_by_role("list", name="Trackers").get_by_role("listitem").first).to_be_visible()
    assert live.sideways() == 0
    dialog = live.account(account)
    expect(dialog.locator("tr.gap")).to_be_visible()
    assert live.sideways() == 0
    box = dialog.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("height", [500, 760, 1080])
def test_nothing_is_squeezed(tracker: Tracker, open_page: OpenPage, account: int, height: int) -> None:
    """What is beside the list keeps its height; if the window has less, it can be scrolled as a whole."""
    live = open_page(f"{tracker.url}/?account={account}", viewport={"width": 1280, "height": height}).is_live()
    tracker.send_many([(number, "x") for number in range(1, 10)])
    busiest = live.page.get_by_role("list", name="Busiest accounts").get_by_role("listitem")
    expect(busiest).to_have_count(8)
    form = live.form("Create an account")
    live.form("Send an event")
    hidden = "element => element.scrollHeight - element.clientHeight"
    assert live.page.get_by_role("region", name="Send and create").evaluate(hidden) <= 0
    assert live.page.get_by_role("region", name="Rate").evaluate(hidden) <= 0
    form.get_by_role("button", name="Create").scroll_into_view_if_needed()
    expect(form.get_by_role("button", name="Create")).to_be_in_viewport(ratio=1)


def test_what_happens_is_announced(tracker: Tracker, open_page: OpenPage, account: int) -> None:
    """The connection, and now and then how much came: not every event."""
    live = open_page(f"{tracker.url}/?account={account}").is_live()
    expect(live.page.get_by_role("status").filter(has_text="Live")).to_have_count(1)
    tracker.send(account, "one", "two", "three")
    expect(live.page.get_by_role("status").filter(has_text="3 new events")).to_have_count(1)
