"""Feed: one supervised subscription to the events of some accounts, as they are published.

feed = Feed(url, [1, 2, 3])
nursery.start_soon(supervise, feed.run, Health("Redis", report))
async for message in feed.messages: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import trio

from shared.aio import Bridge, on_trio, open_bridge
from shared.errors import Unavailable
from shared.log import channel
from shared.redis_client import ANSWER_WITHIN, call, connection_pool

PART = "feed"
PING_EVERY = 4.0
UNANSWERED = 3
"""After how many silent intervals of PING_EVERY the connection is given up: 12 to 16 s after the last sign of life."""


class Connection(Protocol):
    """What the feed uses of a connection of redis-py."""

    async def connect(self) -> None: ...
    async def send_command(self, *args: Any, **kwargs: Any) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self) -> None: ...


class Feed:
    """The events of some accounts from the time that the subscription stands; none from while it did not.

    `messages` yields each event's bytes as published, in order, across restarts of the service. When nobody takes
    them, the service stops reading at `size` messages; then they wait in Redis, which closes the connection at its
    `client-output-buffer-limit pubsub` (by default at 32 MiB, or 8 MiB for 60 s). That is noticed as a loss.
    """

    def __init__(
        self,
        url: str,
        accounts: Iterable[int],
        *,
        size: int = 1000,
        connect: Callable[[str], Connection] | None = None,
    ) -> None:
        """`connect` makes a connection, not yet open, to `url`."""
        self._url = url
        self._connect = connect or _connection
        self._channels = [channel(account) for account in accounts]
        self._send, self.messages = trio.open_memory_channel[bytes](size)
        self._heard = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: subscribe and pass messages on; ready when Redis has confirmed the subscription.

        Raises Unavailable when Redis is away, or has been silent for 16 s although it was asked to answer, and
        Misconfigured if the URL can't be used.
        """
        connection = self._connect(self._url)
        async with open_bridge(PART) as bridge:
            try:
                await call(bridge, PART, self._subscribe, connection)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._watch, bridge, connection)
                    task_status.started()
                    await call(bridge, PART, self._pump, connection)
            finally:
                with trio.move_on_after(1, shield=True), suppress(Unavailable):
                    await call(bridge, PART, connection.disconnect)

    async def _subscribe(self, connection: Connection) -> None:
        async with asyncio.timeout(ANSWER_WITHIN):
            await connection.connect()
            await connection.send_command("SUBSCRIBE", *self._channels)
            for _ in self._channels:  # Redis answers all of them before it passes the first message on
                await connection.read_response()

    async def _pump(self, connection: Connection) -> None:
        """Runs on asyncio. Only a full queue costs a crossing."""
        while True:
            match await connection.read_response():
                case [b"message", _, payload]:
                    try:
                        self._send.send_nowait(payload)
                    except trio.WouldBlock:
                        await on_trio(self._send.send, payload)
            self._heard = True

    async def _watch(self, bridge: Bridge, connection: Connection) -> None:
        """Ask for a sign of life when there is none. Counts questions, not time: a process may sleep for hours."""
        silent = 0
        while True:
            await trio.sleep(PING_EVERY)
            if self._heard or self._send.statistics().tasks_waiting_send:
                self._heard = False
                silent = 0
                continue
            silent += 1
            if silent == UNANSWERED:
                raise Unavailable(PART, f"no answer for {UNANSWERED * PING_EVERY:.0f} seconds")
            await call(bridge, PART, _ping, connection)


async def _ping(connection: Connection) -> None:
    async with asyncio.timeout(ANSWER_WITHIN):
        await connection.send_command("PING", check_health=False)


def _connection(url: str) -> Connection:
    """A bare connection of redis-py: its PubSub connects anew by itself, and nobody would learn of the loss.

    Without a timeout of its own, because quiet is normal; the feed bounds what must be answered.
    """
    connection: Connection = connection_pool(url, answer_within=None).make_connection()
    return connection
