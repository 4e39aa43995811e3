"""Streams under way: frames from a follower to a client, for as long as both are there.

What every stream needs, and the streams over HTTP; `conversation.py` has those over WebSockets.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import structlog
import trio
from quart.wrappers.response import ResponseBody

from shared import frames
from shared.errors import NoSuchAccount, Refused, Unavailable
from shared.events import LARGEST_ID
from shared.frames import Error, EventFrame, Frame, Gap, Ready
from shared.position import Since
from tracker import metrics
from tracker.http.endings import LAST_WORDS, SPREAD, Ending
from tracker.http.message import Message
from tracker.http.stream_query import Kind

log = structlog.get_logger(__name__)

KEEPALIVE = 15.0
"""After how many quiet seconds a stream says that it is there: proxies end connections that are silent for long, and
only who writes notices that the other side is gone."""
RETRY = b"retry: 2000\n\n"
"""How long a browser waits before it comes back, in ms; its own default may be next to nothing."""


class Follower(Protocol):
    """What is used of `shared.feed.Follower`."""

    async def receive(self) -> list[Frame]: ...
    def follow(self, accounts: Iterable[int]) -> None: ...
    def unfollow(self, accounts: Iterable[int]) -> None: ...


class Feed(Protocol):
    """What is used of `shared.feed.Feed`."""

    def follow(
        self, accounts: Iterable[int] | None, since: Since | None = None
    ) -> AbstractAsyncContextManager[Follower]: ...


class Existing(Protocol):
    """What is used of `tracker.accounts.Accounts`."""

    async def existing(self, account_ids: Collection[int]) -> set[int]: ...


class Places:
    """A bound for the streams of this process, which are counted by the way they are sent."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @property
    def full(self) -> bool:
        return self.taken >= self._limit

    @contextlib.contextmanager
    def take(self, kind: Kind) -> Iterator[None]:
        """Hold a place."""
        followers = metrics.FOLLOWERS.labels(kind.name.lower())
        self.taken += 1
        followers.inc()
        try:
            yield
        finally:
            self.taken -= 1
            followers.dec()


async def sort_out(wanted: Collection[int], accounts: Existing) -> tuple[set[int], list[Error]]:
    """Return which of these accounts there are, and what to say of the others.

    With the database away, all of them: who follows an account that does not exist hears nothing, that is all.
    """
    try:
        found = await accounts.existing(wanted)
    except Unavailable:
        found = {account for account in wanted if account <= LARGEST_ID}
    missing = sorted(set(wanted) - found)
    return found, [Error(account_id=account, detail=str(NoSuchAccount(account))) for account in missing]


def _line(frame: Frame) -> bytes:
    return frame.text if isinstance(frame, EventFrame) else frames.encode(frame)


class Written(Protocol):
    """Frames as they are sent."""

    def __len__(self) -> int: ...


W = TypeVar("W", bound=Written)


class Form(Generic[W]):
    """How frames are written for one kind of stream. What is written counts as sent.

    Followers of the same account mostly get the same frames at the same time, so the last ones are kept as written.
    """

    def __init__(self, kind: Kind, write: Callable[[Sequence[Frame]], W]) -> None:
        self._write = write
        self._frames = metrics.FRAMES.labels(kind.name.lower())
        self._bytes = metrics.BYTES.labels(kind.name.lower())
        self._last: Sequence[Frame] = ()
        self._gaps: list[Gap] = []
        self._written: W = write(())

    def __call__(self, batch: Sequence[Frame]) -> W:
        # Shared frames are the same objects, which is all that Python looks at then.
        if batch != self._last:
            self._written = self._write(batch)
            self._gaps = [frame for frame in batch if isinstance(frame, Gap)]
            self._last = batch
        self._frames.inc(len(batch))
        self._bytes.inc(len(self._written))
        for gap in self._gaps:
            metrics.GAPS.labels(gap.reason).inc()
        return self._written


def _server_sent_event(frame: Frame) -> bytes:
    if isinstance(frame, EventFrame):
        return frame.record
    name: str = frame.__struct_config__.tag  # type: ignore[assignment]
    at = f"id: {frame.position}\n" if isinstance(frame, Ready) else ""
    return f"{at}event: {name}\ndata: ".encode() + _line(frame) + b"\n\n"


ndjson = Form(Kind.NDJSON, lambda batch: b"".join([_line(frame) + b"\n" for frame in batch]))
sse = Form(Kind.SSE, lambda batch: b"".join(map(_server_sent_event, batch)))
message = Form(Kind.WEBSOCKET, lambda batch: Message(b"\n".join(map(_line, batch))))


class StreamBody(ResponseBody):
    """The body of a stream over HTTP, which ends when the tracker does."""

    def __init__(
        self,
        kind: Kind,
        follow: Callable[[], AbstractAsyncContextManager[Follower]],
        first: Sequence[Frame],
        places: Places,
        stopping: trio.Event,
    ) -> None:
        """`first` goes out before anything else."""
        self._kind = kind
        self._encode = sse if kind is Kind.SSE else ndjson
        self._keepalive = b":\n\n" if kind is Kind.SSE else b"\n"
        self._next = (RETRY if kind is Kind.SSE else b"") + self._encode(first)
        self._follow = follow
        self._places = places
        self._stopping = stopping
        self._follower: Follower | None = None
        self._entered = trio.Event()
        self._waiting = trio.CancelScope()
        self._ending: Ending | None = None
        self._over = False

    async def __aenter__(self) -> StreamBody:
        # Quart leaves what it entered, in the same task: the nursery is around all that it sends in between.
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        if self._places.full:  # others came between the answer's head and its body
            self._end(Ending.OVERLOADED)
        else:
            self._nursery.start_soon(self._hold)
            self._nursery.start_soon(self._end_when_stopping)
        return self

    async def __aexit__(  # type: ignore[override]
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(kind, error, traceback)

    def __aiter__(self) -> StreamBody:
        return self

    async def __anext__(self) -> bytes:
        if self._next:
            first, self._next = self._next, b""
            return first
        if self._over:
            raise StopAsyncIteration
        if self._ending is None:
            try:
                with trio.CancelScope(deadline=trio.current_time() + KEEPALIVE) as self._waiting:
                    if self._follower is None:
                        await self._entered.wait()
                        assert self._follower is not None
                    return self._encode(await self._follower.receive())
            except Exception as error:
                self._fail(error)
        if self._ending is None:
            return self._keepalive
        self._over = True
        last, self._next = self._next, b""
        return last + self._encode([self._ending.bye])

    async def _hold(self) -> None:
        """Be the follower's owner: to begin takes as long as the log is away, while the client gets its keepalives."""
        try:
            with self._places.take(self._kind):
                async with self._follow() as self._follower:
                    self._entered.set()
                    await trio.sleep_forever()
        except Exception as error:
            self._fail(error)

    async def _end_when_stopping(self) -> None:
        await self._stopping.wait()
        await trio.sleep(random.uniform(0, SPREAD))
        self._end(Ending.SHUTDOWN)
        self._nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Refused):
            self._next = self._encode([Error(detail=str(error))])
            self._end(Ending.REFUSED)
        else:
            log.error("stream failed", exc_info=error)
            self._end(Ending.FAULT)

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._waiting.cancel()
