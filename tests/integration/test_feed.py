"""Followers on a real Redis: whatever happens to them, each event comes once and in order."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
import redis
import trio

from shared import events
from shared.appending import Appended
from shared.errors import OutcomeUnknown, Refused, Unavailable
from shared.feed import Feed, Follower
from shared.frames import EventFrame, Frame, Gap, Lagging, Ready
from shared.log import EventLog
from shared.position import START, Since, parse_position
from shared.supervision import Health, supervise
from tests.integration.fragile import fragile_servers

ACCOUNTS = range(1, 6)


class System:
    """A log with a feed, a writer that knows what it wrote, and followers that keep what they got."""

    def __init__(self, url: str, *, follower_bytes: int = 1 << 20, keep: int = 100_000) -> None:
        self.log = EventLog(url, "host", keep=keep)
        self.feed = Feed(url, self.log, follower_bytes=follower_bytes)
        self.reports: list[str | None] = []
        self.written: list[tuple[int, int]] = []  # account, Seq
        self._batches = count(1)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(supervise, self.log.run, Health("log", lambda part, reason: None))
            await nursery.start(
                supervise, self.feed.run, Health("feed", lambda part, reason: self.reports.append(reason))
            )
            task_status.started()

    async def write(self, *accounts: int, data: bytes = b'"x"') -> None:
        """Append a batch, however long it takes."""
        drafts = [events.draft(account, data, time.time_ns()) for account in accounts]
        number = next(self._batches)
        while True:
            try:
                outcomes = await self.log.append(drafts, number)
                break
            except (Unavailable, OutcomeUnknown):
                await trio.sleep(0.05)
        for account, outcome in zip(accounts, outcomes, strict=True):
            assert isinstance(outcome, Appended)
            self.written.append((account, outcome.seq))

    def of(self, accounts: Iterable[int] | None) -> list[tuple[int, int]]:
        return [item for item in self.written if accounts is None or item[0] in accounts]


class Reader:
    """Takes a follower's frames; `lines` are its events as (account, Seq)."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.frames: list[Frame] = []
        self.lines: list[tuple[int, int]] = []

    async def run(self, pause: float = 0) -> None:
        while True:
            self.take(await self.follower.receive())
            if pause:
                await trio.sleep(pause)

    def take(self, frames: list[Frame]) -> None:
        assert frames
        self.frames += frames
        self.lines += [(frame.account_id, frame.seq) for frame in frames if isinstance(frame, EventFrame)]

    async def until(self, kind: type[Frame]) -> Frame:
        with trio.fail_after(20):
            while True:
                frames = await self.follower.receive()
                self.take(frames)
                for frame in frames:
                    if isinstance(frame, kind):
                        return frame

    async def until_written(self, expected: list[tuple[int, int]]) -> None:
        with trio.fail_after(60):
            while len(self.lines) < len(expected):
                self.take(await self.follower.receive())
        assert self.lines == expected

    @property
    def gaps(self) -> list[Gap]:
        return [frame for frame in self.frames if isinstance(frame, Gap)]


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
async def system(redis_url: str, nursery: trio.Nursery) -> AsyncIterator[System]:
    system = System(redis_url)
    await nursery.start(system.run)
    yield system
    assert system.feed.followers == 0
    nursery.cancel_scope.cancel()


@asynccontextmanager
async def following(
    system: System, accounts: Iterable[int] | None, since: Since | None = None
) -> AsyncIterator[Reader]:
    async with system.feed.follow(accounts, since) as follower:
        yield Reader(follower)


@pytest.mark.parametrize("accounts", [[1], [1, 2], None])
async def test_from_now_on(system: System, accounts: list[int] | None) -> None:
    await system.write(1, 2, 1)
    async with following(system, accounts) as reader:
        await system.write(2, 1)
        ready = await reader.until(Ready)
        assert isinstance(ready, Ready)
        position = parse_position(ready.position)
        await system.write(1, 3, 2)
        await reader.until_written([item for item in system.of(accounts) if item not in system.written[:3]])
    async with following(system, accounts, position) as reader:
        await reader.until_written([item for item in system.written[5:] if accounts is None or item[0] in accounts])


async def test_from_the_start_and_on(system: System) -> None:
    await system.write(*[1, 2, 3] * 200)
    async with following(system, [1, 3], START) as reader:
        await reader.until(Ready)
        assert reader.lines == system.of([1, 3])
        await system.write(1, 2, 3)
        await reader.until_written(system.of([1, 3]))


