"""Where to end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio

from listener.decoded import decode
from listener.ending import LATE, Ends, parse_until
from listener.settings import Ending
from listener.status import Status
from shared.errors import Misconfigured
from shared.frames import EventFrame, Ready

EPOCH = "6b9522b15de7"
NOW = datetime(2026, 11, 23, 17, 35, 30, tzinfo=UTC)


def event(number: int, timestamp: str = "2026-11-23T17:35:30Z") -> EventFrame:
    position = f"{EPOCH}-0-{number}"
    line = f'{{"ID":7,"Timestamp":"{timestamp}","Data":1,"Host":"h","Position":"{position}","Seq":{number}}}'
    return EventFrame(7, number, position, line.encode())


def excludes(ends: Ends, frame: EventFrame) -> bool:
    return ends.excludes(frame, decode(frame.line))


def ends_at(text: str) -> Ends:
    return Ends(Ending(until=text), now=lambda: NOW)


async def test_now_is_when_all_was_caught_up(autojump_clock: trio.abc.Clock) -> None:
    ends = ends_at("now")
    assert not excludes(ends, event(5))
    assert ends.over is None
    ends.note(Ready(event(5).position))
    assert ends.over is Status.DONE


async def test_a_position_is_included(autojump_clock: trio.abc.Clock) -> None:
    ends = ends_at(f"{EPOCH}-0-5")
    assert not excludes(ends, event(5))
    assert excludes(ends, event(6))
    assert ends.over is Status.DONE
    ends = ends_at(f"{EPOCH}-0-5")
    ends.note(Ready(f"{EPOCH}-0-4"))
    assert ends.over is None
    ends.note(Ready(f"{EPOCH}-0-5"))
    assert ends.over is Status.DONE


async def test_a_position_of_another_log_is_said_to_be_one(autojump_clock: trio.abc.Clock) -> None:
    ends = ends_at("000000000000-0-5")
    ends.note(Ready("start-0-0"))  # a log that was never written to
    with pytest.raises(Misconfigured, match="no Position of this log"):
        excludes(ends, event(1))


async def test_a_time_ends_before_the_first_event_that_is_later(autojump_clock: trio.abc.Clock) -> None:
    ends = ends_at("2026-11-23T17:35:30Z")
    assert not excludes(ends, event(1))
    assert excludes(ends, event(2, "2026-11-23T17:35:30.000001Z"))
    assert ends.over is Status.DONE


@pytest.mark.parametrize(("text", "seconds"), [("+30s", 30), ("2026-11-23T17:35:40Z", 10), ("10m", -600)])
async def test_a_time_ends_a_quiet_stream_too(autojump_clock: trio.abc.Clock, text: str, seconds: float) -> None:
    began = trio.current_time()
    ends = ends_at(text)
    assert ends.deadline == float("inf")  # who is not caught up may lack something
    ends.note(Ready("start-0-0"))
    assert max(ends.deadline, began) == max(began + seconds + LATE, began)
    assert (ends.over is Status.DONE) == (seconds < 0)


async def test_after_an_outage_it_waits_for_what_was_missed(autojump_clock: trio.abc.Clock) -> None:
    ends = ends_at("+30s")
    ends.note(Ready("start-0-0"))
    ends.note_health(away=True)
    assert ends.deadline == float("inf")
    await trio.sleep(100)
    ends.note_health(away=False)
    assert ends.deadline == trio.current_time() + LATE


@pytest.mark.parametrize("text", ["", "tomorrow", "+", "+x", "+999999999d", "2026-11-23", "all of it", "\x1b"])
async def test_what_is_no_place(autojump_clock: trio.abc.Clock, text: str) -> None:
    with pytest.raises(Misconfigured, match="no place to end"):
        parse_until(text, NOW)
