"""Subscription: which channels of Redis are wanted, which ones it has confirmed, and what closes the difference."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Collection
from itertools import islice
from typing import Any, Protocol

import trio

from shared.aio import Bridge
from shared.log import channel
from shared.redis_client import ANSWER_WITHIN, call

ALL = channel(0).removesuffix("0") + "*"
"""The pattern of all accounts' channels."""

_CHANNELS_AT_ONCE = 1000


class Connection(Protocol):
    """What the feed uses of a connection of redis-py."""

    async def connect(self) -> None: ...
    async def send_command(self, *args: Any, **kwargs: Any) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self) -> None: ...


class Subscription:
    """The channels that anyone follows, on one connection after the other."""

    def __init__(self, part: str) -> None:
        """`part` names the connection in errors."""
        self._part = part
        self._wanted: set[str] = set()
        self._sent: set[str] = set()
        self._missing: set[str] = set()  # wanted, and not sent
        self._surplus: set[str] = set()  # sent, and not wanted
        self._unconfirmed: Counter[str] = Counter()
        self._last_of_each: deque[str] = deque()  # command under way: when it is confirmed, all of it is
        self._changed = trio.Event()
        self._news = trio.Event()

    def want(self, name: str) -> None:
        """Subscribe to a channel, soon."""
        self._wanted.add(name)
        if name in self._sent:
            self._surplus.discard(name)
        else:
            self._missing.add(name)
        self._changed.set()

    def want_no_more(self, name: str) -> None:
        """Unsubscribe, soon."""
        self._wanted.discard(name)
        self._missing.discard(name)
        if name in self._sent:
            self._surplus.add(name)
        self._changed.set()

    async def stands(self, names: Collection[str], silence: float = math.inf) -> bool:
        """Return True when Redis has confirmed these channels, and nothing was sent since that undoes it; False if it
        confirms none at all for so many seconds."""
        while any(self._lacks(name) for name in names):
            for name in names:
                while self._lacks(name):
                    with trio.move_on_after(silence) as waiting:
                        await self._news.wait()
                    if waiting.cancelled_caught:
                        return False
        return True

    def _lacks(self, name: str) -> bool:
        return name in self._wanted and (name not in self._sent or name in self._unconfirmed)

    async def keep(self, bridge: Bridge, connection: Connection) -> None:
        """Send what is wanted, and what is wanted no more, for ever."""
        while True:
            if self._missing:
                await self._send(bridge, connection, "SUBSCRIBE", self._missing)
            elif self._surplus:
                await self._send(bridge, connection, "UNSUBSCRIBE", self._surplus)
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    async def _send(self, bridge: Bridge, connection: Connection, command: str, difference: set[str]) -> None:
        names = [ALL] if ALL in difference else list(islice(difference, _CHANNELS_AT_ONCE))
        command = "P" + command if ALL in difference else command
        difference.difference_update(names)
        self._unconfirmed.update(names)
        self._last_of_each.append(names[-1])
        if command.endswith("UNSUBSCRIBE"):
            self._sent.difference_update(names)
        else:
            self._sent.update(names)
        await call(bridge, self._part, send, connection, [command, *names])

    def confirmed(self, name: str) -> None:
        """Note an answer of Redis."""
        self._unconfirmed[name] -= 1
        if self._unconfirmed[name] <= 0:
            del self._unconfirmed[name]
        # Once a command, not once a channel: whoever waits looks at all of its own. Answers come in order.
        if self._last_of_each and self._last_of_each[0] == name:
            self._last_of_each.popleft()
            self._tell()

    def lost(self) -> None:
        """Note that the connection is gone."""
        self._sent.clear()
        self._surplus.clear()
        self._missing = self._wanted.copy()
        self._unconfirmed.clear()
        self._last_of_each.clear()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


async def send(connection: Connection, command: list[str]) -> None:
    """Send a command, on asyncio. The answer comes to whoever reads."""
    async with asyncio.timeout(ANSWER_WITHIN):
        await connection.send_command(*command, check_health=False)
