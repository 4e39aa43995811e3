"""What `listener top` shows."""

from __future__ import annotations

import dataclasses
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from listener.painter import Terminal
from listener.rates import Rates
from listener.top_figures import Figures, Order
from listener.top_screen import Drawn, draw, snapshot
from listener.top_table import columns
from listener.tracker import Account
from shared.rates import AccountRates, TrackerRates

PLAIN = Terminal(styles=False)
UNTIL = datetime(2026, 11, 23, 17, 35, 30, tzinfo=UTC)


def rates(
    accounts: int = 20, *, trackers: tuple[str, ...] = ("a", "b"), rate: int = 7, minute: float = 1234.5
) -> Rates:
    return Rates(
        rate=rate,
        minute=minute,
        five_minutes=minute / 5,
        trackers=[TrackerRates(host, rate, minute, minute / 5) for host in trackers],
        busiest=[
            AccountRates(id=number, minute=float(accounts - number), five_minutes=float(number))
            for number in range(1, accounts + 1)
        ],
        seconds=[0] * 299 + [rate],
        until=UNTIL,
    )


def figures(*history: Rates | None, **others: object) -> Figures:
    made = Figures("Tracker@host:8080", history or (rates(),))
    return dataclasses.replace(made, **others)  # type: ignore[arg-type]


def drawn(shown: Figures, width: int = 80, height: int = 24) -> Drawn:
    return draw(shown, width, height, PLAIN)


def text(shown: Figures, width: int = 80, height: int = 24) -> str:
    return "\n".join(drawn(shown, width, height).lines)


def row(shown: Figures, begins: str, width: int = 80, height: int = 40) -> str:
    [line] = [line for line in drawn(shown, width, height).lines if line.lstrip().startswith(begins)]
    return line


def test_the_whole() -> None:
    names = {1: Account(1, "alice", True), 2: Account(2, "bob", False), 3: None}
    lines = drawn(figures(names=names)).lines
    assert lines[0].split() == ["Tracker@host:8080", "17:35:30", "UTC"]
    assert lines[1].split() == ["now", "7", "1", "min", "1,234.50", "5", "min", "246.90", "events/s"]
    assert lines[5].split() == ["NOW", "1", "MIN", "▼", "5", "MIN", "TRACKER"]
    assert lines[6].split() == ["7", "1,234.50", "246.90", "█", "a"]
    assert lines[9].split() == ["ACCOUNT", "1", "MIN", "▼", "5", "MIN", "NAME"]
    assert lines[10].split() == ["1", "19.00", "1.00", "█", "alice"]
    assert lines[11].split() == ["2", "18.00", "2.00", "█", "bob", "(not", "active)"]
    assert lines[12].split() == ["3", "17.00", "3.00", "█", "no", "such", "account"]
    assert lines[13].split() == ["4", "16.00", "4.00", "█"]
    assert lines[23].split() == ["?", "help", "1-18", "of", "25"]


def test_figures_stand_in_columns_that_do_not_move() -> None:
    low, high = rates(minute=0.02, rate=0), rates(minute=123456.78, rate=98765)
    for width in (40, 60, 80, 120):
        for begins, name in (("NOW", "TRACKER"), ("ACCOUNT", "NAME")):
            lines = [row(figures(one), begins, width) for one in (low, high)]
            assert lines[0] == lines[1]
            assert lines[0].rstrip().endswith(name)
        ends = [line.find("▼") for line in drawn(figures(high), width, 40).lines if "▼" in line]
        assert len(set(ends)) == 1


def test_order() -> None:
    by_minute, by_five = figures(), figures(order=Order.FIVE_MINUTES)
    for shown, first in ((by_minute, "1"), (by_five, "20")):
        lines = drawn(shown, height=40).lines
        heading = next(number for number, line in enumerate(lines) if "ACCOUNT" in line)
        assert lines[heading + 1].split()[0] == first
    assert "5 MIN ▼" in text(by_five)
    assert "5 MIN ▼" in text(by_five, width=40)  # where there is room for one, it is that
    assert "1 MIN ▼" in text(by_minute, width=40)


