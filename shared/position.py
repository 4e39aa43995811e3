"""Where a follower stands: a Position in the log, and the ways to say where to begin (`since`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.errors import Refused


class Position(NamedTuple):
    """Everything of a log's shard up to and with the event of this number. Its text is `<epoch>-<shard>-<number>`.

    To everyone but the log the text is opaque: "everything after this".
    """

    epoch: str
    shard: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.shard}-{self.number}"


START = Position("start", 0, 0)
"""Before the first event of the log, whichever epoch it is of. It is also where a log stands that was never written
to, and so has no epoch yet."""

Since = Position | datetime
"""Where to begin: after a Position, or with the first event whose Timestamp is this or later."""

_POSITION = re.compile(r"([0-9a-f]{12})-(0)-(0|[1-9][0-9]{0,14})")
_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)
# A + in a query string that nobody encoded arrives as a space.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:[Zz]|([ +-])(\d\d:\d\d))", re.ASCII)
_EXPECTED = (
    "expected a Position as events carry it, a duration such as 90s, 10m, 2h30m or 7d, a time such as "
    "2026-11-23T17:35:30Z, or all"
)


def parse_position(text: str) -> Position:
    """Return the Position written in `text`. Raises Refused if it is none."""
    if text == str(START):
        return START
    if found := _POSITION.fullmatch(text):
        return Position(found[1], int(found[2]), int(found[3]))
    raise Refused(f"{_shown(text)} is no Position: expected one as events and frames carry it, unchanged.")


def parse_since(text: str, now: datetime) -> Since:
    """Return where `since=text` begins; durations count back from `now`. Raises Refused."""
    if text == "all":
        return START
    if found := _TIME.fullmatch(text):
        return _time(text, found)
    if text and (found := _DURATION.fullmatch(text)):
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        try:
            return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        except OverflowError:
            return START
    try:
        return parse_position(text)
    except Refused:
        raise Refused(f"since={_shown(text)} is no place to begin: {_EXPECTED}.") from None


def _time(text: str, found: re.Match[str]) -> datetime:
    date, time, fraction, sign, offset = found.groups()
    zone = "+00:00" if sign is None else ("-" if sign == "-" else "+") + offset
    try:
        return datetime.fromisoformat(f"{date}T{time}{(fraction or '')[:7]}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(f"since={_shown(text)} is no time that there is: {_EXPECTED}.") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
