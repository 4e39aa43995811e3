"""A recording held against the log: what the log has from the same time, and what differs."""

from __future__ import annotations

from listener.digests import digest
from listener.faults import Fault, Faults, Kind
from listener.recording import Log, Record
from listener.seqs import LARGEST, Seqs
from shared.frames import EventFrame, Frame, Gap, Ready


class Compared:
    """What the log has and had of one account."""

    __slots__ = ("altered", "gone", "there")

    def __init__(self) -> None:
        self.there = Seqs()
        """What it has where the recording was made."""
        self.gone = Seqs()
        """What it has no longer, by its own account."""
        self.altered: Fault | None = None


class Comparison:
    """A log's frames in, what differs from a recording of it out."""

    def __init__(self, recorded: Log, accounts: frozenset[int] | None, *, to_end: bool) -> None:
        """`accounts` are to be compared; None: all that the log has. With `to_end` all that comes after the recording
        belongs to it, too."""
        self.recorded = recorded
        self.accounts: dict[int, Compared] = {}
        self.altered = Faults()
        self.read = 0
        """How many events came of the log."""
        self.unchecked = 0
        """How many are in both, but it isn't remembered any more what the recording says."""
        self.is_another = False
        """The log is not the one that was recorded, or was lost since."""
        self.knows_all = True
        """False: some of what is gone in the log it can't tell apart."""
        self._accounts = accounts
        self._last = LARGEST if to_end else recorded.last

    def take(self, frame: Frame) -> bool:
        """Take note of a frame of the log. Returns whether there is more to come."""
        match frame:
            case EventFrame():
                return self._take_event(frame)
            case Gap(account_id=None):
                self.knows_all = False
                self.is_another = self.is_another or frame.reason == "epoch"
            case Gap(account_id=int(account), from_seq=int(first), to_seq=int(last)) if self._wants(account):
                self._compared(account).gone.add_stretch(first, last)
        return not isinstance(frame, Ready)

    def _take_event(self, event: EventFrame) -> bool:
        self.read += 1
        epoch, _, number = event.position.rpartition("-")
        if epoch.partition("-")[0] != self.recorded.epoch or not number.isdecimal():
            return True
        if int(number) > self._last:
            return False
        if int(number) >= self.recorded.first and self._wants(event.account_id):
            self._compare(event)
        return True

    def _compare(self, event: EventFrame) -> None:
        account, seq = event.account_id, event.seq
        compared = self._compared(account)
        compared.there.add(seq)
        record = self.recorded.records.get(account)
        if record is None or seq not in record.seqs:
            return
        says = digest(event.line)
        recorded = record.digests.of(seq)
        if says is None or not recorded:
            self.unchecked += 1
            return
        for one in recorded:
            if one != says:
                self._alter(compared, account, seq)

    def _alter(self, compared: Compared, account: int, seq: int) -> None:
        fault = compared.altered
        if fault is not None and seq - (fault.to_seq or 0) in (0, 1):
            fault.to_seq = seq
            self.altered.add_one_more(fault)
        else:
            compared.altered = Fault(Kind.ALTERED, account, seq, seq, 1)
            self.altered.add(compared.altered)

    def _wants(self, account: int) -> bool:
        return self._accounts is None or account in self._accounts

    def _compared(self, account: int) -> Compared:
        compared = self.accounts.get(account)
        if compared is None:
            compared = self.accounts[account] = Compared()
        return compared

    def foreign(self, account: int, record: Record) -> Seqs:
        """What is recorded of an account, but that the log can't ever have had."""
        compared = self.accounts.get(account, Compared())
        absent = record.seqs.minus(compared.there)
        if self.is_another:
            return absent
        known = max(compared.there.last, compared.gone.last)
        if not known and not self.knows_all:
            return Seqs()
        return Seqs(absent.within(known + 1, LARGEST))
