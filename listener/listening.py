"""Following accounts and writing their events, as both the prompt and `listener events` do."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import trio

from listener.choosing import chosen
from listener.config import Config
from listener.decoded import Decoded, decode
from listener.ending import Ends
from listener.formats import Format, csv_head, look_of, make
from listener.output import NoEvent, account_list, escape, gap_line
from listener.readiness import Readiness
from listener.settings import Acting, Choosing, Ending, Following, Showing
from listener.sources import open_source, tell_health
from listener.status_line import StatusLine, open_status_line
from listener.terminal import STDERR, STDOUT, finish, tell, wait_output_closed, write
from shared.frames import Error, EventFrame, Frame, Gap, Lagging, Ready

if TYPE_CHECKING:
    from listener.acting import Actions
    from listener.bookmark import Bookmark
    from listener.relay import Relay

FINISH_WITHIN = 0.5
"""For how many seconds a write that is under way when we are told to end may go on. It is as good as never needed: only
an output that nobody reads takes longer, and then what it holds may come again after the next start."""

LAGGING_EVERY = 5.0
LOOK_WITHIN = 2.0
"""For how many seconds a short run waits to be told which accounts do not exist."""


@dataclass(frozen=True)
class Listening:
    """What to do: which accounts (None: all), which of their events, and what with them."""

    accounts: Collection[int] | None
    following: Following = Following()
    choosing: Choosing = Choosing()
    showing: Showing = Showing(status=False)
    acting: Acting = Acting()
    ending: Ending = Ending()


async def listen(config: Config, job: Listening, *, announce_to: int) -> None:
    """Write the events to standard output until it is the end of what was asked for, or cancelled.

    "listening for events from" goes to the file descriptor `announce_to`, when that has become true. Raises
    Misconfigured, OutputClosed, and Stop with how it ends, if that is not well.
    """
    screen = Screen(job, announce_to=announce_to)
    readiness = Readiness(job.ending, job.acting)
    async with AsyncExitStack() as stack:
        relay, bookmark, actions, since = None, None, None, job.following.since
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(wait_output_closed)
        stack.callback(nursery.cancel_scope.cancel)
        if job.following.serve is not None:
            from listener.relay import open_relay

            relay = await stack.enter_async_context(
                open_relay(job.following.serve, job.following.allow_origin, job.accounts)
            )
            await write([f"relaying on {url}" for url in relay.urls], to=STDERR)
        if job.following.state is not None:
            from listener.bookmark import open_bookmark

            bookmark = await stack.enter_async_context(open_bookmark(job.following.state))
            since = bookmark.position or since
        if job.acting.exec is not None:
            from listener.acting import open_acting

            reached: Callable[[str], object] = (lambda position: None) if bookmark is None else bookmark.note
            actions = await stack.enter_async_context(open_acting(job.acting, tell, reached))
        # Commands write to the terminal themselves, and know nothing of the line.
        status_line = await stack.enter_async_context(open_status_line(job.showing, shown=actions is None))
        await stack.enter_async_context(readiness.open())
        moved = bookmark if actions is None else None  # else it is for them to move
        following = _Follower(screen, relay, moved, actions, status_line, readiness)
        source = await stack.enter_async_context(open_source(config, job.accounts, since, following.report))
        if config.known_tracker is not None and not config.is_websocket and job.accounts:
            await stack.enter_async_context(_looking_for_strangers(config, job.accounts, following.caught_up))
        await following.run(source.receive)
        if actions is not None:
            await actions.finish()
        if stop := screen.ends.stop():
            raise stop


@asynccontextmanager
async def _looking_for_strangers(
    config: Config, accounts: Collection[int], caught_up: trio.Event
) -> AsyncIterator[None]:
    """Look for accounts that do not exist, once there is time for that. If the block is soon over, what was found still
    counts."""

    async def look() -> None:
        await caught_up.wait()
        from listener.strangers import look_for_strangers  # it takes a while to load

        await look_for_strangers(config, accounts)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield
        nursery.cancel_scope.deadline = trio.current_time() + LOOK_WITHIN


class _Follower:
    """What is done with the frames, in their order."""

    def __init__(
        self,
        screen: Screen,
        relay: Relay | None,
        bookmark: Bookmark | None,
        actions: Actions | None,
        status_line: StatusLine,
        readiness: Readiness,
    ) -> None:
        self._screen = screen
        self._relay = relay
        self._bookmark = bookmark
        self._actions = actions
        self._status_line = status_line
        self._readiness = readiness
        self._waiting = trio.CancelScope()
        self.caught_up = trio.Event()

    def report(self, part: str, reason: str | None) -> None:
        """The server went away, for this reason; or is back."""
        tell_health(part, reason)
        self._status_line.note_health(reason)
        if self._relay is not None:
            self._relay.ring.note_health(away=reason is not None)
        self._screen.ends.note_health(away=reason is not None)
        self._waiting.deadline = self._screen.ends.deadline

    async def run(self, receive: Callable[[], Awaitable[list[Frame]]]) -> None:
        """Return when it is over."""
        ends = self._screen.ends
        while ends.over is None:
            with trio.CancelScope(deadline=ends.deadline) as self._waiting:
                frames = await receive()
            if not self._waiting.cancelled_caught:
                await self._take(frames)
            elif trio.current_time() >= ends.deadline:
                ends.pass_deadline()

    async def _take(self, frames: list[Frame]) -> None:
        if self._relay is not None:
            self._relay.pass_on(frames)
        self._status_line.note(frames)
        for drawn in self._screen.draw(frames):
            if self._bookmark is None:
                await self._write(drawn)
            else:
                await finish(partial(self._write, drawn), within=FINISH_WITHIN)
            if self._actions is not None:
                await self._act(self._actions, drawn)
        for frame in frames:
            if isinstance(frame, Ready):
                self.caught_up.set()
                await self._readiness.note(frame)

    async def _write(self, drawn: Drawn) -> None:
        if drawn.lines:
            await write(drawn.lines, to=drawn.to)
        if self._bookmark is not None and drawn.reached is not None:
            self._bookmark.note(drawn.reached)

    async def _act(self, actions: Actions, drawn: Drawn) -> None:
        for item in drawn.items:
            if item.wanted:
                assert isinstance(item.frame, EventFrame)
                await actions.take(item.frame)
            elif item.position is not None:
                actions.pass_by(item.position)


class Item(NamedTuple):
    """A frame, the line for it, and whether it is an event that is wanted. `position` is reached with it."""

    to: int
    line: str | bytes | None
    frame: Frame
    position: str | None = None
    wanted: bool = False


class Drawn(NamedTuple):
    """What to write to a file descriptor in one go, maybe nothing."""

    to: int
    items: list[Item]

    @property
    def lines(self) -> list[str | bytes]:
        return [item.line for item in self.items if item.line is not None]

    @property
    def reached(self) -> str | None:
        """The Position that is reached once all is written."""
        return next((item.position for item in reversed(self.items) if item.position is not None), None)


class Screen:
    """From frames to lines, as long as it is not over."""

    def __init__(self, job: Listening, *, announce_to: int) -> None:
        """Raises Misconfigured."""
        self.ends = Ends(job.ending)
        self._wants = chosen(job.choosing)
        self._format: Format = make(look_of(job.showing))
        self._quiet = job.showing.quiet
        self._head: str | None = csv_head() if job.showing.format == "csv" and not self._quiet else None
        self._announcement: str | None = f"listening for events from: {account_list(job.accounts)}"
        self._announce_to = announce_to
        self._lagged_at = -math.inf

    def draw(self, frames: Iterable[Frame]) -> Iterator[Drawn]:
        """What to write where, in order, each as much as can be written at once. Ends behind the frame with which it is
        over."""
        for to, items in groupby(self._items(frames), key=lambda item: item.to):
            yield Drawn(to, list(items))

    def _items(self, frames: Iterable[Frame]) -> Iterator[Item]:
        for frame in frames:
            if isinstance(frame, EventFrame):
                yield from self._event(frame)
            else:
                yield from self._control(frame)
                self.ends.note(frame)
            if self.ends.over is not None:
                return

    def _event(self, frame: EventFrame) -> Iterator[Item]:
        try:
            event = decode(frame.line)
            if self.ends.excludes(frame, event):
                return
            if not self._wants(event):
                yield Item(STDOUT, None, frame, frame.position)
                return
            line = None if self._quiet else self._line(event, frame)
        except NoEvent as error:
            yield Item(STDERR, f"Skipped a message that is no event: {error}.", frame, frame.position)
            return
        self.ends.note_event(event)
        yield Item(STDOUT, line, frame, frame.position, wanted=True)

    def _line(self, event: Decoded, frame: EventFrame) -> str | bytes:
        line = self._format(event, frame.line)
        if self._head is not None:
            assert isinstance(line, str)
            line, self._head = f"{self._head}\n{line}", None
        return line

    def _control(self, frame: Frame) -> Iterator[Item]:
        match frame:
            case Ready():
                yield Item(self._announce_to, self._announcement, frame, frame.position)
                self._announcement = None
            case Gap():
                yield Item(STDERR, gap_line(frame), frame)
            case Error():
                whose = "" if frame.account_id is None else f"account {frame.account_id}: "
                yield Item(STDERR, f"! {whose}{escape(frame.detail)}", frame)
            case Lagging() if trio.current_time() - self._lagged_at > LAGGING_EVERY:
                self._lagged_at = trio.current_time()
                yield Item(STDERR, f"! {frame.behind} events behind, catching up", frame)
