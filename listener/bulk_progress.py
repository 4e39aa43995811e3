"""How far a bulk is, for people: a bar at the bottom of a terminal, or else a line now and then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from listener.output import cut_to
from listener.status_line import Rate, drawn_below
from listener.terminal import STDERR, tell, use_color

TELL_EVERY = 10.0
_BAR = 24


@dataclass
class Counts:
    """What the tracker confirmed, and what was seen, since the start."""

    sent: int = 0
    refused: int = 0
    lines: int = 0
    frames: int = 0
    bytes: int = 0

    def summary(self, seconds: float) -> str:
        """The last line: `sent 9998 events, refused 2, of 10000 lines in 1.3 s (7,700/s)`."""
        rate = self.sent / seconds if seconds > 0 else 0.0
        frames = f" ({_many(self.frames, 'control frame')} skipped)" if self.frames else ""
        many = f"sent {_many(self.sent, 'event')}, refused {self.refused}, of {_many(self.lines, 'line')}"
        return f"{many}{frames} in {seconds:.1f} s ({rate:,.0f}/s)"


class Progress:
    """What is shown of it meanwhile."""

    def __init__(self, counts: Counts, total: int | None, before: int = 0) -> None:
        """`total` is how many bytes there are in all (None: unknown), of which `before` were done before."""
        self._counts = counts
        self._total = total
        self._before = before
        self._events = Rate()
        self._bytes = Rate()

    def text(self, width: int) -> str:
        """The bar and what is known, in at most `width` cells."""
        parts = self._parts()
        if self._total:
            full = int(_BAR * self._share)
            parts[0] = f"{'█' * full}{'░' * (_BAR - full)} {parts[0]}"
        return cut_to(" | ".join(parts), width)

    def line(self) -> str:
        """The same without a bar."""
        return ", ".join(self._parts())

    def _parts(self) -> list[str]:
        counts, speed = self._counts, self._bytes.at(self._counts.bytes)
        parts = [f"sent {counts.sent:,}", f"refused {counts.refused:,}", f"{self._events.at(counts.sent):,.0f}/s"]
        if self._total:
            parts.insert(0, f"{self._share:4.0%}")
            rest = self._total - self._before - counts.bytes
            parts.append(f"{_clock(rest / speed)} left" if speed > 0 else "-:-- left")
        return parts

    @property
    def _share(self) -> float:
        return min((self._before + self._counts.bytes) / self._total, 1.0) if self._total else 0.0


@asynccontextmanager
async def shown(progress: Progress) -> AsyncIterator[None]:
    """In the block, show it on standard error."""
    async with (
        drawn_below(progress.text, color=use_color("auto", STDERR)) as has_place,
        trio.open_nursery() as nursery,
    ):
        if not has_place:
            nursery.start_soon(_tell_now_and_then, progress)
        yield
        nursery.cancel_scope.cancel()


async def _tell_now_and_then(progress: Progress) -> None:
    while True:
        await trio.sleep(TELL_EVERY)
        tell(progress.line().strip())


def _clock(seconds: float) -> str:
    """1:05, or 2:00:00 from an hour on."""
    minutes, rest = divmod(int(min(seconds, 360_000)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
