"""The line at the bottom of a terminal: how the connection is, how much comes, what is behind and what is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NoReturn

import trio

from listener.output import cut_to, escape
from listener.settings import Showing
from listener.terminal import STDERR, bottom_line, columns, use_color
from shared.frames import EventFrame, Frame, Gap, Lagging, Ready

DRAW_EVERY = 0.5
RATE_OVER = 5.0
"""Over how many seconds the rate is taken."""


class Rate:
    """How fast a count grows, over the last RATE_OVER seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque([(trio.current_time(), 0)])

    def at(self, count: int) -> float:
        """By how much a second, now that it is this. To be called now and then."""
        now = trio.current_time()
        self._counts.append((now, count))
        while len(self._counts) > 2 and now - self._counts[1][0] >= RATE_OVER:
            self._counts.popleft()
        began, before = self._counts[0]
        return (count - before) / (now - began) if now > began else 0.0


class StatusLine:
    """What the line says."""

    def __init__(self) -> None:
        self.events = 0
        self._gaps = 0
        self._behind = 0
        self._ready = False
        self._away: str | None = None
        self._since = trio.current_time()
        self._rate = Rate()

    def note(self, frames: Iterable[Frame]) -> None:
        """These came."""
        for frame in frames:
            match frame:
                case EventFrame():
                    self.events += 1
                    self._behind = max(self._behind - 1, 0)
                case Gap():
                    self._gaps += 1
                case Lagging():
                    self._behind = frame.behind
                    self._ready = False
                case Ready():
                    self._behind = 0
                    self._ready = True

    def note_health(self, reason: str | None) -> None:
        """The server went away, for this reason; or is back."""
        self._away = reason
        self._since = trio.current_time()

    def text(self, width: int) -> str:
        """The line, in at most `width` cells. To be called now and then."""
        rate = self._rate.at(self.events)
        if self._away is not None:
            state = f"away for {trio.current_time() - self._since:.0f} s"
        elif self._ready:
            state = "connected"
        else:
            state = "catching up" if self.events else "connecting"
        parts = [state, f"{rate:,.0f}/s", f"{self.events:,} events", f"{self._behind:,} behind", f"{self._gaps:,} gaps"]
        if self._away is not None:
            parts.append(escape(self._away))
        return cut_to(" | ".join(parts), width)


@asynccontextmanager
async def open_status_line(showing: Showing, *, shown: bool) -> AsyncIterator[StatusLine]:
    """A status line, shown in the block if there is a place for it, and if it is to be."""
    line = StatusLine()
    if shown and showing.status:
        async with drawn_below(line.text, color=use_color(showing.color, STDERR)):
            yield line
    else:
        yield line


@asynccontextmanager
async def drawn_below(text_in: Callable[[int], str], *, color: bool, after: float = 0.0) -> AsyncIterator[bool]:
    """In the block, show what `text_in` gives, in at most so many cells, at the bottom of the terminal, once `after`
    seconds have passed. Yields whether there is a place for it."""
    with bottom_line.shown() as has_place:
        async with trio.open_nursery() as nursery:
            if has_place:
                nursery.start_soon(_keep_drawn, text_in, color, after)
            yield has_place
            nursery.cancel_scope.cancel()


async def _keep_drawn(text_in: Callable[[int], str], color: bool, after: float) -> NoReturn:
    await trio.sleep(after)
    while True:
        text = text_in(max(columns(STDERR) - 1, 1))
        bottom_line.draw(f"\x1b[2m{text}\x1b[0m" if color else text)
        await trio.sleep(DRAW_EVERY)
