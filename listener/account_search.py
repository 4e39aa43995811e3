"""Accounts by ID or by how their names begin, as a tracker finds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from listener.output import escape
from shared.events import LARGEST_ID

if TYPE_CHECKING:
    from listener.tracker import Account, Tracker

MOST_OF_A_PAGE = 1000
_LONGEST_NAME = 60
_ID = re.compile(r"[1-9][0-9]{0,9}")


class Search:
    """The accounts whose names begin with a text, in any case, or whose ID it is; page by page, by ID. Without a text:
    all of them."""

    def __init__(
        self, tracker: Tracker, text: str = "", *, active: bool | None = None, limit: int | None = None
    ) -> None:
        """`active`: only those that are, or are not. `limit`: how many at most."""
        self._tracker = tracker
        self._name = text
        self._number = _number(text)
        self._active = active
        self._left = limit
        self._after: int | None = 0

    async def next(self) -> Sequence[Account]:
        """Return the next page; an empty one is the last. May be asked again when it raises, as `Tracker.request`."""
        if self._after is None or self._left == 0:
            return []
        asked = MOST_OF_A_PAGE if self._left is None else min(MOST_OF_A_PAGE, self._left)
        page = await self._tracker.accounts(after=self._after, limit=asked, active=self._active, name=self._name)
        last = page[-1].id if len(page) == asked else None
        if self._number is not None and self._after < self._number <= (last or LARGEST_ID):
            page = _with(page, await self._exactly(self._number))
            self._number = None
        page = page if self._left is None else page[: self._left]
        if self._left is not None:
            self._left -= len(page)
        self._after = last
        return page

    async def _exactly(self, number: int) -> list[Account]:
        found = await self._tracker.accounts(after=number - 1, limit=1, active=self._active)
        return [account for account in found if account.id == number]


class AskPage(Protocol):
    """`Tracker.accounts`, or what remembers its answers."""

    async def __call__(self, *, after: int = 0, limit: int = 100, name: str = "") -> list[Account]: ...


async def find_beginning(ask: AskPage, text: str, most: int, found: dict[int, Account]) -> None:
    """Put accounts whose ID or name begins with this text into `found` as they come, `most` of each length of an ID.
    Raises as `Tracker.request`, in a group."""

    async def named() -> None:
        found.update({account.id: account for account in await ask(limit=most, name=text)})

    async def numbered(first: int, last: int) -> None:
        page = await ask(after=first - 1, limit=most)
        found.update({account.id: account for account in page if account.id <= last})

    number = _number(text)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(named)
        width = 1
        while number is not None and number * width <= LARGEST_ID:  # 7, 70 to 79, 700 to 799, and so on
            nursery.start_soon(numbered, number * width, number * width + width - 1)
            width *= 10


def by_id_first(text: str, account_ids: Iterable[int]) -> list[int]:
    """Accounts whose ID or name begins with this text, in the order in which they are offered."""
    return sorted(account_ids, key=lambda one: (not str(one).startswith(text), one))


def about(account: Account) -> str:
    """What is said of an account beside its ID, safe to show."""
    name = account.name if len(account.name) <= _LONGEST_NAME else account.name[:_LONGEST_NAME] + "…"
    return escape(name) + ("" if account.is_active else " (not active)")


def _number(text: str) -> int | None:
    return int(text) if _ID.fullmatch(text) and int(text) <= LARGEST_ID else None


def _with(page: list[Account], more: list[Account]) -> list[Account]:
    by_id = {account.id: account for account in (*page, *more)}
    return [by_id[number] for number in sorted(by_id)]
