"""What TAB offers at the prompt: commands, and accounts by ID or name, as a tracker knows them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from listener.account_search import about, by_id_first, find_beginning
from listener.config import Config
from listener.selection import Selection
from listener.terminal import Choice, Complete
from shared.errors import Misconfigured, Refused, ServerTrouble

if TYPE_CHECKING:
    from listener.tracker import Account, Tracker

MOST = 20
"""How many accounts are offered at most."""
WITHIN = 1.0
"""For how many seconds the tracker is asked. What is known by then is offered."""
REMEMBERED = 10.0
"""For how many seconds an answer is good."""


def words(about: Mapping[str, str]) -> Complete:
    """Offers these words, each with what is said about it."""

    def complete(before: str) -> Sequence[Choice]:
        start = before.lower()
        return [Choice(word, len(before), said) for word, said in about.items() if word.startswith(start)]

    return complete


class AccountCompletion:
    """Offers accounts for the last word of a line. When no tracker is known or it does not answer, nothing."""

    def __init__(self, config: Config, selection: Selection) -> None:
        self._config = config
        self._selection = selection
        self._pages: dict[tuple[int, int, str], tuple[float, list[Account]]] = {}

    async def any(self, before: str) -> Sequence[Choice]:
        """Offers accounts whose ID or name begins with the word."""
        word = before.rpartition(" ")[2]
        found: dict[int, Account] = {}

        if word.isprintable():
            await self._ask(lambda tracker: find_beginning(partial(self._page, tracker), word, MOST, found))
        return _choices(word, found, found)

    async def selected(self, before: str) -> Sequence[Choice]:
        """Offers those of them that are selected."""
        selected = self._selection.accounts
        if selected is None:
            return await self.any(before)
        word = before.rpartition(" ")[2]
        offered = set(sorted(one for one in selected if str(one).startswith(word))[:MOST])
        found: dict[int, Account] = {}

        async def find(tracker: Tracker) -> None:
            await self._find(tracker, offered, found)
            if word:
                page = await self._page(tracker, limit=1000, name=word)
                found.update({account.id: account for account in page if account.id in selected})

        if word.isprintable():
            await self._ask(find)
        return _choices(word, {*offered, *found}, found)

    async def _find(self, tracker: Tracker, accounts: Collection[int], found: dict[int, Account]) -> None:
        rest = sorted(accounts)
        while rest:
            page = await self._page(tracker, after=rest[0] - 1, limit=MOST)
            found |= {account.id: account for account in page if account.id in accounts}
            if not page:
                return
            rest = [one for one in rest if one > page[-1].id]

    async def _page(self, tracker: Tracker, *, after: int = 0, limit: int = 100, name: str = "") -> list[Account]:
        key = (after, limit, name)
        if key in self._pages and self._pages[key][0] > trio.current_time() - REMEMBERED:
            return self._pages[key][1]
        if len(self._pages) >= 100:
            self._pages.clear()
        page = await tracker.accounts(after=after, limit=limit, name=name)
        self._pages[key] = trio.current_time(), page
        return page

    async def _ask(self, find: Callable[[Tracker], Awaitable[None]]) -> None:
        """Let it ask the tracker, if one is known, for a while. What goes wrong is no matter here."""
        if self._config.known_tracker is None:
            return
        from listener.tracker import open_tracker

        try:
            with trio.move_on_after(WITHIN):
                async with open_tracker(self._config) as tracker:
                    await find(tracker)
        except* (Refused, ServerTrouble, Misconfigured):
            pass


def _choices(word: str, offered: Iterable[int], known: dict[int, Account]) -> list[Choice]:
    return [
        Choice(str(one), len(word), about(known[one]) if one in known else "")
        for one in by_id_first(word, offered)[:MOST]
    ]