async def test_any_position_resumes_exactly(system: System) -> None:
    await system.write(*random.choices(ACCOUNTS, k=300))
    async with following(system, None, START) as reader:
        await reader.until(Ready)
    frames = [frame for frame in reader.frames if isinstance(frame, EventFrame)]
    for at in random.sample(range(300), 20):
        async with following(system, [1, 2, 3], parse_position(frames[at].position)) as reader:
            await reader.until(Ready)
        assert reader.lines == [item for item in system.written[at + 1 :] if item[0] in (1, 2, 3)]


async def test_followers_come_and_go_while_events_flow(system: System, nursery: trio.Nursery) -> None:
    """The seam: each follower starts somewhere, with some accounts, and must end with exactly what is in the log."""
    chance = random.Random(1)
    done = trio.Event()

    async def write() -> None:
        for _ in range(400):
            await system.write(*chance.choices(ACCOUNTS, k=chance.randint(1, 10)))
            await trio.sleep(chance.random() * 0.002)
        done.set()

    async def follow(number: int) -> None:
        await trio.sleep(chance.random())
        accounts = None if number % 4 == 0 else chance.sample(ACCOUNTS, chance.randint(1, 5))
        async with following(system, accounts, START) as reader:
            with trio.move_on_after(chance.random()):
                await reader.run(pause=chance.choice([0, 0.01]))
        seen = [frame.position for frame in reader.frames if isinstance(frame, EventFrame | Ready)]
        async with following(system, accounts, parse_position(seen[-1]) if seen else START) as resumed:
            resumed.lines = reader.lines
            with trio.move_on_after(0.01) as cancelled:
                await resumed.run()
            assert cancelled.cancelled_caught
            await done.wait()
            await resumed.until_written(system.of(accounts))

    async with trio.open_nursery() as tasks:
        tasks.start_soon(write)
        for number in range(40):
            tasks.start_soon(follow, number)


async def test_a_follower_that_is_too_slow_lags_and_loses_nothing(redis_url: str, nursery: trio.Nursery) -> None:
    system = System(redis_url, follower_bytes=64 * 1024)
    await nursery.start(system.run)
    async with following(system, [1]) as slow, following(system, [1, 2]) as quick:
        await slow.until(Ready)
        await quick.until(Ready)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(quick.run)
            for written in range(20, 2001, 20):
                await system.write(*[1, 2] * 10, data=b'"' + b"x" * 500 + b'"')
                while len(quick.lines) < written:
                    await trio.sleep(0.001)
            tasks.cancel_scope.cancel()
        assert slow.follower._bytes <= 64 * 1024 + 1000
        lagging = await slow.until(Lagging)
        assert isinstance(lagging, Lagging)
        assert lagging.behind == 1000 - len(slow.lines)
        await slow.until(Ready)
        await slow.until_written(system.of([1]))
        assert quick.lines == system.written
        assert not any(isinstance(frame, Lagging) for frame in quick.frames)
    nursery.cancel_scope.cancel()


async def test_a_follower_that_the_log_has_left_behind_gets_a_gap(redis_url: str, nursery: trio.Nursery) -> None:
    system = System(redis_url, follower_bytes=64 * 1024, keep=50)
    await nursery.start(system.run)
    async with following(system, [1]) as slow:
        await system.write(1)
        await slow.until(Ready)
        for _ in range(100):
            await system.write(*[1] * 10, data=b'"' + b"x" * 500 + b'"')
        await slow.until(Lagging)
        await slow.until(Ready)
        [gap] = slow.gaps
        assert (gap.account_id, gap.from_seq, gap.to_seq, gap.reason) == (1, 2, 951, "trimmed")
        assert slow.lines == [(1, 1), *[(1, seq) for seq in range(952, 1002)]]
    nursery.cancel_scope.cancel()


async def test_a_lost_subscription_leaves_no_hole(system: System, store: Any) -> None:
    async with following(system, [1, 2]) as reader, following(system, None) as other, trio.open_nursery() as tasks:
        tasks.start_soon(reader.run)
        tasks.start_soon(other.run)
        for number in range(300):
            await system.write(*random.choices(ACCOUNTS, k=5))
            if number % 60 == 30:
                store.client_kill_filter(_type="pubsub")
        with trio.fail_after(20):
            while len(other.lines) < len(system.written) or len(reader.lines) < len(system.of([1, 2])):
                await trio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert reader.lines == system.of([1, 2])
    assert other.lines == system.written
    assert system.reports.count(None) >= 1


