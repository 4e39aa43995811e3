"""Reading the log: the events of some accounts after a position, in order, and what of them is gone.

Functions for asyncio, over a client of redis-py; `log.py` describes the keys, and crosses over to call them. A reading
changes nothing, in Redis or here: it takes a `Cursor` and gives another one.

That nothing was skipped follows from the Seqs: those of an account have no holes. The first entry that is read says in
`after` which event came before it, so it also tells whether anything is gone in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import redis.asyncio
import redis.exceptions

from shared.frames import EventFrame, Gap, NoFrame, decode_event
from shared.position import START, Position

META = "{events:0}:meta"
LAST = "{events:0}:last"
INDEX = "{events:0}:index"
TIMES = "{events:0}:times"

_INDEX_PAGE = 1000
_SCAN_PAGE = 500

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
    """How many events of these accounts come after this page; 0: that is all there is."""

    @property
    def position(self) -> Position:
        """Read on from here."""
        return self.cursor.position


@dataclass(frozen=True)
class _Entry:
    """One event of the log."""

    number: Number
    frame: EventFrame
    after: Number
    expired: bool


@dataclass(frozen=True)
class _Stretch:
    """What was read of one account's stream."""

    entries: list[_Entry]
    whole: bool
    """Whether nothing comes after it."""
    intact: bool
    """Whether it begins with an event."""
    end: Number
    """Of its last entry, event or not; 0 if there is none."""


async def newest(client: redis.asyncio.Redis) -> Position:
    """The log's last Position."""
    epoch, number = await _one(client.hmget(META, ["epoch", "position"]))
    return Position(epoch.decode(errors="replace"), 0, _digits(number or b"0")) if epoch else START


async def before_time(client: redis.asyncio.Redis, millis: int) -> Position:
    """A Position such that every event that the log took since then (Unix, in ms, by Redis' clock) comes after it."""
    position = await newest(client)
    found = await _one(client.xrevrange(TIMES, max=str(max(millis, 0)), count=1))
    number = _digits(found[0][1].get(b"before", b"")) if found else 0
    return position._replace(number=min(number, position.number))


async def read(
    client: redis.asyncio.Redis,
    accounts: Collection[int] | None,
    cursor: Cursor,
    limit: int,
    max_bytes: int,
    damage: Damage,
) -> Page:
    """Read the events of some accounts (None: of all) that come after `cursor`, at most `limit` of them and no more
    than `max_bytes`, but always one."""
    last = await newest(client)
    at = cursor.position
    told: list[EventFrame | Gap] = []
    if at == START:
        cursor = Cursor(last._replace(number=0))
    elif at.epoch != last.epoch or at.number > last.number:
        cursor = Cursor(last._replace(number=0))
        told.append(Gap(reason="epoch"))
    if cursor.position.number == last.number:
        return Page(told, replace(cursor, scan=None), 0)
    reading = _Reading(client, cursor, last, limit, max_bytes, damage)
    page = await (reading.all_accounts() if accounts is None else reading.accounts(accounts))
    return replace(page, frames=told + page.frames)


