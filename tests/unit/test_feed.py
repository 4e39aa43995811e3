"""The feed's subscription on virtual time, with a connection that answers as told, and a log that is always there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
import redis.exceptions
import trio
import trio.testing

from shared.errors import Misconfigured, Unavailable
from shared.feed import PING_EVERY, Feed
from shared.frames import EventFrame, Ready
from shared.position import Position, Since
from shared.reading import Cursor, Page
from shared.supervision import Health, supervise


class Connection:
    """Redis, as far as the feed can see."""

    def __init__(self, *, refuse: bool = False, answers: bool = True) -> None:
        self.refuse = refuse
        self.answers = answers
        self.sent: list[tuple[Any, ...]] = []
        self.closed = False
        self._incoming: list[Any] = []
        self._arrived = asyncio.Event()

    async def connect(self) -> None:
        if self.refuse:
            raise redis.exceptions.ConnectionError("refused")

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        self.sent.append(args)
        if not self.answers:
            return
        if args[0] == "PING":
            self.put([b"pong", b""])
        else:
            for name in args[1:]:
                self.put([args[0].lower().encode(), name.encode(), 1])

    async def read_response(self) -> Any:
        while not self._incoming:
            self._arrived.clear()
            await self._arrived.wait()
        item = self._incoming.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    async def disconnect(self) -> None:
        self.closed = True

    def put(self, item: Any) -> None:
        self._incoming.append(item)
        self._arrived.set()

    def publish(self, number: int, seq: int) -> None:
        self.put([b"message", b"events:1", event(number, seq).line])


def event(number: int, seq: int) -> EventFrame:
    line = b'{"ID":1,"Timestamp":"","Data":1,"Host":"h","Position":"e-0-%d","Seq":%d}' % (number, seq)
    return EventFrame(1, seq, f"e-0-{number}", line)


class Log:
    """The events of account 1; `away` makes it fail."""

    def __init__(self) -> None:
        self.events: list[EventFrame] = []
        self.away = False
        self.asked = 0
        self.reading = trio.Event()
        self.may_read = trio.Event()
        self.may_read.set()

    @property
    def newest(self) -> Position:
        return Position("e", 0, len(self.events))

    async def begin(self, since: Since | None, accounts: Collection[int] | None) -> Position:
        await self._answer()
        return since if isinstance(since, Position) else self.newest

    async def read(self, accounts: object, after: Cursor, *, limit: int, max_bytes: int) -> Page:
        await self._answer()
        self.reading.set()
        await self.may_read.wait()
        return Page([*self.events[after.position.number :]], Cursor(self.newest), 0)

    async def _answer(self) -> None:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.away:
            raise Unavailable("log", "away")


@pytest.fixture
def log() -> Log:
    return Log()


def feed_of(log: Log, *connections: Connection) -> Feed:
    handed_out = iter(connections)
    return Feed("redis://test", log, connect=lambda url: next(handed_out))  # type: ignore[arg-type]


async def test_channels_are_shared_and_left(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    connection = Connection()
    feed = feed_of(log, connection)
    await nursery.start(feed.run)
    async with feed.follow([1, 2]) as first, feed.follow([1]):
        assert await first.receive() == [Ready("e-0-0")]
        await trio.sleep(1)
    await trio.sleep(1)
    channels = [command for command in connection.sent if command[0] != "PING"]
    assert sorted(name for command in channels for name in command[1:] if command[0] == "SUBSCRIBE") == [
        "events:1",
        "events:2",
    ]
    assert sorted(name for command in channels for name in command[1:] if command[0] == "UNSUBSCRIBE") == [
        "events:1",
        "events:2",
    ]
    async with feed.follow(None):
        await trio.sleep(1)
    await trio.sleep(1)
    assert connection.sent[-2:] == [("PSUBSCRIBE", "events:*"), ("PUNSUBSCRIBE", "events:*")]
    nursery.cancel_scope.cancel()


async def test_thousands_of_channels(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log) -> None:
    connection = Connection()
    feed = feed_of(log, connection)
    async with trio.open_nursery() as inner:
        inner.start_soon(feed.run)
        async with feed.follow(range(1, 2501)) as follower:
            assert await follower.receive() == [Ready("e-0-0")]
        assert [len(command) - 1 for command in connection.sent] == [1000, 1000, 500]
        inner.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def test_a_quiet_connection_that_answers_is_kept(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    connection = Connection()
    feed = feed_of(log, connection)
    await nursery.start(feed.run)
    async with feed.follow([1]) as follower:
        assert await follower.receive() == [Ready("e-0-0")]
        await trio.sleep(3600)
        assert 100 < connection.sent.count(("PING",)) <= 3600 / PING_EVERY
        log.events.append(event(1, 1))
        connection.publish(1, 1)
        assert await follower.receive() == [event(1, 1)]
    nursery.cancel_scope.cancel()


async def test_a_silent_connection_is_given_up_within_10_seconds(
    autojump_clock: trio.testing.MockClock, log: Log
) -> None:
    connection = Connection()
    begin = trio.current_time()

    async def silence(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        connection.answers = False

    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="no answer for"), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(feed_of(log, connection).run)
            await nursery.start(silence)
    assert 7 <= trio.current_time() - begin <= 10
    assert connection.closed


async def test_a_subscription_that_is_never_confirmed_is_unavailable(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    feed = feed_of(log, Connection(answers=False))

    async def follow() -> None:
        async with feed.follow([1]):
            raise AssertionError("followed")

    nursery.start_soon(follow)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="no answer in time"), flatten_subgroups=True):
        await feed.run()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ConnectionError("Connection closed by server."),
        redis.exceptions.TimeoutError("timed out"),
        redis.exceptions.ResponseError("NOPERM"),
        redis.exceptions.InvalidResponse("Protocol Error"),
        ConnectionResetError("reset"),
    ],
)
async def test_every_loss_is_unavailable(autojump_clock: trio.testing.MockClock, error: Exception, log: Log) -> None:
    connection = Connection()
    connection.put(error)
    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True, allow_unwrapped=True):
        await feed_of(log, connection).run()
    assert connection.closed


async def test_a_connection_that_never_opens_is_unavailable(autojump_clock: trio.testing.MockClock, log: Log) -> None:
    class Hanging(Connection):
        async def connect(self) -> None:
            await asyncio.sleep(3600)

    with pytest.RaisesGroup(
        pytest.RaisesExc(Unavailable, match="no answer in time"), flatten_subgroups=True, allow_unwrapped=True
    ):
        await feed_of(log, Hanging()).run()
    assert trio.current_time() < 4


async def test_supervised_it_comes_back_and_what_was_missed_is_read(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    reports: list[str | None] = []
    first, second = Connection(), Connection()
    feed = feed_of(log, first, Connection(refuse=True), second)
    health = Health("Redis", lambda part, reason: reports.append(reason))
    await nursery.start(supervise, feed.run, health)
    async with feed.follow([1]) as follower:
        assert await follower.receive() == [Ready("e-0-0")]
        log.events.append(event(1, 1))
        first.publish(1, 1)
        assert await follower.receive() == [event(1, 1)]
        first.put(redis.exceptions.ConnectionError("gone"))
        await trio.sleep(0.01)
        log.events.append(event(2, 2))
        assert await follower.receive() == [event(2, 2)]
        log.events.append(event(3, 3))
        second.publish(2, 2)
        second.publish(3, 3)
        assert await follower.receive() == [event(3, 3)]
    assert reports == ["gone", None]
    assert first.closed
    assert second.sent[0] == ("SUBSCRIBE", "events:1")
    nursery.cancel_scope.cancel()


async def test_a_subscription_that_dies_while_a_follower_waits_to_read(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    """Else it would become live while nothing is subscribed, and never miss what is published meanwhile."""
    first, second = Connection(), Connection()
    feed = feed_of(log, first, Connection(refuse=True), second)
    await nursery.start(supervise, feed.run, Health("Redis", lambda part, reason: None))
    async with feed.follow([1]) as follower, feed.follow([1]) as other:
        taken = [object() for _ in range(int(feed._readers.total_tokens))]
        for borrower in taken:
            feed._readers.acquire_on_behalf_of_nowait(borrower)
        got: list[object] = []

        async def take() -> None:
            while True:
                got.extend(await follower.receive())

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        first.put(redis.exceptions.ConnectionError("gone"))
        await trio.testing.wait_all_tasks_blocked()
        for borrower in taken:
            feed._readers.release_on_behalf_of(borrower)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        log.events.append(event(1, 1))
        await trio.sleep(1)
        assert got == [event(1, 1), Ready("e-0-1")]
        assert await other.receive() == [event(1, 1), Ready("e-0-1")]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("left", [False, True])
async def test_accounts_that_are_wanted_while_the_log_is_read(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log, left: bool
) -> None:
    """Ready is told once all that were wanted before it are subscribed."""
    connection = Connection()
    feed = feed_of(log, connection)
    await nursery.start(feed.run)
    async with feed.follow([1]) as follower:
        got: list[object] = []

        async def take() -> None:
            while True:
                got.extend([*await follower.receive(), set(follower.accounts or ())])

        if left:
            follower.follow([2])
        log.may_read = trio.Event()
        nursery.start_soon(take)
        await log.reading.wait()
        if left:
            follower.unfollow([2])
        follower.follow([2])
        log.may_read.set()
        await trio.sleep(1)
        assert got == [Ready("e-0-0"), {1, 2}]
        assert [command for command in connection.sent if "events:2" in command][-1][0] == "SUBSCRIBE"
    nursery.cancel_scope.cancel()


async def test_a_channel_that_is_wanted_again_while_others_are_subscribed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    class Slow(Connection):
        async def send_command(self, *args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0.1)
            await super().send_command(*args, **kwargs)

    connection = Slow()
    feed = feed_of(log, connection)
    await nursery.start(feed.run)

    async def follow(account: int) -> None:
        async with feed.follow([account]) as follower:
            assert await follower.receive() == [Ready("e-0-0")]
            await trio.sleep(1)

    async with trio.open_nursery() as followers:
        async with feed.follow([1]):
            followers.start_soon(follow, 3)
            await trio.sleep(0.05)
            followers.start_soon(follow, 2)
        await trio.sleep(0.1)  # 3 is subscribed, 2 is being subscribed, and only then will 1 be left
        followers.start_soon(follow, 1)
    assert [command for command in connection.sent if command[0] != "PING"][:3] == [
        ("SUBSCRIBE", "events:1"),
        ("SUBSCRIBE", "events:3"),
        ("SUBSCRIBE", "events:2"),
    ]
    assert ("UNSUBSCRIBE", "events:1") not in connection.sent
    nursery.cancel_scope.cancel()


async def test_a_follower_that_leaves_while_the_feed_starts(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    feed = feed_of(log, Connection())

    async def follow_for_a_moment() -> None:
        with trio.move_on_after(0.5):
            async with feed.follow(range(1, 1501)):  # more than one command
                await trio.sleep_forever()

    nursery.start_soon(follow_for_a_moment)
    await trio.testing.wait_all_tasks_blocked()

    class Slow(Connection):
        async def send_command(self, *args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(1)
            await super().send_command(*args, **kwargs)

    feed._connect = lambda url: Slow()
    with trio.fail_after(2.5):
        await nursery.start(feed.run)
    nursery.cancel_scope.cancel()


async def test_a_log_that_is_away_is_asked_again_but_not_by_a_crowd(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, log: Log
) -> None:
    feed = feed_of(log, Connection())
    await nursery.start(feed.run)
    log.away = True
    arrived: list[object] = []

    async def follow() -> None:
        async with feed.follow([1]) as follower:
            arrived.append(await follower.receive())

    async with trio.open_nursery() as followers:
        for _ in range(100):
            followers.start_soon(follow)
        await trio.sleep(60)
        assert arrived == []
        assert log.asked < 100 * 30
        log.away = False
    assert arrived == [[Ready("e-0-0")]] * 100
    assert feed.followers == 0
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["redis://host/?no_such_option=1", "redis://host/?db=x", "http://host", "nonsense"])
async def test_a_url_that_redis_py_does_not_take_is_a_misconfiguration(url: str, log: Log) -> None:
    with pytest.raises(Misconfigured, match="URL"):
        await Feed(url, log).run()  # type: ignore[arg-type]
