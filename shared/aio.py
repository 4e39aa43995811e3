"""The one place that crosses into asyncio, where asyncpg and redis-py live.

A crossing costs about as much as fifteen trio checkpoints, and a cancelled body between two crossings can leave a
resource taken. So a whole operation (acquire, query, read the answer) goes into one `async def` for asyncio, and is
called once: `await bridge.call(operation, argument)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple, cast

import trio
import trio_asyncio

from shared.errors import Unavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LOOK_UPS = 4
"""How many names may be looked up at the same time, those given up included."""


class Bridge:
    """An asyncio loop inside a trio task, callable from any other trio task while it is open."""

    def __init__(self, part: str, loop: trio_asyncio.TrioEventLoop) -> None:
        self._part = part
        self._loop = loop
        self._calls: set[trio.CancelScope] = set()
        self._open = True
        self._idle = trio.Event()

    async def call(self, operation: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run `operation(*args)` on asyncio and return its result; cancellation cancels the asyncio task.

        Raises Unavailable if the bridge is closed, or closes during the call, and what the operation raises.
        """
        if not self._open:
            raise Unavailable(self._part, "not connected")
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                return cast(T, await trio_asyncio.aio_as_trio(cast(Any, operation), loop=self._loop)(*args))
            finally:
                self._calls.discard(scope)
                if not self._calls:
                    self._idle.set()
        raise Unavailable(self._part, "the connection was given up")

    async def _close(self) -> None:
        self._open = False
        for scope in self._calls:
            scope.cancel()
        self._idle = trio.Event()
        if self._calls:
            with trio.CancelScope(shield=True):
                await self._idle.wait()


@asynccontextmanager
async def open_bridge(part: str, at_close: Callable[[], object] = lambda: None) -> AsyncIterator[Bridge]:
    """Open an asyncio loop for one service; `part` names it in errors.

    The loop ends with the block: calls under way from other tasks are cancelled, and raise Unavailable. Then
    `at_close` cuts off what still belongs to the loop.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_default_executor(_Threads(max_workers=_LOOK_UPS))
        bridge = Bridge(part, loop)
        try:
            yield bridge
        finally:
            await bridge._close()
            at_close()
            with trio.CancelScope(shield=True):  # a round of the loop, in which connections that were cut off let go
                await trio_asyncio.aio_as_trio(asyncio.sleep, loop=loop)(0)


class _Threads(trio_asyncio.TrioExecutor):  # type: ignore[misc]
    """Threads that may be left behind: asyncio looks up host names in them, and a slow name server must hold up nobody
    who wants to stop. trio-asyncio's own waits for them."""

    async def submit(self, func: Callable[..., T], *args: Any) -> T:
        return await trio.to_thread.run_sync(func, *args, abandon_on_cancel=True, limiter=self._limiter)
