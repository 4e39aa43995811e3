"""What can be wrong with a recording: a bounded list of each kind, and exact counts."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from listener.output import escape

MOST_KEPT = 100_000
"""How many faults of a kind are kept to be listed. All are counted."""


class Kind(enum.StrEnum):
    """Kinds of faults, the worst first."""

    MISSING = "missing"
    """The log has, or had, events that the recording has not."""
    ALTERED = "altered"
    """The log has something else under the same ID and Seq."""
    FOREIGN = "foreign"
    """The log never had it: it is of another log, or of one that was lost."""
    UNREADABLE = "unreadable"
    """A line is neither an event nor another frame."""
    DOUBLED = "doubled"
    """An event is there again."""
    REORDERED = "reordered"
    """An event comes after one of a higher Seq of its account."""
    TOLD = "told"
    """A gap: missing, and the recording itself says so."""


class Fault(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One fault, of one event or of several that follow each other."""

    kind: Kind = msgspec.field(name="Fault")
    account_id: int | None = msgspec.field(name="ID", default=None)
    from_seq: int | None = None
    to_seq: int | None = None
    events: int = 0
    after: int | None = None
    """The higher Seq that came before, of a reordered one."""
    gone: int | None = None
    """How many of the missing ones the log has no longer; None where it can't be asked."""
    epoch: str | None = None
    """Which log, if it is not the one that it is compared with."""
    file: str | None = None
    line: int | None = None
    """Where it begins."""
    to_line: int | None = None
    """Where unreadable lines end."""
    reason: str | None = None


class Faults:
    """The faults of one kind."""

    def __init__(self) -> None:
        self.events = 0
        """How many events, or lines, they are in all."""
        self.count = 0
        self._kept: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._kept)

    def add(self, fault: Fault) -> None:
        """Put one in."""
        self.count += 1
        self.events += fault.events
        if self.count <= MOST_KEPT:
            self._kept.append(fault)

    def add_one_more(self, fault: Fault) -> None:
        """Let one that is in already go on for one more event, or line."""
        self.events += 1
        fault.events += 1


def fault_line(fault: Fault, *, name_file: bool) -> str:
    """A fault as people read it: `account 7: missing 12 to 19 (8 events)`. Safe to show."""
    of_file = f"{escape(fault.file or '')} " if name_file else ""
    if fault.kind is Kind.UNREADABLE:
        lines = f"line {fault.line}" if fault.to_line == fault.line else f"lines {fault.line} to {fault.to_line}"
        return f"{of_file}{lines}: no event ({escape(fault.reason or '')})"
    kind = "told missing" if fault.kind is Kind.TOLD else fault.kind
    seqs = f"{fault.from_seq}" if fault.from_seq == fault.to_seq else f"{fault.from_seq} to {fault.to_seq}"
    after = "" if fault.after is None else f" after {fault.after}"
    notes = list(_notes(fault))
    if fault.line is not None:
        notes.append(f"{of_file}line {fault.line}")
    return f"account {fault.account_id}: {kind} {seqs}{after}" + (f" ({', '.join(notes)})" if notes else "")


def _notes(fault: Fault) -> Iterator[str]:
    if fault.kind is Kind.DOUBLED:
        yield f"{fault.events} more"
    elif fault.kind in (Kind.MISSING, Kind.TOLD, Kind.FOREIGN) or fault.events > 1:
        yield f"{fault.events} event{'s' if fault.events > 1 else ''}"
    if fault.gone:
        which = "" if fault.gone == fault.events else f"{fault.gone} of them "
        yield f"{which}no longer in the log"
    if fault.epoch is not None:
        yield f"of the log {fault.epoch}"
