"""A stream of events from a client, a line each, and the stream of answers to it.

Lines are committed in lots: while one is on its way the next one gathers, and when that is full no more is read. So
what is in memory of a stream is bounded, and a client that sends faster than the log takes, or does not read its
answers, has to wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType

import trio
from quart.wrappers.response import ResponseBody

from tracker.http import limits, problems
from tracker.http.bulk import LOT, LOT_BYTES, Bulk, result, size
from tracker.http.bulk_items import Lines, Parsed
from tracker.http.problems import Problem
from tracker.http.sessions import KEEPALIVE

_STOPS = "The tracker stops. What has no answer before this one was not accepted; send it again."
_IDLE = (
    f"Nothing came for {limits.IDLE_TIMEOUT:g} seconds. A stream that has nothing to say is kept open by an empty line."
)
OVERLOADED = "This tracker has as many streams of events as it can take. Try again."


class Incoming:
    """Items as they come, gathered ahead of whoever takes them: a lot of them at most."""

    def __init__(self, body: AsyncIterator[bytes], max_data: int) -> None:
        self._body = body
        self._lines = Lines(max_data)
        self._gathered: list[Parsed] = []
        self._bytes = 0
        self._room = trio.Event()
        self._news = trio.Event()
        self._came_whole = False
        self.ended = False
        """Whether all that the client sends is gathered."""
        self.fault: Problem | None = None
        """Why nothing more is read."""

    @property
    def empty(self) -> bool:
        """Whether nothing has been gathered that was not taken."""
        return not self._gathered

    async def gather(self) -> None:
        """Read on until all has come, or nothing for too long. May be cancelled and called again."""
        while True:
            while self._lines.waiting:
                while len(self._gathered) >= LOT or self._bytes >= LOT_BYTES:
                    self._room = trio.Event()
                    await self._room.wait()
                parsed = self._lines.take(LOT - len(self._gathered))
                self._gathered += parsed
                self._bytes += sum(map(size, parsed))
                self._news.set()
            if self._came_whole:
                break
            with trio.move_on_after(limits.IDLE_TIMEOUT) as idle:
                data = await anext(self._body, None)
            if idle.cancelled_caught:
                self.fail(problems.problem(408, _IDLE))
                return
            if data is None:
                self._came_whole = True
                self._lines.end()
            else:
                self._lines.feed(data)
        self.ended = True
        self._news.set()

    async def news(self) -> None:
        """Wait until there are items, or there is an end."""
        while not (self._gathered or self.ended or self.fault):
            self._news = trio.Event()
            await self._news.wait()

    def take(self) -> list[Parsed]:
        """What is gathered."""
        taken, self._gathered, self._bytes = self._gathered, [], 0
        self._room.set()
        return taken

    def fail(self, problem: Problem) -> None:
        """Take what is gathered for the last that comes."""
        self.fault = problem
        self._news.set()


class Answers(ResponseBody):
    """The body of an answer: a line for each item, as soon as that is known, and a problem if the tracker ends it."""

    def __init__(self, bulk: Bulk, incoming: Incoming, places: trio.Semaphore, stopping: trio.Event) -> None:
        """`places` bounds such streams."""
        self._bulk = bulk
        self._incoming = incoming
        self._places = places
        self._stopping = stopping
        self._has_place = False
        self._over = False

    async def __aenter__(self) -> Answers:
        # Quart leaves what it entered, in the same task: the nursery is around all that it sends in between.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:  # others came between the answer's head and its body
            self._incoming.take()
            self._incoming.fail(problems.problem(503, OVERLOADED))
        else:
            self._has_place = True
            self._nursery.start_soon(self._gather_until_stopping)
        return self

    async def __aexit__(  # type: ignore[override]
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._has_place:
            self._places.release()
        self._nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> bytes:
        incoming = self._incoming
        if self._over:
            raise StopAsyncIteration
        with trio.move_on_after(KEEPALIVE):
            await incoming.news()
        if not incoming.empty:
            outcomes = await self._bulk.commit(incoming.take())
            return b"".join([result(outcome) + b"\n" for outcome in outcomes])
        if incoming.fault:
            self._over = True
            return incoming.fault.body() + b"\n"
        if incoming.ended:
            raise StopAsyncIteration
        return b"\n"

    async def _gather_until_stopping(self) -> None:
        async with trio.open_nursery() as reading:
            reading.start_soon(self._incoming.gather)
            await self._stopping.wait()
            reading.cancel_scope.cancel()
        if not self._incoming.ended:
            self._incoming.take()
            self._incoming.fail(problems.problem(503, _STOPS))
