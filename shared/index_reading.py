"""Reading the events of all accounts: the index tells their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from shared.frames import EventFrame, Gap
from shared.reading import (
    INDEX,
    LAST,
    Cursor,
    Number,
    Page,
    Reading,
    ask,
    digits,
    entry_id,
    entry_number,
    gap,
    number_of,
    stream,
)

_SCAN_PAGE = 500


class IndexReading(Reading):
    """A reading of all accounts."""

    async def read(self) -> Page:
        """The index tells which events come next; then their streams are asked for them."""
        # In this order: an index that still reaches back so far after its page was read did so before.
        page = await ask(self.client.xrange(INDEX, min=str(self.after + 1), count=self.limit))
        first = await ask(self.client.xrange(INDEX, count=1))
        reaches = entry_number(first[0][0]) if first else self.last.number + 1
        if self.cursor.scan or reaches > self.after + 1:
            return await self._before_index(reaches)
        wanted = [entry for entry in self.index_entries(page) if entry[0] <= self.last.number]
        by_account: dict[int, list[tuple[Number, int]]] = {}
        for number, account, seq in wanted:
            by_account.setdefault(account, []).append((number, seq))
        replies = await self.pipeline(
            by_account,
            lambda pipe, account: pipe.xrange(
                stream(account), min=str(by_account[account][0][0]), max=str(by_account[account][-1][0])
            ),
        )
        lines = {
            (entry.number, account): entry.frame
            for account, raw in replies.items()
            for item in raw
            if (entry := self.parse(account, item))
        }
        frames = [frame for number, account, _ in wanted if (frame := lines.get((number, account)))]
        number = self.last.number if len(page) < self.limit else min(entry_number(page[-1][0]), self.last.number)
        if (fitting := self.fitting(frames)) < len(frames):
            frames = frames[:fitting]
            number = number_of(frames[-1])
        told = self.cursor.seqs
        missing: dict[int, list[int]] = {}
        for at, account, seq in wanted:
            if at <= number and (at, account) not in lines and seq > told.get(account, 0):
                missing.setdefault(account, []).append(seq)
        gaps = await self._gaps_of(missing, frames)
        numbers = [self.after, *(at for at, _, _ in wanted if at <= number)]
        if len(page) < self.limit and number == self.last.number:
            numbers.append(number + 1)
        if any(after > before + 1 for before, after in pairwise(numbers)):
            gaps.append(Gap(reason="damaged"))  # the index has a hole, and whose events are in it is not known
        newly_told = {gap.account_id: gap.to_seq for gap in gaps if gap.account_id and gap.to_seq}
        cursor = Cursor(self.last._replace(number=number), {**told, **newly_told})
        return Page([*gaps, *frames], cursor, self.last.number - number)

    async def _gaps_of(self, missing: Mapping[int, list[int]], frames: Sequence[EventFrame]) -> list[Gap]:
        """What to tell of events that their streams do not have: whatever is gone there, if it is gone in front."""
        firsts = await self.pipeline(missing, lambda pipe, account: pipe.xrange(stream(account), count=1))
        here: dict[int, int] = {}  # account -> Seq of its first event in this page
        for frame in frames:
            here.setdefault(frame.account_id, frame.seq)
        gaps: list[Gap] = []
        for account, seqs in missing.items():
            first = self.parse(account, firsts[account][0]) if firsts[account] else None
            if not firsts[account]:
                gaps += gap(account, seqs[0], seqs[-1], "expired")
                continue
            if first and seqs[0] < first.frame.seq:
                end = first.frame.seq
                if seqs[0] < here.get(account, 0):  # since they were read, more was trimmed
                    end = min(end, here[account])
                gaps += gap(account, seqs[0], end - 1, "expired" if first.expired else "trimmed")
                seqs = [seq for seq in seqs if seq >= end]
            gaps += [lone for seq in seqs for lone in gap(account, seq, seq, "damaged")]
        return gaps

    async def _before_index(self, reaches: Number) -> Page:
        """Tell what is gone for a follower of all that comes from before the index: some accounts at a time. Who wants
        all from the start on is just told that the start is gone.

        The events that their streams still have from that time are gone for it too: their order is no longer known.
        """
        if self.after == 0:  # it asked for all there is
            frames: list[EventFrame | Gap] = [Gap(reason="trimmed")]
            return Page(frames, Cursor(self.last._replace(number=reaches - 1)), self.last.number - reaches + 1)
        scan, until = self.cursor.scan or (0, reaches)
        scan, found = await ask(self.client.hscan(LAST, scan, count=_SCAN_PAGE))
        changed = {
            account: entry
            for key, value in found.items()
            if (account := digits(key)) and (entry := entry_id(value))[0] > self.after
        }
        firsts = await self.pipeline(
            changed, lambda pipe, account: pipe.xrange(stream(account), min=str(self.after + 1), count=1)
        )
        kept = await self.pipeline(changed, lambda pipe, account: pipe.xrange(stream(account), min=str(until), count=1))
        frames = []
        told = {**self.cursor.seqs}
        for account, (number, seq) in changed.items():
            first = self.parse(account, firsts[account][0]) if firsts[account] else None
            keeps = self.parse(account, kept[account][0]) if kept[account] else None
            to_seq = keeps.frame.seq - 1 if keeps else seq
            from_seq = first.frame.seq if first and first.after <= self.after else 1
            frames += gap(account, from_seq, to_seq, "trimmed")
            if number >= until and not keeps:
                told[account] = to_seq  # its events in the index are not told once more
        behind = self.last.number - until + 1
        if scan:
            return Page(frames, replace(self.cursor, seqs=told, scan=(scan, until)), max(behind, 1))
        return Page(frames, Cursor(self.last._replace(number=until - 1), told), behind)
