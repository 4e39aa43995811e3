"""The line at the bottom of a terminal: how the connection is, how much comes, what is behind and what is gone."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NoReturn

import trio

from listener.output import cut_to, escape
from listener.settings import Showing
from listener.terminal import STDERR, bottom_line, use_color
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
    if not shown or not showing.status:
        yield line
        return
    with bottom_line.shown() as has_place:
        if not has_place:
            yield line
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_drawn, line.text, use_color(showing.color, STDERR))
            yield line
            nursery.cancel_scope.cancel()


async def keep_drawn(text_in: Callable[[int], str], color: bool) -> NoReturn:
    """Draw the line again and again; `text_in` gives it in at most so many cells."""
    while True:
        try:
            width = os.get_terminal_size(STDERR).columns
        except OSError:
            width = 80
        text = text_in(max((width or 80) - 1, 1))
        bottom_line.draw(f"\x1b[2m{text}\x1b[0m" if color else text)
        await trio.sleep(DRAW_EVERY)
