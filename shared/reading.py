"""What every reading of the log stands on: how far it has come, what it gives, and how entries are read.

Functions for asyncio, over a client of redis-py; `log.py` describes the keys. Entries that are no events of this log
are skipped and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
import redis.exceptions

from shared.frames import EventFrame, Gap, NoFrame, decode_event
from shared.position import Position

META = "{events:0}:meta"
LAST = "{events:0}:last"
INDEX = "{events:0}:index"
TIMES = "{events:0}:times"

Number = int
"""A Position's number in its log."""
Damage = Callable[[str], None]
"""Called with a sentence on each entry that is none of ours."""


def stream(account_id: int) -> str:
    """The key of an account's events."""
    return f"{{events:0}}:{account_id}"


@dataclass(frozen=True)
class Cursor:
    """How far a follower has come: its Position, and what is known beyond that."""

    position: Position
    seqs: Mapping[int, int] = field(default_factory=dict)
    """Account ID -> the last Seq that was read or told to be gone; where it is not known, `position` alone counts."""
    scan: tuple[int, int] | None = None
    """While what is gone before the index is told account by account: where HSCAN is, and the index's first number."""


@dataclass(frozen=True)
class Page:
    """Some events in order, gaps among them."""

    frames: list[EventFrame | Gap]
    cursor: Cursor
    behind: int
    """How many events of these accounts come after this page; 0: that was all there is, when the reading began."""

    @property
    def position(self) -> Position:
        """Read on from here."""
        return self.cursor.position


@dataclass(frozen=True)
class Entry:
    """One event of the log."""

    number: Number
    frame: EventFrame
    after: Number
    expired: bool


class Reading:
    """One reading of a log whose last event was `last` when it began."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        cursor: Cursor,
        last: Position,
        limit: int,
        max_bytes: int,
        damage: Damage,
    ) -> None:
        self.client = client
        self.cursor = cursor
        self.after = cursor.position.number
        self.last = last
        self.limit = limit
        self.max_bytes = max_bytes
        self.damage = damage

    def fitting(self, frames: Sequence[EventFrame]) -> int:
        """How many of these may be returned."""
        size = 0
        for count, frame in enumerate(frames[: self.limit]):
            size += len(frame.line)
            if size > self.max_bytes:
                return max(count, 1)
        return min(len(frames), self.limit)

    def index_entries(self, page: Sequence[Any]) -> Iterable[tuple[Number, int, int]]:
        for name, fields in page:
            number, account = entry_id(name)
            if seq := digits(fields.get(b"seq", b"")):
                yield number, account, seq
            else:
                self.damage(f"{INDEX} has an entry {name.decode()} that is none of the index")

    def parse(self, account: int, item: tuple[bytes, dict[bytes, bytes]]) -> Entry | None:
        name, fields = item
        number, seq = entry_id(name)
        try:
            frame = decode_event(fields[b"event"])
            after, _, expired = fields[b"after"].partition(b" ")
            entry = Entry(number, frame, int(after), bool(expired))
        except (KeyError, ValueError, NoFrame):
            entry = None
        # Any epoch: of a log that lost its end, what is left is still the log.
        expected = f"-{self.last.shard}-{number}"
        if entry is None or (frame.account_id, frame.seq) != (account, seq) or not frame.position.endswith(expected):
            self.damage(f"{stream(account)} has an entry {name.decode()} that is no event of this log")
            return None
        return entry

    async def pipeline(
        self, accounts: Collection[int], command: Callable[[Any, int], object], default: Any = ()
    ) -> dict[int, Any]:
        """One command for each account. A key that is spoiled counts as if it were not there."""
        if not accounts:
            return {}
        async with self.client.pipeline(transaction=False) as pipe:
            for account in accounts:
                command(pipe, account)
            replies = dict(zip(accounts, await pipe.execute(raise_on_error=False), strict=True))
        for account, reply in replies.items():
            if isinstance(reply, redis.exceptions.ResponseError) and "WRONGTYPE" in str(reply):
                self.damage(f"{stream(account)} is no stream")
                replies[account] = default
            elif isinstance(reply, Exception):
                raise reply
        return replies


def number_of(frame: EventFrame) -> Number:
    """The number in the Position of an event of the log."""
    return int(frame.position.rpartition("-")[2])


def gap(account: int, from_seq: int, to_seq: int, reason: str) -> list[Gap]:
    if from_seq > to_seq:
        return []
    return [Gap(account_id=account, from_seq=from_seq, to_seq=to_seq, reason=reason)]


async def ask(reply: Any) -> Any:
    return await reply


def entry_id(name: bytes) -> tuple[int, int]:
    """The two numbers of a stream entry's ID."""
    first, _, second = name.partition(b"-")
    return digits(first), digits(second)


def entry_number(name: bytes) -> Number:
    return entry_id(name)[0]


def digits(text: bytes) -> int:
    """The number written there, 0 if it is none."""
    return int(text) if text.isdigit() and len(text) < 20 else 0
