"""Positions, and the ways to say where to begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import Refused
from shared.position import START, Position, parse_position, parse_since

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_position_is_read_as_it_is_written() -> None:
    for position in (START, Position("6b9522b15de7", 0, 0), Position("6b9522b15de7", 0, 999_999_999_999_999)):
        assert parse_position(str(position)) == position
        assert parse_since(str(position), NOW) == position


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("all", START),
        ("90s", NOW - timedelta(seconds=90)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h30m", NOW - timedelta(hours=2, minutes=30)),
        ("7d", NOW - timedelta(days=7)),
        ("1d2h3m4s", NOW - timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("0s", NOW),
        ("999999d", START),
        ("2026-11-23T11:00:00Z", NOW - timedelta(hours=1)),
        ("2026-11-23t11:00:00z", NOW - timedelta(hours=1)),
        ("2026-11-23T11:00:00.5Z", NOW - timedelta(hours=1) + timedelta(milliseconds=500)),
        ("2026-11-23T12:00:00.123456789+01:00", NOW - timedelta(hours=1) + timedelta(microseconds=123_456)),
        ("2026-11-23T12:00:00 01:00", NOW - timedelta(hours=1)),
        ("2026-11-23T09:30:00-01:30", NOW - timedelta(hours=1)),
    ],
)
def test_since(text: str, since: Position | datetime) -> None:
    assert parse_since(text, NOW) == since


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "10", "m", "-5m", "5m ", "5 m", "5m10h", "1.5h", "10M", "ALL", "now", "2026-11-23", "2026-10-10",
        "2026-11-23T11:00:00", "2026-02-30T11:00:00Z", "2026-11-23T25:00:00Z", "0001-01-01T00:00:00+23:59",
        "6b9522b15de7-0-", "6b9522b15de7-0-01", "6b9522b15de7-0--1", "6b9522b15de7-1-1", "6B9522B15DE7-0-1",
        "6b9522b15de7-0-9999999999999999", "start-0-1", "xyz-0-1", "6b9522b15de7-0-1 ", "6b9522b15de7-0-\u0661",
        "\u0661m", "\x00", "é" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_place_to_begin(text: str) -> None:
    with pytest.raises(Refused, match=r"expected a Position .* a duration .* a time .* or all") as refused:
        parse_since(text, NOW)
    assert len(str(refused.value)) < 400
    with pytest.raises(Refused, match="is no Position"):
        parse_position(text)
