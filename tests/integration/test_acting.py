"""Commands of events in this process: what is waited for, what is started, and what counts when all ends."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
import trio.testing

from listener import acting
from listener.acting import Actions, open_acting
from listener.output import NoEvent
from listener.settings import Acting
from shared.errors import Misconfigured
from shared.frames import EventFrame

PATIENCE = 30.0
WAITS = 'echo "$EVENT_ID $EVENT_SEQ" >> acted; while ! [ -e go ]; do sleep 0.01; done; echo "$EVENT_SEQ" >> went'


class Seen:
    """What is said, and how far all is done."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.reached: list[str] = []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def seen() -> Seen:
    return Seen()


@asynccontextmanager
async def actions(seen: Seen, command: str, **settings: Any) -> AsyncIterator[Actions]:
    async with open_acting(
        Acting(exec=command, shell=True, **settings), seen.notes.append, seen.reached.append
    ) as opened:
        yield opened


def event(number: int, account: int = 1, data: str = "x") -> EventFrame:
    head = f'{{"ID":{account},"Timestamp":"2021-02-06T17:35:30Z","Data":"{data}","Host":"h"'
    return EventFrame(account, number, f"p{number}", f'{head},"Position":"p{number}","Seq":{number}}}'.encode())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def acted(here: Path, count: int) -> None:
    with trio.fail_after(PATIENCE):
        while len(lines(here / "acted")) < count:
            await trio.sleep(0.01)


async def test_leaving_waits_until_all_is_done(here: Path, seen: Seen) -> None:
    async with actions(seen, 'echo "$EVENT_SEQ" >> acted') as opened:
        for number in range(1, 4):
            await opened.take(event(number))
        opened.pass_by("r")
        await opened.finish()
        assert seen.reached[-1] == "r"
        await opened.take(event(4))
    assert lines(here / "acted") == ["1", "2", "3", "4"]
    assert (seen.reached[-1], seen.notes) == ("p4", [])


async def test_what_is_passed_by_counts_once_all_before_it_is_done(here: Path, seen: Seen) -> None:
    async with actions(seen, WAITS) as opened:
        opened.pass_by("p0")
        await opened.take(event(1))
        opened.pass_by("p2")
        opened.pass_by("p3")
        assert seen.reached == ["p0"]
        (here / "go").touch()
    assert seen.reached == ["p0", "p3"]


async def test_what_is_no_event_is_not_taken(here: Path, seen: Seen) -> None:
    async with actions(seen, "true") as opened:
        with pytest.raises(NoEvent):
            await opened.take(EventFrame(1, 1, "p1", b'{"ID":1}'))
    assert seen.reached == []


@pytest.mark.parametrize(("concurrency", "size", "most"), [(1, 200, 1), (2, 200, 1000), (2, 4 << 20, 4)])
async def test_so_many_are_taken_and_no_more(here: Path, seen: Seen, concurrency: int, size: int, most: int) -> None:
    taken = 0
    with trio.CancelScope() as scope:
        async with actions(seen, WAITS, concurrency=concurrency) as opened, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def take() -> None:
                nonlocal taken
                while True:
                    await opened.take(event(taken + 1, data="x" * (size - 100)))
                    taken += 1

            await acted(here, 1)
            while taken < most:
                await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert taken == most
            assert lines(here / "acted") == ["1 1"]
            (here / "go").touch()
            await acted(here, 2)
            with trio.fail_after(PATIENCE):
                while taken == most:
                    await trio.sleep(0.01)
            scope.cancel()
    assert seen.reached[0] == "p1"


async def test_cancelled_what_runs_is_ended_and_nothing_begun(
    here: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "FINISH_WITHIN", 0.3)
    with trio.CancelScope() as scope:
        async with actions(seen, f"echo $$ >> pids; {WAITS}", concurrency=2) as opened:
            for number, account in [(1, 1), (2, 1), (3, 2), (4, 3)]:
                await opened.take(event(number, account))
            await acted(here, 2)
            scope.cancel()
            await trio.sleep_forever()
    assert seen.notes == ["Waiting up to 0.3 s for the 2 commands that run."]
    assert len(lines(here / "acted")) == 2
    assert set(lines(here / "acted")) < {"1 1", "2 3", "3 4"}  # which two of the three is left to chance
    assert not any(psutil.pid_exists(int(pid)) for pid in lines(here / "pids"))
    assert seen.reached == []


async def test_cancelled_what_comes_to_its_end_counts(here: Path, seen: Seen) -> None:
    with trio.CancelScope() as scope:
        async with actions(seen, WAITS, concurrency=2) as opened:
            for number, account in [(1, 1), (2, 1), (3, 2)]:
                await opened.take(event(number, account))
            await acted(here, 2)
            scope.cancel()
            (here / "go").touch()
            await trio.sleep_forever()
    assert sorted(lines(here / "went")) == ["1", "3"]
    assert seen.reached == ["p1"]


async def test_cancelled_between_two_tries(here: Path, seen: Seen) -> None:
    with trio.CancelScope() as scope:
        async with actions(seen, 'echo "$EVENT_ATTEMPT" >> acted; exit 1', retries=1000) as opened:
            await opened.take(event(1))
            await acted(here, 1)
            with trio.fail_after(PATIENCE):
                while not seen.notes:
                    await trio.sleep(0.01)
            scope.cancel()
            await trio.sleep_forever()
    assert seen.notes == ["! account 1, event 1: exit status 1 (try 1 of 1001)"]
    assert lines(here / "acted") == ["1"]


async def test_so_many_files_may_not_be_open(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 1024))
    with pytest.raises(Misconfigured, match="Expected 308 at most, or a higher limit: ulimit -n"):
        async with actions(seen, "true", concurrency=309):
            pass
    async with actions(seen, "true", concurrency=308):
        pass
