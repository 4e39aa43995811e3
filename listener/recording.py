"""A recording of events, read line by line into a ledger: of each account, which Seqs there are, and what is wrong with
their order. It takes memory for holes and faults, not for events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from listener.digests import Digests, digest
from listener.faults import Fault, Faults, Kind
from listener.seqs import LARGEST, Seqs
from shared import frames
from shared.errors import Refused
from shared.frames import EventFrame, Gap, NoFrame, Ready
from shared.position import START, Position, parse_position

MOST_DIGESTS = 2_000_000
"""Of how many events in all it is remembered what they say, in 16 bytes each. Of the accounts that have the most, those
that came first are forgotten first; a log has only the newest ones either (the newest 1000 of an account, by default).
"""

LONGEST_LINE = 32 << 20
"""Bytes. The data of an event may take 16 MiB by the tracker's setting."""

_LOOK_UP_EVERY = 1000
_BEGINNINGS = (b'{"ID":', b'{"Frame":')


class Record:
    """What is recorded of one account."""

    __slots__ = ("digests", "doubled", "reordered", "seqs", "told", "unlocated")

    def __init__(self, unlocated: int) -> None:
        self.seqs = Seqs()
        self.told = Seqs()
        """Seqs that are gone, as the recording says itself."""
        self.digests = Digests()
        self.unlocated = unlocated
        """How many gaps that name no account came before its last event."""
        self.doubled: Fault | None = None
        self.reordered: Fault | None = None


