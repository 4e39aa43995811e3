"""The live page as its tests see it: by roles and names, as people with and without eyes do."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, WebSocketRoute, expect

LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask", buffered: true });
"""
"""Notes the milliseconds of each task of more than 50 (W3C Long Tasks API), from the page's begin."""

_NOTE_CONNECTION = """
window.connections = [];
const note = () => {
    const shown = document.querySelector("#connection");
    connections.push([shown.dataset.state, shown.textContent]);
};
note();
new MutationObserver(note).observe(document.querySelector("#connection"), {
    attributes: true, characterData: true, childList: true, subtree: true
});
"""


class LivePage:
    """A window with the page in it."""

    def __init__(self, page: Page, *, held: bool = False) -> None:
        """`held`: its stream connects, and brings nothing until `let_go`, nor after `hold`."""
        self.page = page
        self._held: list[tuple[WebSocketRoute, str | bytes]] | None = None
        if held:
            self._held = []
            page.route_web_socket("**/events?*", self._route)
        self.connection = page.locator("#connection")
        self.events = page.get_by_role("table", name="Events")
        self.rows = self.events.locator("tr[data-position]")
        self.gaps = self.events.locator("tr.gap")
        self.data = self.rows.locator("td.data .text")
        self.followed = page.get_by_role("list", name="Followed accounts")
        self.add = page.get_by_role("combobox", name="Add accounts")
        self.filter = page.get_by_role("searchbox", name="Filter")
        self.pause = page.get_by_role("button", name="Pause")
        self.resume = page.get_by_role("button", name="Resume")

    def _route(self, to_page: WebSocketRoute) -> None:
        if self._held is not None:
            self._held = []  # what an earlier connection was held up with is lost with it

        def take(message: str | bytes) -> None:
            if self._held is None:
                to_page.send(message)
            else:
                self._held.append((to_page, message))

        to_page.connect_to_server().on_message(take)

    def hold(self) -> None:
        """Bring nothing from now on. For a page that was `held` when it was opened."""
        self._held = []

    def let_go(self) -> None:
        """Bring what the stream was held up with, and from now on everything as it comes."""
        held, self._held = self._held, None
        for to_page, message in held or ():
            to_page.send(message)

    def is_live(self) -> LivePage:
        """Wait until it says that it is live."""
        return self.is_("live")

    def is_(self, state: str) -> LivePage:
        """Wait until the connection is in this state."""
        expect(self.connection).to_have_attribute("data-state", state)
        return self

    def shows(self, *data: str) -> None:
        """Wait until the events shown are exactly these, given in the order in which they were sent."""
        expect(self.data).to_have_text(list(reversed(data)))

    def shown(self) -> list[str]:
        """Return the data of the events shown, in the order in which they came, to the letter."""
        return list(reversed(self.data.all_text_contents()))

    def follow(self, accounts: str) -> None:
        """Choose accounts, as the field takes them."""
        self.add.fill(accounts)
        self.page.get_by_role("button", name="Follow", exact=True).click()

    def account(self, account: int) -> Locator:
        """The dialog about an account, opened from its newest event."""
        self.rows.get_by_role("button", name=f"Account {account}", exact=True).first.click()
        return self.page.get_by_role("dialog", name=f"Account {account}")

    def form(self, name: str) -> Locator:
        """One of the forms, unfolded."""
        self.page.locator("summary", has_text=name).click()
        return self.page.get_by_role("form", name=name)

    def press_until_focused(self, wanted: Locator) -> None:
        """Press Tab until this has the focus, at most once through the page."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"Tab never reaches {wanted}")

    def note_connection(self) -> None:
        """Note from now on what the connection shows; `connections` returns it."""
        self.page.evaluate(_NOTE_CONNECTION)

    def connections(self) -> list[tuple[str, str]]:
        """Return the states and the texts that the connection had, one after the other."""
        return [(state, text) for state, text in self.page.evaluate("connections")]

    def sideways(self) -> int:
        """Return how many pixels the page is wider than the window."""
        wider: int = self.page.evaluate(
            "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.documentElement)"
        )
        return wider

    def longest_task(self) -> float:
        """Return the milliseconds of the longest task since the last call."""
        longest: float = self.page.evaluate("Math.max(0, ...longTasks.splice(0))")
        return longest

    def memory(self) -> dict[str, Any]:
        """Return what Chromium counts of the page after it was tidied up: JSHeapUsedSize in bytes, Nodes, ….

        https://chromedevtools.github.io/devtools-protocol/tot/Performance/
        """
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable")
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        session.detach()
        return {metric["name"]: metric["value"] for metric in metrics}
