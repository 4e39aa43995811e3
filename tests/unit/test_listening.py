"""From frames to lines, and the Position that is reached with each."""

from __future__ import annotations

import pytest
import trio

from listener.listening import Listening, Screen
from listener.settings import Choosing, Ending, Showing
from listener.status import Status
from listener.terminal import STDERR, STDOUT, finish
from shared.frames import Bye, Error, EventFrame, Frame, Gap, Lagging, Ready


def event(number: int, data: str = '"x"') -> EventFrame:
    line = f'{{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":{data},"Host":"h"}}'
    return EventFrame(1, number, f"p-{number}", line.encode())


Lines = tuple[int, list[str | bytes], str | None]


def draw(screen: Screen, *frames: Frame) -> list[Lines]:
    """What is written where, and the Position that is reached with it."""
    return [(drawn.to, drawn.lines, drawn.reached) for drawn in screen.draw(frames)]


def screen_of(accounts: set[int] | None = None, **settings: object) -> Screen:
    job = Listening(accounts, **{"showing": Showing(format="json"), **settings})  # type: ignore[arg-type]
    return Screen(job, announce_to=STDERR)


async def test_events_and_the_rest_are_written_in_order(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of({1})
    gap = Gap(account_id=1, from_seq=3, to_seq=4, reason="trimmed")
    frames = [event(1), event(2), gap, event(5), Ready("r"), Bye("shutdown", True), event(6), Ready("s")]
    assert draw(screen, *frames) == [
        (STDOUT, [event(1).line, event(2).line], "p-2"),
        (STDERR, ["! account 1: events 3 to 4 are gone (trimmed)"], None),
        (STDOUT, [event(5).line], "p-5"),
        (STDERR, ["listening for events from: [1]"], "r"),
        (STDOUT, [event(6).line], "p-6"),
        (STDERR, [], "s"),
    ]


async def test_lagging_is_said_now_and_then(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of()
    assert len(draw(screen, *[Lagging(5)] * 10)) == 1
    await trio.sleep(6)
    assert draw(screen, Lagging(4)) == [(STDERR, ["! 4 events behind, catching up"], None)]


async def test_what_can_not_be_shown_is_passed_by(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of()
    [drawn] = draw(screen, EventFrame(1, 1, "p-1", b"{"), Error(account_id=9, detail="no\x1b"))
    to, lines, reached = drawn
    assert to == STDERR
    assert "no event" in str(lines[0])
    assert lines[1] == "! account 9: no\\x1b"
    assert reached == "p-1"


async def test_what_is_not_wanted_is_not_written_but_passed(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of(choosing=Choosing(where="Data > 2"))
    frames = [event(number, str(number)) for number in range(1, 5)]
    assert draw(screen, *frames) == [(STDOUT, [frames[2].line, frames[3].line], "p-4")]
    assert draw(screen, event(5, "1")) == [(STDOUT, [], "p-5")]


async def test_the_count_ends_within_a_batch_and_the_rest_is_left(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of(ending=Ending(count=2))
    assert draw(screen, event(1), event(2), event(3)) == [(STDOUT, [event(1).line, event(2).line], "p-2")]
    assert screen.ends.over is Status.DONE
    assert screen.ends.stop() is None


async def test_the_expected_event_ends_it(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of(ending=Ending(expect="Data == 2", count=3))
    assert draw(screen, event(1, "1"), event(2, "2"), event(3, "3"))[0][2] == "p-2"
    assert screen.ends.stop() is None
    screen = screen_of(ending=Ending(expect="Data == 7", count=2))
    draw(screen, event(1, "1"), event(2, "2"), event(3, "3"))
    stop = screen.ends.stop()
    assert stop is not None
    assert stop.status is Status.FAULT
    assert "Data == 7" in stop.text


async def test_a_gap_ends_it_if_that_is_strict(autojump_clock: trio.abc.Clock) -> None:
    gap = Gap(account_id=1, from_seq=2, to_seq=4, reason="trimmed")
    screen = screen_of(ending=Ending(strict=True))
    assert draw(screen, event(1), gap, event(5)) == [
        (STDOUT, [event(1).line], "p-1"),
        (STDERR, ["! account 1: events 2 to 4 are gone (trimmed)"], None),
    ]
    stop = screen.ends.stop()
    assert stop is not None
    assert stop.status is Status.GAP
    assert "events 2 to 4" in stop.text
    draw(screen_of(), gap)


async def test_nothing_is_written_in_quiet(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of(showing=Showing(format="csv", quiet=True), ending=Ending(count=1))
    assert draw(screen, event(1)) == [(STDOUT, [], "p-1")]
    assert screen.ends.over is Status.DONE


async def test_csv_has_one_head(autojump_clock: trio.abc.Clock) -> None:
    screen = screen_of(showing=Showing(format="csv"))
    [(_, lines, _)] = draw(screen, event(1), event(2))
    assert [str(line).split("\n")[0][:3] for line in lines] == ["ID,", "1,2"]


@pytest.mark.parametrize(("takes", "finished"), [(0.3, True), (30, False)])
async def test_what_is_under_way_is_finished_but_not_for_ever(
    autojump_clock: trio.abc.Clock, takes: float, finished: bool
) -> None:
    done = []

    async def action() -> None:
        await trio.sleep(takes)
        done.append(True)

    began = trio.current_time()
    with trio.move_on_after(0.1) as scope:
        await finish(action, within=0.5)
    assert scope.cancelled_caught
    assert bool(done) == finished
    assert trio.current_time() - began < 1
    await finish(action, within=0.5)
    assert done