class _Reading:
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
        self._client = client
        self._cursor = cursor
        self._after = cursor.position.number
        self._last = last
        self._limit = limit
        self._max_bytes = max_bytes
        self._damage = damage

    async def accounts(self, ids: Collection[int]) -> Page:
        """The accounts' streams, merged as far as all of those that were not read to their end reach."""
        changed = {account: last for account, last in (await self._last_ids(ids)).items() if last[0] > self._after}
        each = max(self._limit // max(len(changed), 1), 8)
        lower = str(self._after + 1)
        replies = await self._pipeline(
            changed, lambda pipe, account: pipe.xrange(stream(account), min=lower, count=each)
        )
        read = {account: self._stretch(account, raw, each) for account, raw in replies.items()}
        horizon = min([self._last.number, *(stretch.end for stretch in read.values() if not stretch.whole)])
        seqs = {**self._cursor.seqs}
        frames = await self._gaps_in_front(changed, read, seqs)

        entries = (entry for stretch in read.values() for entry in stretch.entries if entry.number <= horizon)
        merged = sorted(entries, key=lambda entry: entry.number)
        if (fitting := self._fitting([entry.frame for entry in merged])) < len(merged):
            merged = merged[:fitting]
            horizon = merged[-1].number
        for entry in merged:
            account, seq = entry.frame.account_id, entry.frame.seq
            frames += _gap(account, seqs[account] + 1, seq - 1, "damaged")
            seqs[account] = seq
            frames.append(entry.frame)
        for account, (number, seq) in changed.items():
            if number <= horizon and account in seqs:
                frames += _gap(account, seqs[account] + 1, seq, "damaged")
                seqs[account] = seq
        behind = sum(max(seq - seqs.get(account, seq - 1), 0) for account, (_, seq) in changed.items())
        return Page(frames, Cursor(self._last._replace(number=horizon), seqs), behind)

    def _fitting(self, frames: Sequence[EventFrame]) -> int:
        """How many of these may be returned."""
        size = 0
        for count, frame in enumerate(frames[: self._limit]):
            size += len(frame.line)
            if size > self._max_bytes:
                return max(count, 1)
        return min(len(frames), self._limit)

    def _stretch(self, account: int, raw: Sequence[Any], asked: int) -> _Stretch:
        entries = [entry for item in raw if (entry := self._parse(account, item))]
        return _Stretch(
            entries,
            whole=len(raw) < asked,
            intact=not raw or (bool(entries) and entries[0].number == _number(raw[0][0])),
            end=_number(raw[-1][0]) if raw else 0,
        )

    async def _gaps_in_front(
        self, changed: Mapping[int, tuple[Number, int]], read: Mapping[int, _Stretch], seqs: dict[int, int]
    ) -> list[EventFrame | Gap]:
        """What is gone before the first entry of each account. Completes `seqs`."""
        gone: dict[int, tuple[Number, int, str]] = {}  # account -> number and Seq of the newest one gone, reason
        for account, stretch in read.items():
            if stretch.entries:
                first = stretch.entries[0]
                reason = "damaged" if not stretch.intact else "expired" if first.expired else "trimmed"
                gone[account] = (first.after, first.frame.seq - 1, reason)
            elif stretch.whole:
                gone[account] = (*changed[account], "expired" if stretch.end == 0 else "damaged")
        unknown = {account: at for account, (at, _, _) in gone.items() if account not in seqs and at > self._after}
        missing = await self._first_seqs(unknown)
        frames: list[EventFrame | Gap] = []
        for account, (_, to_seq, reason) in gone.items():
            from_seq = seqs[account] + 1 if account in seqs else missing.get(account, to_seq + 1)
            frames += _gap(account, from_seq, to_seq, reason)
            seqs[account] = max(to_seq, seqs.get(account, 0))
        return frames

    async def _first_seqs(self, unknown: Mapping[int, Number]) -> dict[int, int]:
        """The Seq of each account's first event after the cursor, looked up in the index up to the number given.

        1 where the index does not reach back so far: then it is only certain that none before the cursor is meant.
        """
        found = dict.fromkeys(unknown, 1)
        if not unknown or self._after == 0:
            return found
        first = await _one(self._client.xrange(INDEX, count=1))
        if not first or _number(first[0][0]) > self._after + 1:
            return found
        open_accounts, at = set(unknown), self._after
        while open_accounts and at < max(unknown[account] for account in open_accounts):
            page = await _one(self._client.xrange(INDEX, min=str(at + 1), count=_INDEX_PAGE))
            for number, account, seq in self._index_entries(page):
                at = number
                if account in open_accounts:
                    found[account] = seq
                    open_accounts.discard(account)
            if len(page) < _INDEX_PAGE:
                break
            at = _number(page[-1][0])
        return found

    async def all_accounts(self) -> Page:
        """The index tells which events come next; then their streams are asked for them."""
        first, page = await self._pair(
            lambda pipe: pipe.xrange(INDEX, count=1),
            lambda pipe: pipe.xrange(INDEX, min=str(self._after + 1), count=self._limit),
        )
        reaches = _number(first[0][0]) if first else self._last.number + 1
        if self._cursor.scan or reaches > self._after + 1:
            return await self._before_index(reaches)
        wanted = [entry for entry in self._index_entries(page) if entry[0] <= self._last.number]
        by_account: dict[int, list[tuple[Number, int]]] = {}
        for number, account, seq in wanted:
            by_account.setdefault(account, []).append((number, seq))
        replies = await self._pipeline(
            by_account,
            lambda pipe, account: pipe.xrange(
                stream(account), min=str(by_account[account][0][0]), max=str(by_account[account][-1][0])
            ),
        )
        lines = {
            (entry.number, account): entry.frame
            for account, raw in replies.items()
            for item in raw
            if (entry := self._parse(account, item))
        }
        frames = [frame for number, account, _ in wanted if (frame := lines.get((number, account)))]
        number = self._last.number if len(page) < self._limit else min(_number(page[-1][0]), self._last.number)
        if (fitting := self._fitting(frames)) < len(frames):
            frames = frames[:fitting]
            number = number_of(frames[-1])
        missing = [(account, seq) for at, account, seq in wanted if at <= number and (at, account) not in lines]
        gaps = await self._gaps_of(missing)
        return Page([*gaps, *frames], Cursor(self._last._replace(number=number)), self._last.number - number)

    async def _gaps_of(self, missing: Iterable[tuple[int, int]]) -> list[Gap]:
        """The gaps that single events make, neighbours joined."""
        gaps: list[Gap] = []
        by_account = {
            account: sorted(seq for _, seq in found) for account, found in groupby(sorted(missing), itemgetter(0))
        }
        alive = await self._pipeline(by_account, lambda pipe, account: pipe.exists(stream(account)), default=0)
        for account, seqs in by_account.items():
            reason = "trimmed" if alive[account] else "expired"
            begin = 0
            for i in range(1, len(seqs) + 1):
                if i == len(seqs) or seqs[i] != seqs[i - 1] + 1:
                    gaps += _gap(account, seqs[begin], seqs[i - 1], reason)
                    begin = i
        return gaps

    async def _before_index(self, reaches: Number) -> Page:
        """Tell what is gone for a follower of all that comes from before the index: some accounts at a time.

        The events that their streams still have from that time are gone for it too: their order is no longer known.
        """
        scan, until = self._cursor.scan or (0, reaches)
        scan, found = await _one(self._client.hscan(LAST, scan, count=_SCAN_PAGE))
        changed = {
            account: entry
            for key, value in found.items()
            if (account := _digits(key)) and (entry := _id(value))[0] > self._after
        }
        firsts = await self._pipeline(
            changed, lambda pipe, account: pipe.xrange(stream(account), min=str(self._after + 1), count=1)
        )
        kept = await self._pipeline(
            changed, lambda pipe, account: pipe.xrange(stream(account), min=str(until), count=1)
        )
        frames: list[EventFrame | Gap] = []
        for account, (number, seq) in changed.items():
            first = self._parse(account, firsts[account][0]) if firsts[account] else None
            keeps = self._parse(account, kept[account][0]) if kept[account] else None
            to_seq = keeps.frame.seq - 1 if keeps else seq
            from_seq = first.frame.seq if first and first.after <= self._after else 1
            if number < until or keeps:
                frames += _gap(account, from_seq, to_seq, "trimmed")
        behind = self._last.number - until + 1
        if scan:
            return Page(frames, replace(self._cursor, scan=(scan, until)), max(behind, 1))
        return Page(frames, Cursor(self._last._replace(number=until - 1)), behind)

    async def _last_ids(self, ids: Collection[int]) -> dict[int, tuple[Number, int]]:
        values = await _one(self._client.hmget(LAST, [str(account) for account in ids])) if ids else []
        return {account: _id(value) for account, value in zip(ids, values, strict=True) if value}

    def _index_entries(self, page: Sequence[Any]) -> Iterable[tuple[Number, int, int]]:
        for entry_id, fields in page:
            number, account = _id(entry_id)
            if seq := _digits(fields.get(b"seq", b"")):
                yield number, account, seq
            else:
                self._damage(f"{INDEX} has an entry {entry_id.decode()} that is none of the index")

    def _parse(self, account: int, item: tuple[bytes, dict[bytes, bytes]]) -> _Entry | None:
        entry_id, fields = item
        number, seq = _id(entry_id)
        try:
            frame = decode_event(fields[b"event"])
            after, _, expired = fields[b"after"].partition(b" ")
            entry = _Entry(number, frame, int(after), bool(expired))
        except (KeyError, ValueError, NoFrame):
            entry = None
        expected = str(self._last._replace(number=number))
        if entry is None or (frame.account_id, frame.seq, frame.position) != (account, seq, expected):
            self._damage(f"{stream(account)} has an entry {entry_id.decode()} that is no event of this log")
            return None
        return entry

    async def _pipeline(
        self, accounts: Collection[int], command: Callable[[Any, int], object], default: Any = ()
    ) -> dict[int, Any]:
        """One command for each account. A key that is spoiled counts as if it were not there."""
        if not accounts:
            return {}
        async with self._client.pipeline(transaction=False) as pipe:
            for account in accounts:
                command(pipe, account)
            replies = dict(zip(accounts, await pipe.execute(raise_on_error=False), strict=True))
        for account, reply in replies.items():
            if isinstance(reply, redis.exceptions.ResponseError) and "WRONGTYPE" in str(reply):
                self._damage(f"{stream(account)} is no stream")
                replies[account] = default
            elif isinstance(reply, Exception):
                raise reply
        return replies

    async def _pair(self, *commands: Callable[[Any], object]) -> list[Any]:
        async with self._client.pipeline(transaction=True) as pipe:
            for command in commands:
                command(pipe)
            return await pipe.execute()


def number_of(frame: EventFrame) -> Number:
    """The number in the Position of an event of the log."""
    return int(frame.position.rpartition("-")[2])


def _gap(account: int, from_seq: int, to_seq: int, reason: str) -> list[Gap]:
    if from_seq > to_seq:
        return []
    return [Gap(account_id=account, from_seq=from_seq, to_seq=to_seq, reason=reason)]


async def _one(reply: Any) -> Any:
    return await reply


def _id(entry_id: bytes) -> tuple[int, int]:
    """The two numbers of a stream entry's ID."""
    first, _, second = entry_id.partition(b"-")
    return _digits(first), _digits(second)


def _number(entry_id: bytes) -> Number:
    return _id(entry_id)[0]


def _digits(text: bytes) -> int:
    """The number written there, 0 if it is none."""
    return int(text) if text.isdigit() else 0