async def test_events_that_were_not_published_are_filled_in(system: System, store: Any) -> None:
    """A message that Redis never sent shows when the next one of its account comes."""
    async with following(system, [1]) as reader, following(system, None) as other:
        await system.write(1)
        await reader.until_written(system.of([1]))
        await other.until_written(system.written)
        store.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset_channels=True)
        await system.write(1, 2, 1)
        store.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"], channels=["*"])
        await system.write(1)
        await reader.until_written(system.of([1]))
        await other.until_written(system.written)


async def test_a_log_that_was_emptied_under_its_followers(system: System, store: Any) -> None:
    async with following(system, [1]) as reader, following(system, None) as other:
        await system.write(1, 2)
        await reader.until_written([(1, 1)])
        await other.until_written(system.written)
        store.flushall()
        system.written.clear()
        await system.write(3, 2, 1, 1)
        for one, expected in ((reader, [(1, 1), (1, 2)]), (other, system.written)):
            one.lines.clear()
            await one.until_written(expected)
            assert [gap.reason for gap in one.gaps] == ["epoch"]


async def test_messages_that_are_no_events_are_skipped(system: System, store: Any) -> None:
    async with following(system, [1]) as reader, following(system, None) as other:
        await reader.until(Ready)
        await other.until(Ready)
        for junk in (b"", b"{", b"\xff", b'{"ID":2,"Position":"a-0-1","Seq":1}', b'{"ID":1,"Position":"x","Seq":1}'):
            store.publish("events:1", junk)
        store.publish("events:junk", "x")
        await system.write(1)
        await reader.until_written([(1, 1)])
        await other.until_written([(1, 1)])
        assert system.feed.skipped == 11


async def test_follow_and_unfollow(system: System) -> None:
    await system.write(1, 2, 3)
    async with following(system, [1]) as reader:
        await reader.until(Ready)
        await system.write(1, 2)
        reader.follower.follow([2, 3])
        await reader.until(Ready)
        await system.write(1, 2, 3, 4)
        with trio.fail_after(10):
            while len(reader.lines) < 4:
                reader.take(await reader.follower.receive())
        assert reader.lines == [(1, 2), (1, 3), (2, 3), (3, 2)]
        reader.follower.unfollow([1, 3, 4])
        await system.write(1, 2, 3)
        reader.lines.clear()
        await reader.until_written([(2, 4)])
        reader.follower.follow([1])
        await reader.until(Ready)
        await system.write(1, 3, 2)
        reader.lines.clear()
        await reader.until_written([(1, 5), (2, 5)])
        assert not reader.gaps
    async with following(system, None) as reader:
        with pytest.raises(Refused):
            reader.follower.follow([1])
        with pytest.raises(Refused):
            reader.follower.unfollow([1])
    async with following(system, []) as reader:
        await reader.until(Ready)
        reader.follower.follow([1])
        await reader.until(Ready)
        await system.write(1)
        await reader.until_written([(1, 6)])


async def test_a_cancelled_receive_takes_nothing_away(system: System) -> None:
    async with following(system, [1], START) as reader:
        for number in range(200):
            await system.write(1)
            with trio.move_on_after(number * 0.00002):
                reader.take(await reader.follower.receive())
        await reader.until_written(system.written)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_redis_goes_away_and_comes_back(fault: str) -> None:
    async with fragile_servers() as (_, server), trio.open_nursery() as nursery:
        await server.start()
        system = System(server.url)
        await nursery.start(system.run)
        async with following(system, [1, 2]) as reader, following(system, None) as other:
            stop, stopped = trio.Event(), trio.Event()

            async def write() -> None:
                while not stop.is_set():
                    await system.write(*random.choices(ACCOUNTS, k=5))
                    await trio.sleep(0.005)
                stopped.set()

            async with trio.open_nursery() as tasks:
                tasks.start_soon(reader.run)
                tasks.start_soon(other.run)
                tasks.start_soon(write)
                await trio.sleep(0.5)
                if fault == "kill":
                    await server.kill()
                    await server.start()
                else:
                    server.freeze()
                    with trio.fail_after(11):
                        while not system.reports:
                            await trio.sleep(0.05)
                    server.thaw()
                seen = len(other.lines)
                with trio.fail_after(20):
                    while len(other.lines) < seen + 100:
                        await trio.sleep(0.05)
                stop.set()
                await stopped.wait()
                with trio.fail_after(20):
                    while len(other.lines) < len(system.written) or len(reader.lines) < len(system.of([1, 2])):
                        await trio.sleep(0.05)
                tasks.cancel_scope.cancel()
        assert reader.lines == system.of([1, 2])
        assert other.lines == system.written
        assert not reader.gaps
        assert not other.gaps
        nursery.cancel_scope.cancel()
