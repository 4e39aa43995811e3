"""What a listener has received: nothing twice, nothing left out."""

from __future__ import annotations

import pytest

from listener import received
from listener.received import Received, is_position
from shared.frames import Bye, EventFrame, Frame, Gap, Ready


def event(seq: int, account: int = 1) -> EventFrame:
    return EventFrame(account, seq, f"p.{account}.{seq}", b"")


def gap(first: int, last: int, account: int = 1) -> Gap:
    return Gap(account_id=account, from_seq=first, to_seq=last, reason="expired")


def test_doubles_are_left_out_account_by_account() -> None:
    seen = Received()
    frames = [event(1), event(2), event(1, 2), event(2), event(1), event(3)]
    assert [seen.note(frame) for frame in frames] == [event(1), event(2), event(1, 2), None, None, event(3)]
    assert seen.position == "p.1.3"


@pytest.mark.parametrize(
    ("told", "new"),
    [
        (gap(1, 9), gap(6, 9)),
        (gap(6, 9), gap(6, 9)),
        (gap(1, 5), None),
        (gap(8, 9), gap(8, 9)),
        (gap(1, 9, 2), gap(1, 9, 2)),
    ],
)
def test_a_gap_is_clipped_to_what_was_not_received(told: Gap, new: Gap | None) -> None:
    seen = Received()
    seen.note(event(5))
    assert seen.note(told) == new


def test_after_a_gap_comes_what_is_behind_it() -> None:
    seen = Received()
    frames: list[Frame] = [gap(1, 5), event(5), event(6)]
    assert [seen.note(frame) for frame in frames] == [gap(1, 5), None, event(6)]


@pytest.mark.parametrize("reason", ["epoch", "trimmed"])
def test_a_gap_without_account_forgets_the_seqs(reason: str) -> None:
    seen = Received()
    frames: list[Frame] = [event(5), Gap(reason=reason), event(1), event(1), event(2)]
    assert [seen.note(frame) for frame in frames] == [*frames[:3], None, event(2)]


def test_what_has_no_number_passes() -> None:
    seen = Received()
    frames: list[Frame] = [Ready("r.1"), Bye("shutdown", True), Gap(account_id=1, reason="damaged")]
    assert [seen.note(frame) for frame in frames] == frames
    assert seen.position == "r.1"


def test_a_position_that_cannot_be_one_is_not_kept() -> None:
    seen = Received()
    seen.note(Ready("a\nb"))
    seen.note(EventFrame(1, 1, "", b""))
    assert seen.position is None
    assert not is_position("x" * 201)


def test_it_remembers_only_so_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MAX_ACCOUNTS", 2)
    seen = Received()
    for frame in (event(1, 1), event(1, 2), event(2, 1), event(1, 3)):
        seen.note(frame)
    assert seen.note(event(2, 1)) is None
    assert seen.note(event(1, 2)) is not None  # quiet longest, and forgotten
