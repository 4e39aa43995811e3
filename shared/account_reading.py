"""Reading the events of some accounts: their streams, merged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.frames import EventFrame, Gap
from shared.reading import (
    INDEX,
    LAST,
    Cursor,
    Entry,
    Number,
    Page,
    Reading,
    ask,
    entry_id,
    entry_number,
    gap,
    stream,
)

_INDEX_PAGE = 1000


@dataclass(frozen=True)
class _Stretch:
    """What was read of one account's stream."""

    entries: list[Entry]
    whole: bool
    """Whether nothing comes after it."""
    intact: bool
    """Whether it begins with an event."""
    end: Number
    """Of its last entry, event or not; 0 if there is none."""


class AccountReading(Reading):
    """A reading of some accounts.

    That nothing was skipped follows from the Seqs: those of an account have no holes. The first entry that is read says
    in `after` which event came before it, so it also tells whether anything is gone in front of it.
    """

    async def read(self, ids: Collection[int]) -> Page:
        """The accounts' streams, merged as far as all of those that were not read to their end reach."""
        changed = {account: last for account, last in (await self._last_ids(ids)).items() if last[0] > self.after}
        each = max(self.limit // max(len(changed), 1), min(self.limit // 16, 8), 1)
        lower = str(self.after + 1)
        replies = await self.pipeline(
            changed, lambda pipe, account: pipe.xrange(stream(account), min=lower, count=each)
        )
        read = {account: self._stretch(account, raw, each) for account, raw in replies.items()}
        horizon = min([self.last.number, *(stretch.end for stretch in read.values() if not stretch.whole)])
        seqs = {**self.cursor.seqs}
        frames = await self._gaps_in_front(changed, read, seqs)

        entries = (entry for stretch in read.values() for entry in stretch.entries if entry.number <= horizon)
        merged = sorted(entries, key=lambda entry: entry.number)
        if (fitting := self.fitting([entry.frame for entry in merged])) < len(merged):
            merged = merged[:fitting]
            horizon = merged[-1].number
        for entry in merged:
            account, seq = entry.frame.account_id, entry.frame.seq
            frames += gap(account, seqs[account] + 1, seq - 1, "damaged")
            seqs[account] = seq
            frames.append(entry.frame)
        for account, (number, seq) in changed.items():
            if number <= horizon and account in seqs:
                frames += gap(account, seqs[account] + 1, seq, "damaged")
                seqs[account] = seq
        # What came since the reading began is published to those who wait for it: they need not read once more.
        behind = 0
        if horizon < self.last.number:
            behind = sum(max(seq - seqs.get(account, seq - 1), 0) for account, (_, seq) in changed.items())
        return Page(frames, Cursor(self.last._replace(number=horizon), seqs), behind)

    async def read_back(self, account: int) -> Page:
        """The newest events before the cursor, which is an event's own Position or the log's end."""
        last = (await self._last_ids([account])).get(account, (0, 0))
        # One more: of the event at the cursor, the Seq.
        replies = await self.pipeline(
            [account],
            lambda pipe, account: pipe.xrevrange(stream(account), max=str(self.after), count=self.limit + 1),
        )
        oldest = await self.pipeline([account], lambda pipe, account: pipe.xrange(stream(account), count=1))
        raw = replies[account]
        before = last[1] + 1 if self.after > last[0] else 0
        if raw and entry_number(raw[0][0]) >= self.after:
            before, raw = entry_id(raw[0][0])[1], raw[1:]
        raw = raw[: self.limit]
        read = [entry for item in raw if (entry := self.parse(account, item))]  # the newest first
        entries = read[: self.fitting([entry.frame for entry in read])][::-1]
        whole = len(entries) == len(read) and len(raw) < self.limit
        frames: list[EventFrame | Gap] = []
        first = entries[0].frame.seq if entries else before
        older = max(first - entry_id(oldest[account][0][0])[1], 0) if oldest[account] and not whole else 0
        if not older and first > 1:
            expired = entries[0].expired if entries else not oldest[account]
            reason = "damaged" if len(read) < len(raw) else "expired" if expired else "trimmed"
            frames += gap(account, 1, first - 1, reason)
        seq = first - 1
        for entry in entries:
            frames += gap(account, seq + 1, entry.frame.seq - 1, "damaged")
            seq = entry.frame.seq
            frames.append(entry.frame)
        if entries:
            frames += gap(account, seq + 1, before - 1, "damaged")
        start = entries[0].number if entries else 0
        return Page(frames, Cursor(self.last._replace(number=start)), older)

    def _stretch(self, account: int, raw: Sequence[Any], asked: int) -> _Stretch:
        entries = [entry for item in raw if (entry := self.parse(account, item))]
        return _Stretch(
            entries,
            whole=len(raw) < asked,
            intact=not raw or (bool(entries) and entries[0].number == entry_number(raw[0][0])),
            end=entry_number(raw[-1][0]) if raw else 0,
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
        unknown = {account: at for account, (at, _, _) in gone.items() if account not in seqs and at > self.after}
        missing = await self._first_seqs(unknown)
        frames: list[EventFrame | Gap] = []
        for account, (_, to_seq, reason) in gone.items():
            from_seq = seqs[account] + 1 if account in seqs else missing.get(account, to_seq + 1)
            frames += gap(account, from_seq, to_seq, reason)
            seqs[account] = max(to_seq, seqs.get(account, 0))
        return frames

    async def _first_seqs(self, unknown: Mapping[int, Number]) -> dict[int, int]:
        """The Seq of each account's first event after the cursor, looked up in the index up to the number given.

        1 where the index does not reach back so far: then it is only certain that none before the cursor is meant.
        """
        found = dict.fromkeys(unknown, 1)
        if not unknown or self.after == 0:
            return found
        if not await self._index_reaches():
            return found
        open_accounts, at = set(unknown), self.after
        while open_accounts and at < max(unknown[account] for account in open_accounts):
            page = await ask(self.client.xrange(INDEX, min=str(at + 1), count=_INDEX_PAGE))
            for number, account, seq in self.index_entries(page):
                at = number
                if account in open_accounts:
                    found[account] = seq
                    open_accounts.discard(account)
            if len(page) < _INDEX_PAGE:
                break
            at = entry_number(page[-1][0])
        # It may have been trimmed on the way.
        return found if await self._index_reaches() else dict.fromkeys(unknown, 1)

    async def _index_reaches(self) -> bool:
        """Whether the index has all that comes after the cursor."""
        first = await ask(self.client.xrange(INDEX, count=1))
        return bool(first) and entry_number(first[0][0]) <= self.after + 1

    async def _last_ids(self, ids: Collection[int]) -> dict[int, tuple[Number, int]]:
        values = await ask(self.client.hmget(LAST, [str(account) for account in ids])) if ids else []
        # Where somebody else wrote into the hash, only the stream can tell.
        return {
            account: entry_id(value) if entry_number(value) else (self.last.number, 0)
            for account, value in zip(ids, values, strict=True)
            if value
        }
