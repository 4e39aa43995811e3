"""The trackers and the busiest accounts, as lines of a table. Pure.

Names stand last in a line: whatever a terminal makes of their characters, the figures stay in their columns. Widths
follow from the width of the screen, not from what stands there, so that nothing jumps while figures change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from rich.text import Text

from listener.painter import Painter
from listener.rates import Rates
from listener.sparkline import sparkline
from listener.top_figures import HISTORY, Figures, Order
from listener.tracker import Account

K = TypeVar("K")

NARROW = 60
"""Below this width figures stand closer."""


class Line(NamedTuple):
    """A line of it."""

    text: Text
    heading_at: int
    """Which line of the body is the heading above it."""


class Columns(NamedTuple):
    """Widths in cells; one that is 0 is not shown."""

    first: int
    minute: int
    five_minutes: int
    bars: int
    name: int


def columns(width: int, *, first: int = 0, order: Order = Order.MINUTE, bars: bool = True) -> Columns:
    """The columns of a screen of this width. The first one holds `first` cells at least."""
    narrow = width < NARROW
    number = 9 if narrow else 11
    first = max(7 if narrow else 10, first)
    both = width >= NARROW - 8
    minute = number if both or order is Order.MINUTE else 0
    five = number if both or order is Order.FIVE_MINUTES else 0
    rest = width - 1 - first - minute - five - 2
    wide = min(HISTORY, max((rest - 2) * 2 // 5, rest - 2 - 40)) if bars and rest >= 18 else 0
    return Columns(first, minute, five, wide, max(1, rest - wide - (2 if wide else 0)))


def body(figures: Figures, painter: Painter) -> list[Line]:
    """The trackers, then the accounts."""
    latest = figures.latest
    if latest is None:
        return []
    ids = (account.id for rates in figures.history if rates for account in rates.busiest)
    first = max((len(str(one)) for one in ids), default=0)
    widths = columns(painter.width, first=first, order=figures.order, bars=painter.bars)
    heading = _heading(widths, figures.order, painter, "NOW", "TRACKER")
    rows = _trackers(latest, figures, widths, painter)
    lines = _section(0, heading, rows, "No tracker took events in the last five minutes.")
    lines.append(Line(Text(), 0))
    heading = _heading(widths, figures.order, painter, "ACCOUNT", "NAME")
    rows = _accounts(latest, figures, widths, painter)
    return lines + _section(len(lines), heading, rows, "No account had events in the last five minutes.")


def _trackers(latest: Rates, figures: Figures, widths: Columns, painter: Painter) -> list[Text]:
    past = _past(figures, widths, lambda rates: {one.host: one.rate for one in rates.trackers})
    return [
        _row(
            widths,
            f"{one.rate:,}",
            one.minute,
            one.five_minutes,
            sparkline([then.get(one.host) for then in past], ramp=painter.ramp)[0],
            Text(painter.fit(painter.text(one.host), widths.name)),
        )
        for one in latest.trackers
    ]


def _accounts(latest: Rates, figures: Figures, widths: Columns, painter: Painter) -> list[Text]:
    past = _past(figures, widths, lambda rates: {one.id: one.minute for one in rates.busiest})
    by_minute = figures.order is Order.MINUTE
    busiest = sorted(
        latest.busiest,
        key=lambda one: (one.minute, one.five_minutes) if by_minute else (one.five_minutes, one.minute),
        reverse=True,
    )
    return [
        _row(
            widths,
            str(one.id),
            one.minute,
            one.five_minutes,
            sparkline([then.get(one.id) for then in past], ramp=painter.ramp)[0],
            _name(one.id, figures.names, painter, widths.name),
        )
        for one in busiest
    ]


def _past(figures: Figures, widths: Columns, of: Callable[[Rates], dict[K, float]]) -> list[dict[K, float]]:
    """What there was at each answer that has a bar; nothing is known of an outage."""
    shown = list(figures.history)[max(0, len(figures.history) - widths.bars) :]
    return [of(rates) if rates is not None else {} for rates in shown]


def _section(at: int, heading: Text, rows: list[Text], if_none: str) -> list[Line]:
    return [Line(row, at) for row in [heading, *(rows or [Text(f" {if_none}", "dim")])]]


def _heading(widths: Columns, order: Order, painter: Painter, first: str, name: str) -> Text:
    text = Text(f" {first:>{widths.first}}", "dim")
    mark = "▼" if painter.unicode else "v"
    for one, width in ((Order.MINUTE, widths.minute), (Order.FIVE_MINUTES, widths.five_minutes)):
        if width:
            label = f"{one.value} {mark}" if one is order else one.value
            text.append(f"{label:>{width}}", "bold not dim" if one is order else "")
    return text.append(" " * (2 + (widths.bars + 2 if widths.bars else 0))).append(name)


def _row(widths: Columns, first: str, minute: float, five_minutes: float, bars: str, name: Text) -> Text:
    text = Text(f" {first:>{widths.first}}")
    for rate, width in ((minute, widths.minute), (five_minutes, widths.five_minutes)):
        if width:
            text.append(figure(rate, width), "" if rate else "dim")
    text.append("  ")
    if widths.bars:
        text.append(bars.rjust(widths.bars), "cyan").append("  ")
    return text.append_text(name)


def figure(rate: float, width: int) -> str:
    """A rate, so that points stand under points."""
    return f"{rate:>{width},.2f}"


def _name(account_id: int, names: Mapping[int, Account | None], painter: Painter, width: int) -> Text:
    if account_id not in names:
        return Text()
    account = names[account_id]
    if account is None:
        return Text(painter.fit("no such account", width), "dim")
    if account.is_active:
        return Text(painter.fit(painter.text(account.name), width))
    return Text(painter.fit(painter.text(account.name) + " (not active)", width), "dim")
