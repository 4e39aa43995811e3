"""The verdict sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.records import Place, Record, Seen
from tests.faults.verdict import MAY_REPEAT, Verdict, judge
from tests.faults.writers import Sent, Writers

Log = list[Seen]


def seen(number: int, *, epoch: str = "e", seq: int | None = None, name: str = "", at: float = 0) -> Seen:
    return Seen(Place(epoch, number), 1, number if seq is None else seq, name or f"plain-{number}", at or number)


def verdict(change: Callable[[Log, Writers, Record], object], *, emptied: bool = False) -> Verdict:
    """What is said of three events, all well, but for what `change` does."""
    log = [seen(1), seen(2), seen(3)]
    writers = Writers("", {event.name: Sent(1, "accepted", f"e-0-{event.place.number}") for event in log})
    record = Record("follower", events=list(log))
    change(log, writers, record)
    return judge(log, writers, [record], emptied=emptied)


def kinds(found: Verdict) -> dict[str, int]:
    counts = {
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "disordered": len(found.disordered),
        "otherwise": len(found.otherwise),
        "repeated": found.repeated,
    }
    return {kind: count for kind, count in counts.items() if count}


def test_all_is_well() -> None:
    found = verdict(lambda log, writers, record: None)
    assert kinds(found) == {}
    assert found.clean


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda log, writers, record: (log.pop(), record.events.pop()), {"lost": 1}),
        (lambda log, writers, record: record.events.pop(), {"lost": 1}),
        (lambda log, writers, record: record.events.pop(1), {"lost": 1}),
        (lambda log, writers, record: log.append(seen(4, name="plain-1")), {"doubled": 1, "lost": 1}),
        (lambda log, writers, record: record.events.append(seen(3, at=9)), {"doubled": 1}),
        (lambda log, writers, record: record.events.insert(0, record.events.pop(1)), {"disordered": 1}),
        (lambda log, writers, record: record.events.append(seen(4)), {"otherwise": 1}),
        (lambda log, writers, record: record.gaps.append("a gap"), {"otherwise": 1}),
        (lambda log, writers, record: record.complaints.append("a complaint"), {"otherwise": 1}),
        (lambda log, writers, record: setattr(record, "epochs_told", 1), {"otherwise": 1}),
        (lambda log, writers, record: setattr(writers.sent["plain-2"], "outcome", "refused"), {"otherwise": 1}),
        (lambda log, writers, record: setattr(writers.sent["plain-2"], "outcome", "unknown"), {}),
        (lambda log, writers, record: setattr(writers.sent["plain-2"], "outcome", "under way"), {"otherwise": 1}),
        (lambda log, writers, record: setattr(writers.sent["plain-2"], "position", "e-0-7"), {"otherwise": 1}),
        (lambda log, writers, record: setattr(writers.sent["plain-2"], "position", "old-0-2"), {"lost": 1}),
        (lambda log, writers, record: writers.sent.update({"keyed-1": Sent(1, "unknown")}), {"otherwise": 1}),
        (lambda log, writers, record: log.append(replace(log[2], name="other")), {"otherwise": 2, "lost": 1}),
    ],
)
def test_what_is_wrong_is_seen(change: Callable[[Log, Writers, Record], object], expected: dict[str, int]) -> None:
    assert kinds(verdict(change)) == expected


def test_an_account_that_is_not_followed_is_not_missed() -> None:
    def change(log: Log, writers: Writers, record: Record) -> None:
        record.accounts = frozenset([2])
        record.events.clear()

    assert kinds(verdict(change)) == {}


def test_a_listener_may_repeat_what_it_wrote_just_before_it_was_killed() -> None:
    def change(log: Log, writers: Writers, record: Record) -> None:
        record.deaths.append(3 + MAY_REPEAT / 2)
        record.events += [seen(2, at=5), seen(3, at=5)]

    assert kinds(verdict(change)) == {"repeated": 1, "doubled": 1}


@pytest.mark.parametrize(("told", "expected"), [(0, {"lost": 1}), (1, {}), (2, {"otherwise": 1})])
def test_a_log_that_began_anew_is_told_once(told: int, expected: dict[str, int]) -> None:
    def change(log: Log, writers: Writers, record: Record) -> None:
        record.epochs_told = told
        record.events[:0] = [seen(7, epoch="old", seq=1, name="plain-0"), seen(9, epoch="old", seq=2, name="plain-7")]
        writers.sent["plain-0"] = Sent(1, "accepted", "old-0-7")

    assert kinds(verdict(change, emptied=True)) == expected


def test_a_log_that_is_over_does_not_come_back() -> None:
    def change(log: Log, writers: Writers, record: Record) -> None:
        record.epochs_told = 1
        record.events[:0] = [seen(7, epoch="old", seq=1, name="plain-0")]
        record.events.append(seen(8, epoch="old", seq=2, name="plain-9"))

    assert kinds(verdict(change, emptied=True)) == {"disordered": 1}


def test_a_hole_before_the_log_began_anew() -> None:
    def change(log: Log, writers: Writers, record: Record) -> None:
        record.epochs_told = 1
        record.events[:0] = [seen(7, epoch="old", seq=1, name="a"), seen(9, epoch="old", seq=3, name="b")]

    assert kinds(verdict(change, emptied=True)) == {"lost": 1}
