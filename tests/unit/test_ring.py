"""The relay's ring: bounded, and exact about what a slow client missed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener import ring as module
from listener.ring import Cursor, Ring
from shared.frames import EventFrame, Gap, Lagging, Ready


def event(number: int, seq: int, account: int = 1, size: int = 0) -> EventFrame:
    line = f'{{"ID":{account},"Data":"{"x" * size}","Position":"p-{number}","Seq":{seq}}}'
    return EventFrame(account, seq, f"p-{number}", line.encode())


def fill(ring: Ring, numbers: Iterable[int], size: int = 0) -> None:
    ring.add(event(number, number, size=size) for number in numbers)


def take(cursor: Cursor) -> list[dict[str, Any]]:
    frames = []
    while lines := cursor.take():
        frames += [json.loads(line) for line in lines]
    return frames


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    """The Seqs that came or were said to be gone."""
    found: list[int] = []
    for frame in frames:
        if "Seq" in frame:
            found.append(frame["Seq"])
        elif frame["Frame"] == "gap":
            found += range(frame["FromSeq"], frame["ToSeq"] + 1)
    return found


def test_from_now_on_all_and_after_a_position() -> None:
    ring = Ring()
    assert take(ring.open_cursor(None, None)) == []  # the source is not there yet
    ring.add([Ready("r-0")])
    fill(ring, range(1, 6))
    ready = {"Frame": "ready", "Position": "p-5"}
    for since, expected in [
        (None, []),
        ("all", [1, 2, 3, 4, 5]),
        ("p-3", [4, 5]),
        ("r-0", [1, 2, 3, 4, 5]),
        ("p-5", []),
    ]:
        *events, last = take(ring.open_cursor(None, since))
        assert (seqs(events), last) == (expected, ready)
    assert take(ring.open_cursor(None, "p-9"))[0] == {"Frame": "gap", "Reason": "trimmed"}


def test_the_position_before_the_oldest_is_known() -> None:
    ring = Ring(limit=500)
    ring.add([Ready("r-0")])
    fill(ring, range(1, 101))
    oldest = seqs(take(ring.open_cursor(None, "all")))[0]
    assert oldest > 1
    assert take(ring.open_cursor(None, f"p-{oldest - 1}"))[0]["Seq"] == oldest
    assert take(ring.open_cursor(None, f"p-{oldest - 2}"))[0]["Frame"] == "gap"


def test_one_event_larger_than_the_ring_is_kept() -> None:
    ring = Ring(limit=100)
    cursor = ring.open_cursor(None, None)
    fill(ring, [1, 2], size=1000)
    assert seqs(take(cursor)) == [1, 2]


@given(
    sent=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.booleans()), max_size=80),
    wanted=st.none() | st.sets(st.integers(1, 3), min_size=1),
)
def test_each_event_comes_once_in_order_or_is_said_to_be_gone(
    sent: list[tuple[int, int, bool]], wanted: set[int] | None
) -> None:
    ring = Ring(limit=400)
    ring.add([Ready("r-0")])
    cursor = ring.open_cursor(wanted, None)
    last = {1: 0, 2: 0, 3: 0}
    got: list[dict[str, Any]] = []
    for number, (account, size, takes) in enumerate(sent, 1):
        last[account] += 1
        ring.add([event(number, last[account], account, size)])
        if takes:
            got += take(cursor)
    got += take(cursor)
    for account, seq in last.items():
        of_it = [frame for frame in got if frame.get("ID") == account]
        assert seqs(of_it) == (list(range(1, seq + 1)) if wanted is None or account in wanted else [])
    assert any(frame.get("Frame") == "ready" for frame in got)


def test_gaps_of_the_source_are_passed_on_and_missed_exactly() -> None:
    ring = Ring(limit=500)
    cursor = ring.open_cursor(None, None)
    ring.add([event(1, 1), Gap(account_id=1, from_seq=2, to_seq=5, reason="expired"), event(2, 6)])
    assert seqs(take(cursor)) == [1, 2, 3, 4, 5, 6]
    ring.add([Gap(account_id=1, from_seq=7, to_seq=9, reason="expired")])
    fill(ring, range(10, 40))
    assert seqs(take(cursor)) == list(range(7, 40))


def test_a_new_epoch_that_was_missed_is_told_first() -> None:
    ring = Ring(limit=500)
    cursor = ring.open_cursor(None, None)
    fill(ring, range(1, 4))
    ring.add([Gap(reason="epoch")])
    fill(ring, range(1, 40))
    first, *rest = take(cursor)
    assert first == {"Frame": "gap", "Reason": "epoch"}
    assert seqs(rest) == list(range(1, 40))


def test_lagging_and_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAGGING_FROM", 10)
    ring = Ring()
    ring.add([Ready("r-0")])
    cursor = ring.open_cursor({1}, None)
    assert [frame["Frame"] for frame in take(cursor)] == ["ready"]
    ring.add([event(1, 1, account=2)])
    fill(ring, range(1, 21))
    first, *rest, last = take(cursor)
    assert first == {"Frame": "lagging", "Behind": 20}
    assert seqs(rest) == list(range(1, 21))
    assert last["Frame"] == "ready"


def test_ready_is_not_said_while_the_source_is_away_or_behind() -> None:
    ring = Ring()
    ring.add([Ready("r-0")])
    ring.note_health(away=True)
    cursor = ring.open_cursor(None, None)
    assert take(cursor) == []
    ring.note_health(away=False)
    ring.add([Lagging(7)])
    assert take(cursor) == []
    ring.add([Ready("r-1")])
    assert take(cursor) == [{"Frame": "ready", "Position": "r-1"}]


def test_messages_are_bounded() -> None:
    ring = Ring()
    cursor = ring.open_cursor(None, None)
    fill(ring, range(1, 201), size=1000)
    while lines := cursor.take():
        assert sum(map(len, lines)) <= module.BATCH_BYTES


def test_too_many_accounts_to_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GAPS", 5)
    ring = Ring(limit=300)
    cursor = ring.open_cursor(None, None)
    ring.add(event(number, 1, account=number) for number in range(1, 100))
    assert take(cursor)[0] == {"Frame": "gap", "Reason": "trimmed"}
