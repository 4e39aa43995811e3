"""When `listener events` is done: after so many events, at one that was expected, at a place in the log, at a gap."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio

from listener.config import seconds_in
from listener.decoded import Decoded
from listener.output import gap_line
from listener.settings import Ending
from listener.status import Status, Stop
from shared.errors import Misconfigured, Refused
from shared.frames import EventFrame, Frame, Gap, Ready
from shared.position import Position, parse_position, parse_since

LATE = 5.0
"""For how many seconds after a moment events of before may still come: a tracker holds one for 4.5 s at most before it
is in the log, or refused."""


class Until(Protocol):
    """Where to end: all up to there belongs to it."""

    def past(self, frame: EventFrame, event: Decoded) -> bool:
        """Whether this event comes after that."""

    def reached(self, ready: Ready) -> bool:
        """Whether one who has all up to here has all that belongs to it."""

    @property
    def deadline(self) -> float:
        """When by trio's clock it is reached, if the follower is caught up then."""


class _UntilNow:
    """What is in the log when the follower has caught up."""

    deadline = math.inf

    def past(self, frame: EventFrame, event: Decoded) -> bool:
        return False

    def reached(self, ready: Ready) -> bool:
        return True


class _UntilPosition:
    """All up to and with the event of a Position."""

    deadline = math.inf

    def __init__(self, position: Position) -> None:
        self._end = position

    def past(self, frame: EventFrame, event: Decoded) -> bool:
        return self._number(frame.position) > self._end.number

    def reached(self, ready: Ready) -> bool:
        return self._number(ready.position) >= self._end.number

    def _number(self, text: str) -> int:
        try:
            position = parse_position(text)
        except Refused:
            return -1
        if position.number and position.epoch != self._end.epoch:
            raise Misconfigured(f"--until {self._end} is no Position of this log, whose events have {text}.")
        return position.number


class _UntilTime:
    """All before the first event that was accepted later than a time, as `since` a time begins with the first one of
    then or later. (The order of the log is nearly that of time, but not quite.)"""

    def __init__(self, moment: datetime, now: datetime) -> None:
        self._end = moment
        self._begun = now
        self._begun_at = trio.current_time()

    @property
    def deadline(self) -> float:
        return self._begun_at + (self._end - self._begun).total_seconds() + LATE

    def past(self, frame: EventFrame, event: Decoded) -> bool:
        return event.moment > self._end

    def reached(self, ready: Ready) -> bool:
        return trio.current_time() >= self.deadline


def parse_until(text: str, now: datetime) -> Until:
    """Return what `--until` means: now, a Position, a time, a duration (ago), or + and a duration (from now).

    Raises Misconfigured.
    """
    if text == "now":
        return _UntilNow()
    try:
        if text.startswith("+") and (seconds := seconds_in(text[1:])) is not None:
            return _UntilTime(now + timedelta(seconds=seconds), now)
        where = parse_since(text, now)
    except (Refused, OverflowError):
        raise Misconfigured(
            f"--until {text[:40]!r} is no place to end: expected now, a Position as events carry it, a time such as "
            "2026-11-23T17:35:30Z, a duration ago such as 10m, or one from now such as +30s."
        ) from None
    return _UntilPosition(where) if isinstance(where, Position) else _UntilTime(where, now)


class Ends:
    """Whether it is over, told of each frame in turn. `over` is the status then, and `why` a text for people."""

    def __init__(self, settings: Ending, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises Misconfigured."""
        self.over: Status | None = None
        self.why = ""
        self._settings = settings
        self._left = settings.count
        self._expected: Callable[[Decoded], bool] | None = None
        if settings.expect is not None:
            from listener.expression import Where  # it takes a while to load

            self._expected = Where(settings.expect, "--expect")
        self._until = None if settings.until is None else parse_until(settings.until, now())
        self._current_since = math.inf
        self._interrupted = False

    def stop(self) -> Stop | None:
        """What to raise, if this is no good end."""
        return Stop(self.over, self.why) if self.over else None

    def excludes(self, frame: EventFrame, event: Decoded) -> bool:
        """Whether an event comes after what was asked for. Then it is over."""
        if self._until is None or not self._until.past(frame, event):
            return False
        self._end()
        return True

    def note_event(self, event: Decoded) -> None:
        """An event was written."""
        if self._expected is not None and self._expected(event):
            self.over = Status.DONE
            return
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._end()

    def note(self, frame: Frame) -> None:
        """A frame that is no event was shown."""
        match frame:
            case Gap() if self._settings.strict:
                self.over, self.why = Status.GAP, f"events are gone, and this is --strict: {gap_line(frame)[2:]}."
            case Ready():
                self._current_since = trio.current_time()
                if self._until is not None and self._until.reached(frame):
                    self._end()

    def note_health(self, *, away: bool) -> None:
        """The server went away, and nobody knows what comes meanwhile; or it is back, and that follows."""
        self._interrupted = True
        self._current_since = math.inf if away else trio.current_time()

    @property
    def deadline(self) -> float:
        """When, by trio's clock, it is over if nothing more comes."""
        if self._until is None:
            return math.inf
        return max(self._until.deadline, self._current_since + LATE if self._interrupted else self._current_since)

    def pass_deadline(self) -> None:
        """The deadline has passed."""
        self._end()

    def _end(self) -> None:
        if self._expected is None:
            self.over = Status.DONE
        else:
            self.over = Status.FAULT
            self.why = f"no event came for which this is true: --expect {self._settings.expect!r}."
