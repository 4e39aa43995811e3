"""Following accounts and writing their events, as both the prompt and `listener events` do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import trio

from listener.config import Acting, Config, Following
from listener.output import NoEvent, account_list, escape, gap_line, json_line, line
from listener.sources import open_source, tell_health
from listener.terminal import STDERR, STDOUT, finish, tell, write
from shared.frames import Error, EventFrame, Frame, Gap, Lagging, Ready

if TYPE_CHECKING:
    from listener.acting import Actions
    from listener.bookmark import Bookmark

FINISH_WITHIN = 0.5
"""For how many seconds a write that is under way when we are told to end may go on. It is as good as never needed: only
an output that nobody reads takes longer, and then what it holds may come again after the next start."""

LAGGING_EVERY = 5.0


async def listen(
    config: Config,
    following: Following,
    accounts: Collection[int] | None,
    *,
    announce_to: int,
    json: bool = False,
    safe: bool = True,
    acting: Acting | None = None,
) -> None:
    """Write the accounts' events (None: those of all) to standard output until cancelled.

    `json` writes the events' own JSON, and `safe` then escapes what drives a terminal. "listening for events from"
    goes to the file descriptor `announce_to`, when that has become true. Raises Misconfigured and OutputClosed.
    """
    async with AsyncExitStack() as stack:
        since, bookmark, relay = following.since, None, None
        if following.serve is not None:
            from listener.relay import open_relay

            relay = await stack.enter_async_context(open_relay(following.serve, following.allow_origin, accounts))
            await write([f"relaying on {url}" for url in relay.urls], to=STDERR)
        if following.state is not None:
            from listener.bookmark import open_bookmark

            bookmark = await stack.enter_async_context(open_bookmark(following.state))
            since = bookmark.position or since

        def report(part: str, reason: str | None) -> None:
            tell_health(part, reason)
            if relay is not None:
                relay.ring.note_health(away=reason is not None)

        actions = None
        if acting is not None and acting.exec is not None:
            from listener.acting import open_acting

            reached: Callable[[str], object] = (lambda position: None) if bookmark is None else bookmark.note
            actions = await stack.enter_async_context(open_acting(acting, tell, reached))

        source = await stack.enter_async_context(open_source(config, accounts, since, report))
        screen = Screen(accounts, announce_to=announce_to, json=json, safe=safe)
        while True:
            frames = await source.receive()
            if relay is not None:
                relay.pass_on(frames)
            for drawn in screen.draw(frames):
                if bookmark is None or actions is not None:
                    await _write(drawn)
                else:
                    await finish(partial(_write, drawn, bookmark), within=FINISH_WITHIN)
            if actions is not None:
                await _act(actions, frames)


async def _act(actions: Actions, frames: Iterable[Frame]) -> None:
    for frame in frames:
        match frame:
            case EventFrame():
                try:
                    await actions.take(frame)
                except NoEvent:
                    actions.pass_by(frame.position)
            case Ready():
                actions.pass_by(frame.position)


class Drawn(NamedTuple):
    """Lines for a file descriptor, maybe none, and the Position that is reached once they are written."""

    to: int
    lines: list[str | bytes]
    reached: str | None


async def _write(drawn: Drawn, bookmark: Bookmark | None = None) -> None:
    if drawn.lines:
        await write(drawn.lines, to=drawn.to)
    if bookmark is not None and drawn.reached is not None:
        bookmark.note(drawn.reached)


class Screen:
    """From frames to lines."""

    def __init__(self, accounts: Collection[int] | None, *, announce_to: int, json: bool, safe: bool) -> None:
        self._announcement: str | None = f"listening for events from: {account_list(accounts)}"
        self._announce_to = announce_to
        self._json = json
        self._safe = safe
        self._lagged_at = float("-inf")

    def draw(self, frames: Iterable[Frame]) -> Iterator[Drawn]:
        """What to write where, in order, each as much as can be written at once; and the Position reached with it."""
        drawn = (item for frame in frames for item in self._draw(frame))
        for to, items in groupby(drawn, key=lambda item: item[0]):
            lines: list[str | bytes] = []
            reached: str | None = None
            for _, text, position in items:
                if text is not None:
                    lines.append(text)
                reached = position or reached
            yield Drawn(to, lines, reached)

    def _draw(self, frame: Frame) -> Iterator[tuple[int, str | bytes | None, str | None]]:
        """A file descriptor, the line for it, and the Position that is reached with it; either may be missing."""
        match frame:
            case EventFrame():
                try:
                    text = json_line(frame.line, safe=self._safe) if self._json else line(frame.line)
                    yield STDOUT, text, frame.position
                except NoEvent as error:
                    yield STDERR, f"Skipped a message that is no event: {error}.", frame.position
            case Ready():
                yield self._announce_to, self._announcement, frame.position
                self._announcement = None
            case Gap():
                yield STDERR, gap_line(frame), None
            case Error():
                whose = "" if frame.account_id is None else f"account {frame.account_id}: "
                yield STDERR, f"! {whose}{escape(frame.detail)}", None
            case Lagging() if trio.current_time() - self._lagged_at > LAGGING_EVERY:
                self._lagged_at = trio.current_time()
                yield STDERR, f"! {frame.behind} events behind, catching up", None
