"""What stands in for the feed, the log and the accounts where the tests are about streams alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

import trio

from shared.errors import Unavailable
from shared.frames import EventFrame, Frame, Gap, Ready
from shared.position import START, Position, Since
from shared.reading import Cursor, Page

EPOCH = "6b9522b15de7"


def event(number: int, account: int = 7, data: bytes = b'"x"') -> EventFrame:
    """The event of this number, as the log has it."""
    position = f"{EPOCH}-0-{number}"
    line = b'{"ID":%d,"Timestamp":"2026-11-23T17:35:30.000123Z","Data":%b,"Host":"h","Position":"%b","Seq":%d}'
    return EventFrame(account, number, position, line % (account, data, position.encode(), number))


class Follower:
    def __init__(self, accounts: set[int] | None, since: Since | None) -> None:
        self.accounts = accounts
        self.since = since
        self.waiting: list[Frame] = [Ready(str(since or START))]
        self._more = trio.Event()

    async def receive(self) -> list[Frame]:
        while not self.waiting:
            self._more = trio.Event()
            await self._more.wait()
        await trio.lowlevel.checkpoint()
        size, taken = 0, 0
        while taken < len(self.waiting) and size < 64 * 1024:
            frame = self.waiting[taken]
            size += len(frame.line) if isinstance(frame, EventFrame) else 100
            taken += 1
        frames, self.waiting = self.waiting[:taken], self.waiting[taken:]
        return frames

    def put(self, frame: Frame) -> None:
        self.waiting.append(frame)
        self._more.set()

    def follow(self, accounts: Iterable[int]) -> None:
        assert self.accounts is not None
        self.accounts |= set(accounts)
        self.put(Ready(str(START)))

    def unfollow(self, accounts: Iterable[int]) -> None:
        assert self.accounts is not None
        self.accounts -= set(accounts)


class Feed:
    """Followers get what is published, and whatever else a test puts to them. While `gate` is not set, the log is
    away: nobody gets to follow."""

    def __init__(self) -> None:
        self.followers: list[Follower] = []
        self.gate = trio.Event()
        self.gate.set()
        self.fault: Exception | None = None
        self._change = trio.Event()

    @asynccontextmanager
    async def follow(self, accounts: Iterable[int] | None, since: Since | None = None) -> AsyncIterator[Follower]:
        await self.gate.wait()
        if self.fault:
            raise self.fault
        follower = Follower(None if accounts is None else set(accounts), since)
        self.followers.append(follower)
        self._changed()
        try:
            yield follower
        finally:
            self.followers.remove(follower)
            self._changed()

    def publish(self, *frames: Frame) -> None:
        for follower in self.followers:
            for frame in frames:
                if (
                    not isinstance(frame, EventFrame)
                    or follower.accounts is None
                    or frame.account_id in follower.accounts
                ):
                    follower.put(frame)

    async def has(self, followers: int) -> None:
        """Wait until it has as many followers."""
        with trio.fail_after(20):
            while len(self.followers) != followers:
                await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = trio.Event()


class History:
    """The log: its events are `events`, in order."""

    def __init__(self) -> None:
        self.events: list[EventFrame] = []
        self.gaps: list[Gap] = []
        self.scans = 0
        self.began: list[Since | None] = []

    async def begin(self, since: Since | None, accounts: Collection[int] | None) -> Position:
        self.began.append(since)
        return since if isinstance(since, Position) else START

    async def read(self, accounts: Collection[int] | None, after: Position | Cursor, *, limit: int = 500) -> Page:
        if self.scans:
            self.scans -= 1
            gone = Gap(account_id=self.scans + 1, from_seq=1, to_seq=1, reason="trimmed")
            return Page([gone], Cursor(START, scan=(self.scans, 9) if self.scans else None), 1)
        begin = after.number if isinstance(after, Position) else 0
        rest = [
            found for found in self.events if found.seq > begin and (accounts is None or found.account_id in accounts)
        ]
        page = rest[:limit]
        position = Position(EPOCH, 0, page[-1].seq if page else begin)
        return Page([*self.gaps, *page], Cursor(position), len(rest) - len(page))


class Accounts:
    """The accounts 1 to 2000 exist."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[set[int]] = []

    async def existing(self, account_ids: Collection[int]) -> set[int]:
        self.asked.append(set(account_ids))
        if self.away:
            raise Unavailable("database", "as told")
        return {account for account in account_ids if account <= 2000}