def test_history() -> None:
    answers = [rates(rate=number) for number in range(1, 9)]
    assert " ▂▃▄▅▆▇█  a" in text(figures(*answers[1:]))
    assert "▂▃ ▅▆▇█  a" in text(figures(*answers[1:3], None, *answers[4:]))  # an outage
    assert "█ ▄  a" in text(figures(rates(rate=2), rates(trackers=("b",)), rates(rate=1)))  # it was not there


def test_scrolling() -> None:
    top = drawn(figures())
    assert (top.offset, top.page) == (0, 16)
    down = drawn(figures(offset=6))
    assert "ACCOUNT" in down.lines[5]  # the heading stays
    assert down.lines[6].split()[0] == "3"
    end = drawn(figures(offset=1_000_000))
    assert end.offset == 7
    assert end.lines[-2].split()[0] == "20"
    assert end.lines[-1].rstrip().endswith("8-25 of 25")
    assert drawn(figures(offset=-5)).offset == 0
    assert "of" not in drawn(figures(offset=3), height=60).lines[-1]


def test_nothing_yet_and_nothing_at_all() -> None:
    nothing = figures(None)
    assert "NOW" not in text(nothing)
    assert "Tracker@host:8080" in text(nothing)
    idle = figures(rates(0, trackers=()))
    assert "No tracker took events in the last five minutes." in text(idle)
    assert "No account had events in the last five minutes." in text(idle)


def test_an_outage_is_said_at_every_size_and_moves_nothing() -> None:
    why = "Since 17:35:31 UTC: the tracker is away"
    for width, height in ((80, 24), (40, 10), (40, 5), (20, 4), (40, 1)):
        lines = drawn(figures(away=why), width, height).lines
        assert any(line.lstrip().startswith("! Since 17:35") for line in lines), (width, height)
    up, away = drawn(figures()).lines, drawn(figures(away=why)).lines
    assert [number for number, lines in enumerate(zip(up, away, strict=True)) if lines[0] != lines[1]] == [4]


def test_help() -> None:
    assert "q quit" not in text(figures())
    for width in (40, 80):
        assert "q quit" in drawn(figures(help=True), width).lines[-1]


@pytest.mark.parametrize("terminal", [Terminal(unicode=False), Terminal(unicode=False, styles=False)])
def test_without_unicode(terminal: Terminal) -> None:
    names = {1: Account(1, "日本" * 40, True), 2: Account(2, "é", True)}
    lines = draw(figures(names=names, help=True, away="away"), 80, 40, terminal).lines
    assert all(line.isascii() for line in lines)
    assert any("\\xe9" in line for line in lines)


def test_colours_only_where_they_are_wanted() -> None:
    shown = figures(away="away")
    assert "\x1b[36m" in "".join(draw(shown, 80, 24, Terminal()).lines)
    plain = "".join(draw(shown, 80, 24, Terminal(colors=False)).lines)
    assert "\x1b[1m" in plain
    assert "\x1b[3" not in plain
    assert "\x1b" not in "".join(draw(shown, 80, 24, PLAIN).lines)


@given(st.text(max_size=60), st.integers(1, 130), st.integers(1, 45), st.integers(0, 40), st.booleans(), st.booleans())
def test_any_name_at_any_size(name: str, width: int, height: int, offset: int, help: bool, unicode: bool) -> None:
    shown = Figures(
        f"Tracker@{name}",
        (rates(trackers=(name, "b")), None, rates(3)),
        {number: Account(number, name, True) for number in range(1, 21)},
        away=name or None,
        offset=offset,
        help=help,
    )
    lines = draw(shown, width, height, Terminal(unicode, styles=False)).lines
    assert len(lines) == height
    for line in lines:
        assert cell_len(line) <= max(1, width - 1), line
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in line), line


def test_columns_take_all_there_is_and_no_more() -> None:
    for width in range(30, 300):
        for order in Order:
            widths = columns(width, order=order)
            gaps = 1 + 2 + (2 if widths.bars else 0)
            assert sum(widths) + gaps == width, (width, widths)


def test_a_snapshot_has_everything() -> None:
    names = {number: Account(number, f"name-{number}", True) for number in range(1, 21)}
    lines = snapshot(figures(names=names), 100, PLAIN)
    assert [line for line in lines if line != line.rstrip()] == []
    assert sum("name-" in line for line in lines) == 20
    assert "█" not in "".join(lines[3:])  # there is no history to show
