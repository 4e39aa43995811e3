"""The feed on virtual time, with a connection that answers as told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.exceptions
import trio
import trio.testing

from shared.errors import Misconfigured, Unavailable
from shared.feed import PING_EVERY, UNANSWERED, Feed
from shared.supervision import Health, supervise


class Connection:
    """Redis, as far as the feed can see."""

    def __init__(self, *, refuse: bool = False, answers_pings: bool = True) -> None:
        self.refuse = refuse
        self.answers_pings = answers_pings
        self.sent: list[tuple[Any, ...]] = []
        self.closed = False
        self._incoming: list[Any] = []
        self._arrived = asyncio.Event()

    async def connect(self) -> None:
        if self.refuse:
            raise redis.exceptions.ConnectionError("refused")

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        self.sent.append(args)
        if args[0] == "SUBSCRIBE":
            for number, name in enumerate(args[1:], 1):
                self.put([b"subscribe", name.encode(), number])
        elif self.answers_pings:
            self.put([b"pong", b""])

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

    def publish(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.put([b"message", b"events:1", payload])


def feed_of(*connections: Connection, size: int = 1000) -> Feed:
    handed_out = iter(connections)
    return Feed("redis://test", [1, 2], size=size, connect=lambda url: next(handed_out))


async def test_messages_come_in_order(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    connection = Connection()
    feed = feed_of(connection)
    await nursery.start(feed.run)
    assert connection.sent == [("SUBSCRIBE", "events:1", "events:2")]
    connection.publish(b"a", b"b", b"c")
    assert [await feed.messages.receive() for _ in "abc"] == [b"a", b"b", b"c"]
    nursery.cancel_scope.cancel()


async def test_a_full_queue_makes_the_service_wait(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    connection = Connection(answers_pings=False)
    feed = feed_of(connection, size=2)
    await nursery.start(feed.run)
    numbers = [b"%d" % number for number in range(20)]
    connection.publish(*numbers)
    await trio.sleep(600)  # waiting for the taker is no silence of Redis
    assert feed.messages.statistics().current_buffer_used == 2
    assert [await feed.messages.receive() for _ in numbers] == numbers
    nursery.cancel_scope.cancel()


async def test_a_quiet_connection_that_answers_is_kept(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    connection = Connection()
    feed = feed_of(connection)
    await nursery.start(feed.run)
    await trio.sleep(3600)
    assert 100 < connection.sent.count(("PING",)) <= 3600 / PING_EVERY
    connection.publish(b"a")
    assert await feed.messages.receive() == b"a"
    nursery.cancel_scope.cancel()


async def test_a_silent_connection_is_given_up_within_20_seconds(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(answers_pings=False)
    begin = trio.current_time()
    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="no answer"), flatten_subgroups=True):
        await feed_of(connection).run()
    assert UNANSWERED * PING_EVERY <= trio.current_time() - begin <= 20
    assert connection.closed


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
async def test_every_loss_is_unavailable(autojump_clock: trio.testing.MockClock, error: Exception) -> None:
    connection = Connection()
    connection.put(error)
    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True, allow_unwrapped=True):
        await feed_of(connection).run()
    assert connection.closed


async def test_a_connection_that_never_opens_is_unavailable(autojump_clock: trio.testing.MockClock) -> None:
    class Hanging(Connection):
        async def connect(self) -> None:
            await asyncio.sleep(3600)

    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="no answer in time"), flatten_subgroups=True):
        await feed_of(Hanging()).run()
    assert trio.current_time() < 4


async def test_supervised_it_comes_back_and_says_so(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    reports: list[str | None] = []
    first, second = Connection(), Connection()
    feed = feed_of(first, Connection(refuse=True), second)
    health = Health("Redis", lambda part, reason: reports.append(reason))
    await nursery.start(supervise, feed.run, health)
    first.publish(b"before")
    first.put(redis.exceptions.ConnectionError("gone"))
    await trio.sleep(1)
    second.publish(b"after")
    assert [await feed.messages.receive(), await feed.messages.receive()] == [b"before", b"after"]
    assert reports == ["gone", None]
    assert first.closed
    assert first.sent[0] == second.sent[0]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["redis://host/?no_such_option=1", "redis://host/?db=x", "http://host", "nonsense"])
async def test_a_url_that_redis_py_does_not_take_is_a_misconfiguration(url: str) -> None:
    with pytest.raises(Misconfigured, match="URL"):
        await Feed(url, [1]).run()
