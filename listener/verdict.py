"""What is to be said of a recording that was held against the log: for people, and as one JSON object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from listener.comparison import Compared, Comparison
from listener.faults import Fault, Faults, Kind, fault_line
from listener.output import escape
from listener.recording import Log, Record, Recording
from listener.seqs import Seqs

MOST_SHOWN = 50
"""How many faults of a kind are listed, unless all are asked for."""

_ALWAYS = (Kind.MISSING, Kind.DOUBLED, Kind.REORDERED, Kind.ALTERED)
"""What the summary counts even if there is none."""


class Verdict:
    """The faults of a recording, by kind."""

    def __init__(self, recording: Recording, comparison: Comparison | None, *, files: int, strict: bool) -> None:
        """With `strict`, what is missing as the recording itself tells is a fault, too."""
        self.recording = recording
        self.comparison = comparison
        self.faults = {kind: recording.faults.get(kind) or Faults() for kind in Kind}
        self.absent = 0
        """How many of the recorded events the log has no longer."""
        self._files = files
        self._strict = strict
        for log in recording.logs.values():
            if comparison is not None and log is comparison.recorded:
                self.faults[Kind.ALTERED] = comparison.altered
                for account in sorted({*log.records, *comparison.accounts}):
                    self._judge(account, log.records.get(account) or Record(0), comparison)
            else:
                self._judge_older(log)

    @property
    def whole(self) -> bool:
        """Whether there is no fault."""
        return not any(faults.events for kind, faults in self.faults.items() if self._strict or kind is not Kind.TOLD)

    @property
    def accounts(self) -> int:
        """Of how many accounts there are events."""
        logs = self.recording.logs.values()
        return len({account for log in logs for account, record in log.records.items() if record.seqs.count})

    def _judge(self, account: int, record: Record, comparison: Comparison) -> None:
        compared = comparison.accounts.get(account) or Compared()
        foreign = comparison.foreign(account, record)
        self.absent += record.seqs.minus(compared.there).minus(foreign).count
        self._add(Kind.FOREIGN, account, foreign)
        # Within a log, a Seq that it can't have given says nothing of those before it.
        own = record.seqs if comparison.is_another else record.seqs.minus(foreign)
        expected = Seqs(compared.there)
        if own.count:
            expected.add_stretch(own.first, own.last)
        for first, last in self._not_told(account, expected.minus(record.seqs), record):
            gone = None if comparison.is_another else Seqs([(first, last)]).minus(compared.there).count
            self.faults[Kind.MISSING].add(Fault(Kind.MISSING, account, first, last, last - first + 1, gone=gone))

    def _judge_older(self, log: Log) -> None:
        """Of a log that is not the one of now, only the recording itself can tell."""
        for account, record in sorted(log.records.items()):
            seqs = record.seqs
            if log.ended and not self._strict:
                self.absent += seqs.count
            else:
                self._add(Kind.FOREIGN, account, seqs, log.epoch)
            hull = Seqs([(seqs.first, seqs.last)] if seqs.count else [])
            self._add(Kind.MISSING, account, self._not_told(account, hull.minus(seqs), record, log.epoch), log.epoch)

    def _not_told(self, account: int, missing: Seqs, record: Record, epoch: str | None = None) -> Seqs:
        self._add(Kind.TOLD, account, record.told.minus(record.seqs), epoch)
        return missing.minus(record.told)

    def _add(self, kind: Kind, account: int, seqs: Seqs, epoch: str | None = None) -> None:
        for first, last in seqs:
            self.faults[kind].add(Fault(kind, account, first, last, last - first + 1, epoch=epoch))

    def lines(self, *, every: bool) -> Iterator[str]:
        """The faults, a line each, and the summary. All of them if `every`, else the first MOST_SHOWN of a kind."""
        for kind, faults in self.faults.items():
            shown = 0
            for fault in islice(faults, None if every else MOST_SHOWN):
                shown += 1
                yield fault_line(fault, name_file=self._files > 1)
            if shown < faults.count:
                ask = "" if every else " (--all lists them)"
                yield f"… and {faults.count - shown} more {kind}{ask}"
        yield self.summary()

    def summary(self) -> str:
        """`3 accounts, 10000 events, 8 missing, 2 doubled, 1 reordered, 0 altered`."""
        counts = [f"{self.faults[kind].events} {kind}" for kind in _ALWAYS]
        counts += [
            f"{faults.events} {kind}" for kind, faults in self.faults.items() if faults.events and kind not in _ALWAYS
        ]
        return ", ".join([_many(self.accounts, "account"), _many(self.recording.events, "event"), *counts])

    def notes(self) -> Iterator[str]:
        """What a person should know beside the faults."""
        recording, comparison = self.recording, self.comparison
        if not recording.events:
            yield "No event is recorded there, so there is nothing to hold against the log."
        for file, line in recording.torn:
            of_file = f"{escape(file)}, " if self._files > 1 else ""
            yield f"{of_file}line {line} was cut off in writing. An event that did not come again is missing."
        if recording.torn_count > len(recording.torn):
            yield f"So were {recording.torn_count - len(recording.torn)} lines before."
        if comparison is not None and comparison.is_another:
            yield "The log is another one than was recorded, or it was lost since and began anew."
        if self.absent:
            yield f"{_many(self.absent, 'event')} of the recording can't be compared: the log has them no longer."
        if comparison is not None and comparison.unchecked:
            yield (
                f"{_many(comparison.unchecked, 'event')} of the log were not checked for alterations: of a recording "
                "as long as this one, what the older events say can't be remembered."
            )

    def json(self, *, every: bool) -> bytes:
        """One JSON object with the same."""
        listed = [fault for faults in self.faults.values() for fault in islice(faults, None if every else MOST_SHOWN)]
        return msgspec.json.encode(
            {
                "Whole": self.whole,
                "Accounts": self.accounts,
                "Events": self.recording.events,
                **{kind.capitalize(): faults.events for kind, faults in self.faults.items()},
                "CutOff": self.recording.torn_count,
                "NoLongerInLog": self.absent,
                "Unchecked": 0 if self.comparison is None else self.comparison.unchecked,
                "Faults": listed,
                "Unlisted": sum(faults.count for faults in self.faults.values()) - len(listed),
            }
        )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
