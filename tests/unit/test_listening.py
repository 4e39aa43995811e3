"""From frames to lines, and the Position that is reached with each."""

from __future__ import annotations

import pytest
import trio

from listener.listening import Drawn, Screen
from listener.terminal import STDERR, STDOUT, finish
from shared.frames import Bye, Error, EventFrame, Frame, Gap, Lagging, Ready


def event(number: int, data: str = '"x"') -> EventFrame:
    line = f'{{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":{data},"Host":"h"}}'
    return EventFrame(1, number, f"p-{number}", line.encode())


def draw(screen: Screen, *frames: Frame) -> list[Drawn]:
    return list(screen.draw(frames))


async def test_events_and_the_rest_are_written_in_order(autojump_clock: trio.abc.Clock) -> None:
    screen = Screen({1}, announce_to=STDERR, json=True, safe=False)
    gap = Gap(account_id=1, from_seq=3, to_seq=4, reason="trimmed")
    frames = [event(1), event(2), gap, event(5), Ready("r"), Bye("shutdown", True), event(6), Ready("s")]
    assert draw(screen, *frames) == [
        Drawn(STDOUT, [event(1).line, event(2).line], "p-2"),
        Drawn(STDERR, ["! account 1: events 3 to 4 are gone (trimmed)"], None),
        Drawn(STDOUT, [event(5).line], "p-5"),
        Drawn(STDERR, ["listening for events from: [1]"], "r"),
        Drawn(STDOUT, [event(6).line], "p-6"),
        Drawn(STDERR, [], "s"),
    ]


async def test_lagging_is_said_now_and_then(autojump_clock: trio.abc.Clock) -> None:
    screen = Screen(None, announce_to=STDERR, json=False, safe=True)
    assert len(draw(screen, *[Lagging(5)] * 10)) == 1
    await trio.sleep(6)
    assert draw(screen, Lagging(4)) == [Drawn(STDERR, ["! 4 events behind, catching up"], None)]


async def test_what_can_not_be_shown_is_passed_by(autojump_clock: trio.abc.Clock) -> None:
    screen = Screen(None, announce_to=STDERR, json=False, safe=True)
    [drawn] = draw(screen, EventFrame(1, 1, "p-1", b"{"), Error(account_id=9, detail="no\x1b"))
    assert drawn.to == STDERR
    assert "no event" in str(drawn.lines[0])
    assert drawn.lines[1] == "! account 9: no\\x1b"
    assert drawn.reached == "p-1"


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