class Log:
    """What is recorded of one log, which is told from others by its epoch."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.first = LARGEST
        """The number in the first Position."""
        self.last = 0
        self.records: dict[int, Record] = {}
        self.ended = False
        """Whether the recording says itself that this log was lost, and another one began."""

    def reaches(self, first: int, last: int) -> None:
        """Note that what these Positions mean, and all between them, should be here."""
        self.first = min(self.first, first)
        self.last = max(self.last, last)


class Recording:
    """Lines in, ledger out."""

    def __init__(self, accounts: frozenset[int] | None = None, most_digests: int = MOST_DIGESTS) -> None:
        """Only the events of these accounts are taken note of. None: those of all."""
        self.logs: dict[str, Log] = {}
        """By epoch, in the order in which they began."""
        self.events = 0
        self.bytes = 0
        self.faults = {kind: Faults() for kind in (Kind.DOUBLED, Kind.REORDERED, Kind.UNREADABLE)}
        self.torn: list[tuple[str, int]] = []
        """Lines that were cut off in writing, the newest 100: file and number."""
        self.torn_count = 0
        self.file = ""
        self.line = 0
        """The number of the line that is being read, in its file."""
        self.newest_log: Log | None = None
        """The one that events came of last."""
        self._accounts = accounts
        self._log: Log | None = None  # None: the next event says which one
        self._told_early: list[Gap] = []
        self._unlocated = 0
        self._unreadable: Fault | None = None
        self._most_digests = most_digests
        self._digests = 0
        self._digests_each = most_digests

    def take(self, line: bytes) -> str | None:
        """Take note of a line. Returns why it can't be read, or None if it can: then it was an event, another frame or
        nothing but white space."""
        try:
            if not line.startswith(b'{"Frame":'):
                if not line.isspace():
                    event = frames.decode_event(line)
                    self._take_event(event, parse_position(event.position), digest(line))
                return None
            match frames.decode(line):
                case Gap() as gap:
                    self._take_gap(gap)
                case Ready() as ready:
                    self._take_ready(parse_position(ready.position))
        except (NoFrame, Refused, msgspec.DecodeError, UnicodeDecodeError) as error:
            return str(error)
        return None

    def spoiled(self, line: bytes, why: str) -> None:
        """Take note of a line that can't be read. If one that was cut off in writing stands before a whole one, as when
        a listener that was killed goes on with the same file, that one counts."""
        begin = max(line.rfind(beginning) for beginning in _BEGINNINGS)
        if begin > 0 and self.take(line[begin:]) is None:
            self.cut_off(self.file, self.line)
            return
        faults, last = self.faults[Kind.UNREADABLE], self._unreadable
        if last is not None and last.file == self.file and last.to_line == self.line - 1:
            last.to_line = self.line
            faults.add_one_more(last)
            return
        self._unreadable = Fault(
            Kind.UNREADABLE, events=1, file=self.file, line=self.line, to_line=self.line, reason=why[:200]
        )
        faults.add(self._unreadable)

    def cut_off(self, file: str, line: int) -> None:
        """Take note of a line that was cut off in writing: what it had to say is missing."""
        self.torn_count += 1
        self.torn = [*self.torn[-99:], (file, line)]

    def _take_event(self, event: EventFrame, position: Position, says: int | None) -> None:
        account, seq = event.account_id, event.seq
        if position == START or not (1 <= account <= LARGEST and 1 <= seq < LARGEST):
            raise NoFrame("its ID, Seq or Position is none that a log gives")
        log = self._log
        if log is None or log.epoch != position.epoch:
            log = self._enter(position.epoch)
        log.reaches(position.number, position.number)
        if self._accounts is not None and account not in self._accounts:
            return
        self.events += 1
        record = self._record(log, account)
        last = record.seqs.last
        if not record.seqs.add(seq):
            record.doubled = self._repeated(Kind.DOUBLED, record.doubled, account, seq)
        elif seq < last:
            record.reordered = self._repeated(Kind.REORDERED, record.reordered, account, seq, after=last)
        elif record.unlocated != self._unlocated:
            if last and last + 1 < seq:
                record.told.add_stretch(last + 1, seq - 1)
            record.unlocated = self._unlocated
        if says is not None:
            self._remember(record.digests, seq, says)

    def _repeated(self, kind: Kind, going_on: Fault | None, account: int, seq: int, after: int | None = None) -> Fault:
        """Note a fault of this event, or that the last one of its account goes on."""
        if going_on is not None and going_on.after == after and seq - (going_on.to_seq or 0) in (0, 1):
            going_on.to_seq = seq
            self.faults[kind].add_one_more(going_on)
            return going_on
        fault = Fault(kind, account, seq, seq, 1, after=after, file=self.file, line=self.line)
        self.faults[kind].add(fault)
        return fault

    def _remember(self, digests: Digests, seq: int, says: int) -> None:
        digests.add(seq, says)
        self._digests += 1
        if len(digests) >= 2 * self._digests_each:
            self._digests -= digests.keep_newest(self._digests_each)
        while self._digests > self._most_digests and self._digests_each > 1:
            self._digests_each //= 2
            for log in self.logs.values():
                for record in log.records.values():
                    self._digests -= record.digests.keep_newest(self._digests_each)

    def _take_gap(self, gap: Gap) -> None:
        if gap.account_id is None:
            self._unlocated += 1
            if gap.reason == "epoch":
                for log in self.logs.values():
                    log.ended = True
                self._log = None
        elif self._log is None:
            self._told_early.append(gap)
        elif (self._accounts is None or gap.account_id in self._accounts) and 1 <= gap.account_id <= LARGEST:
            first, last = gap.from_seq or 0, gap.to_seq or gap.from_seq or 0
            if 1 <= first <= last < LARGEST:
                self._record(self._log, gap.account_id).told.add_stretch(first, last)

    def _take_ready(self, position: Position) -> None:
        """All up to there was received, even if none of it was an event."""
        if position == START:
            return
        log = self._log
        if log is None or log.epoch != position.epoch:
            log = self._enter(position.epoch)
        log.reaches(position.number + 1, position.number)

    def _enter(self, epoch: str) -> Log:
        self._log = self.newest_log = self.logs.setdefault(epoch, Log(epoch))
        told, self._told_early = self._told_early, []
        for gap in told:
            self._take_gap(gap)
        return self._log

    def _record(self, log: Log, account: int) -> Record:
        record = log.records.get(account)
        if record is None:
            record = log.records[account] = Record(self._unlocated)
        return record


class Reader:
    """Reads files into a recording, as if they were one."""

    def __init__(self, recording: Recording, look_up: Callable[[], object] = lambda: None) -> None:
        """`look_up` is called now and then."""
        self._recording = recording
        self._look_up = look_up
        self._cut: tuple[bytes, str, int] | None = None  # the end of the last file, if no line ends there

    def read(self, file: BinaryIO, name: str) -> None:
        """Read a file to its end. Raises OSError."""
        recording = self._recording
        recording.file, recording.line = name, 0
        for line in _lines(file):
            recording.line += 1
            recording.bytes += len(line)
            if recording.line % _LOOK_UP_EVERY == 0:
                self._look_up()
            begun, self._cut = self._cut, None
            if begun is not None and recording.take(begun[0] + line) is None:
                continue
            why = recording.take(line)
            is_whole = why is None or line.endswith(b"\n")
            if not is_whole and begun is not None and len(begun[0]) < LONGEST_LINE:
                self._cut = begun[0] + line, *begun[1:]  # a file with nothing but a piece of a line
                continue
            if begun is not None:
                recording.cut_off(*begun[1:])
            if not is_whole:
                self._cut = line, name, recording.line
            elif why is not None:
                recording.spoiled(line, why)

    def end(self) -> None:
        """There is no file after this one."""
        if self._cut is not None:
            self._recording.cut_off(*self._cut[1:])


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """A file's lines. One that is too long is cut, which no event survives."""
    while line := file.readline(LONGEST_LINE):
        yield line if line.endswith(b"\n") or len(line) < LONGEST_LINE else line[:100] + b"\xe2\x80\xa6\n"
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
