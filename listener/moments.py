"""How an event's Timestamp is shown: in UTC, in the local time zone, or as an age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

Kind = Literal["utc", "local", "relative"]

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse(timestamp: str) -> datetime:
    """Return the moment that an RFC 3339 text means, in UTC. Raises ValueError or OverflowError if it is none."""
    moment = datetime.fromisoformat(timestamp)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def age(seconds: float) -> str:
    """Return an age in its largest whole unit: 3s ago, 5m ago, 2d ago; below a second: now; ahead of us: in 3s."""
    for unit, length in _UNITS:
        if abs(seconds) >= length:
            count = f"{int(abs(seconds) / length)}{unit}"
            return f"{count} ago" if seconds > 0 else f"in {count}"
    return "now"


def of_the_go_cli(kind: Kind, now: Callable[[], datetime]) -> Callable[[datetime], str]:
    """Return what shows a moment as `2021-02-06 17:35:30:123`: milliseconds, cut, not rounded."""

    def show(moment: datetime) -> str:
        if kind == "relative":
            return age((now() - moment).total_seconds())
        time = (_local(moment) if kind == "local" else moment).isoformat(" ", "milliseconds")
        return f"{time[:19]}:{time[20:23]}"

    return show


def as_written(kind: Kind, now: Callable[[], datetime]) -> Callable[[str, datetime], str]:
    """Return what shows a Timestamp, and the moment that it means, in RFC 3339: as it is, if that is to be UTC."""

    def show(timestamp: str, moment: datetime) -> str:
        if kind == "relative":
            return age((now() - moment).total_seconds())
        return timestamp if kind == "utc" else _local(moment).isoformat(timespec="microseconds")

    return show


def _local(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except (OverflowError, ValueError, OSError):  # before the first year that there is, or beyond the last
        return moment
