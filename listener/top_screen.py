"""What `listener top` shows: from figures and a size to lines. Pure.

Names stand last in a line: whatever a terminal makes of their characters, the figures stay in their columns. Widths
follow from the width of the screen, not from what stands there, so that nothing jumps while figures change.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from listener.output import escape
from listener.rates import Rates
from listener.sparkline import ASCII, BLOCKS, averages, sparkline
from listener.tracker import Account

HISTORY = 120
"""How many answers are remembered, and so how long a line's bars get at most."""

_NARROW = 60
_HINT = "? help"
_HELP = "q quit   m by 1 minute   f by 5 minutes   ↑ ↓ PgUp PgDn scroll   ? hide"
_SHORT_HELP = "q quit  m 1 min  f 5 min  ↑↓ scroll"
_PLAIN = str.maketrans({"↑": "k", "↓": "j"})


class Order(enum.Enum):
    """By which rate accounts and trackers are ordered."""

    MINUTE = "1 MIN"
    FIVE_MINUTES = "5 MIN"


@dataclass(frozen=True)
class Figures:
    """What there is to show."""

    part: str
    """What a person knows the tracker by."""
    history: Sequence[Rates | None] = ()
    """The last answers, the newest last; None is an outage."""
    names: Mapping[int, Account | None] = field(default_factory=dict)
    """The accounts that were looked up; None: there is none (any more)."""
    away: str | None = None
    """Why the tracker does not answer, and since when."""
    order: Order = Order.MINUTE
    offset: int = 0
    """How many lines it is scrolled."""
    help: bool = False


class Terminal(NamedTuple):
    """What the terminal can do."""

    unicode: bool = True
    """Whether its characters are those of Unicode, or those of ASCII alone."""
    colors: bool = True
    """Whether colours are wanted; with `styles` off there are none either."""
    styles: bool = True
    """Whether it understands escape sequences."""


class Drawn(NamedTuple):
    """A screen: its lines, and by how many lines it is scrolled now and can be at most, and one page is long."""

    lines: list[str]
    offset: int
    page: int


def draw(figures: Figures, width: int, height: int, terminal: Terminal) -> Drawn:
    """The figures on a screen of this size, a line for each of its lines."""
    painter = _Painter(width - 1, terminal)  # the last column stays free: to clear the rest of a line clears it, too
    rows = (height >= 4) + (height >= 8) + (height >= 18)
    head = _head(figures, painter, bars=rows - 1, title=height >= 6)[: max(1, height)]
    foot = 1 if height >= 6 else 0
    room = max(0, height - len(head) - foot)
    body = _body(figures, painter)
    offset = max(0, min(figures.offset, len(body) - room))
    shown = body[offset : offset + room]
    if shown and offset > shown[0].heading_at:
        shown[0] = body[shown[0].heading_at]  # it stays, above what scrolls under it
    lines = [*head, *(line.text for line in shown)]
    lines += [Text()] * (height - foot - len(lines))
    if foot:
        hidden = len(body) > room
        lines.append(_foot(figures, painter, f"{offset + 1}-{offset + len(shown)} of {len(body)}" if hidden else ""))
    return Drawn(painter.paint(lines), offset, max(1, room - 2))


def snapshot(figures: Figures, width: int, terminal: Terminal) -> list[str]:
    """All of the figures, as lines of text."""
    painter = _Painter(width, terminal, bars=False)
    lines = [*_head(figures, painter, bars=1, title=True), *(line.text for line in _body(figures, painter))]
    return [line.rstrip() for line in painter.paint(lines)]


class _Line(NamedTuple):
    text: Text
    heading_at: int
    """Which line of the body is the heading above it."""


class _Columns(NamedTuple):
    """Widths in cells; one that is 0 is not shown."""

    first: int
    minute: int
    five_minutes: int
    bars: int
    name: int


def columns(width: int, *, first: int = 0, order: Order = Order.MINUTE, bars: bool = True) -> _Columns:
    """The columns of a screen of this width. The first one holds `first` cells at least."""
    narrow = width < _NARROW
    number = 9 if narrow else 11
    first = max(7 if narrow else 10, first)
    both = width >= _NARROW - 8
    minute = number if both or order is Order.MINUTE else 0
    five = number if both or order is Order.FIVE_MINUTES else 0
    rest = width - 1 - first - minute - five - 2
    wide = min(HISTORY, max((rest - 2) * 2 // 5, rest - 2 - 40)) if bars and rest >= 18 else 0
    return _Columns(first, minute, five, wide, max(1, rest - wide - (2 if wide else 0)))


class _Painter:
    """Lines of one screen: what fits into them, and how they are written."""

    def __init__(self, width: int, terminal: Terminal, *, bars: bool = True) -> None:
        self.width = width
        self.bars = bars
        self._terminal = terminal
        self.ramp = BLOCKS if terminal.unicode else ASCII
        self._file = StringIO()
        self._console = Console(
            file=self._file,
            width=max(1, width),
            height=1,
            force_terminal=terminal.styles,
            color_system="standard" if terminal.styles else None,
            no_color=not terminal.colors,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def text(self, text: str) -> str:
        """Text that can be shown, whatever is in it."""
        safe = escape(text)
        return safe if self._terminal.unicode else safe.encode("ascii", "backslashreplace").decode()

    def fit(self, text: str, width: int) -> str:
        """At most so many cells of a text; what is cut is seen to be."""
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, max(0, width - 1)).rstrip() + ("…" if self._terminal.unicode else "~")

    def help(self, text: str) -> str:
        return text if self._terminal.unicode else text.translate(_PLAIN)

    def paint(self, lines: Iterable[Text]) -> list[str]:
        painted = []
        for line in lines:
            self._console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
            painted.append(self._file.getvalue())
            self._file.seek(0)
            self._file.truncate()
        return painted


def _head(figures: Figures, painter: _Painter, *, bars: int, title: bool) -> list[Text]:
    latest = _latest(figures)
    lines = []
    if title:
        time = f"{latest.ended:%H:%M:%S} UTC" if latest else ""
        part = painter.fit(painter.text(figures.part), painter.width - 1 - len(time) - 2)
        space = " " * max(1, painter.width - 1 - cell_len(part) - len(time))
        lines.append(Text.assemble(" ", (part, "bold"), space, (time, "dim")))
    lines.append(_totals(latest, painter.width))
    if bars > 0:
        values = averages(latest.seconds, int(latest.ended.timestamp()), painter.width - 1) if latest else []
        drawn = sparkline(values, height=bars, ramp=painter.ramp)
        lines += [Text.assemble(" ", (line.rjust(len(values)), "cyan")) for line in drawn]
    if figures.away is not None:
        notice = Text.assemble((painter.fit(f" ! {painter.text(figures.away)}", painter.width), "bold red"))
        if not title:
            return [notice, *lines]  # the one line that has to be seen
        lines.append(notice)
    elif title:
        lines.append(Text())
    return lines


def _totals(latest: Rates | None, width: int) -> Text:
    if latest is None:
        return Text()
    number = 9 if width < _NARROW else 11
    figures = [
        ("now", f"{latest.rate:>{number - 3},}"),
        ("1 min", _rate(latest.minute, number)),
        ("5 min", _rate(latest.five_minutes, number)),
    ]
    text = Text()
    for label, figure in figures:
        if text.cell_len + len(f" {label} {figure}") > width:
            return text
        text.append(f" {label} ", "dim").append(figure, "bold").append("  ")
    return text.append("events/s", "dim") if text.cell_len + len("events/s") <= width else text


def _body(figures: Figures, painter: _Painter) -> list[_Line]:
    latest = _latest(figures)
    if latest is None:
        return []
    ids = (account.id for rates in figures.history if rates for account in rates.busiest)
    first = max((len(str(one)) for one in ids), default=0)
    widths = columns(painter.width, first=first, order=figures.order, bars=painter.bars)
    by_minute = figures.order is Order.MINUTE

    body: list[_Line] = []
    trackers = [
        _row(widths, f"{one.rate:,}", one.minute, one.five_minutes, bars, Text(painter.fit(host, widths.name)))
        for one in latest.trackers
        for host in [painter.text(one.host)]
        for bars in [_bars(figures, widths, painter, of_host=one.host)]
    ]
    heading = _heading(widths, figures.order, painter, "NOW", "TRACKER")
    body += _section(0, heading, trackers, "No tracker took events in the last five minutes.")

    busiest = sorted(
        latest.busiest,
        key=lambda one: (one.minute, one.five_minutes) if by_minute else (one.five_minutes, one.minute),
        reverse=True,
    )
    accounts = [
        _row(
            widths,
            str(one.id),
            one.minute,
            one.five_minutes,
            _bars(figures, widths, painter, of_account=one.id),
            _name(one.id, figures.names, painter, widths.name),
        )
        for one in busiest
    ]
    body.append(_Line(Text(), 0))
    heading = _heading(widths, figures.order, painter, "ACCOUNT", "NAME")
    return body + _section(len(body), heading, accounts, "No account had events in the last five minutes.")


def _section(at: int, heading: Text, rows: list[Text], if_none: str) -> list[_Line]:
    return [_Line(row, at) for row in [heading, *(rows or [Text(f" {if_none}", "dim")])]]


def _heading(widths: _Columns, order: Order, painter: _Painter, first: str, name: str) -> Text:
    text = Text(f" {first:>{widths.first}}", "dim")
    mark = "▼" if painter.ramp == BLOCKS else "v"
    for one, width in ((Order.MINUTE, widths.minute), (Order.FIVE_MINUTES, widths.five_minutes)):
        if width:
            label = f"{one.value} {mark}" if one is order else one.value
            text.append(f"{label:>{width}}", "bold not dim" if one is order else "")
    return text.append(" " * (2 + (widths.bars + 2 if widths.bars else 0))).append(name)


def _row(widths: _Columns, first: str, minute: float, five_minutes: float, bars: str, name: Text) -> Text:
    text = Text(f" {first:>{widths.first}}")
    for rate, width in ((minute, widths.minute), (five_minutes, widths.five_minutes)):
        if width:
            text.append(_rate(rate, width), "" if rate else "dim")
    text.append("  ")
    if widths.bars:
        text.append(bars, "cyan").append("  ")
    return text.append_text(name)


def _rate(rate: float, width: int) -> str:
    return f"{rate:>{width},.2f}"


def _name(account_id: int, names: Mapping[int, Account | None], painter: _Painter, width: int) -> Text:
    if account_id not in names:
        return Text()
    account = names[account_id]
    if account is None:
        return Text(painter.fit("no such account", width), "dim")
    if account.is_active:
        return Text(painter.fit(painter.text(account.name), width))
    return Text(painter.fit(painter.text(account.name) + " (not active)", width), "dim")


def _bars(
    figures: Figures, widths: _Columns, painter: _Painter, *, of_host: str | None = None, of_account: int | None = None
) -> str:
    """How a tracker's rate, or an account's over a minute, was at each answer; blank where that is not known."""
    if not widths.bars:
        return ""
    values: list[float | None] = []
    for rates in list(figures.history)[-widths.bars :]:
        found: Iterable[float] = ()
        if rates is not None and of_host is not None:
            found = (one.rate for one in rates.trackers if one.host == of_host)
        elif rates is not None:
            found = (one.minute for one in rates.busiest if one.id == of_account)
        values.append(next(iter(found), None))
    return sparkline(values, ramp=painter.ramp)[0].rjust(widths.bars)


def _foot(figures: Figures, painter: _Painter, scrolled: str) -> Text:
    hint = _HINT
    if figures.help:
        long = painter.help(_HELP)
        hint = long if cell_len(long) + len(scrolled) + 4 <= painter.width else painter.help(_SHORT_HELP)
    hint = painter.fit(hint, painter.width - 1)
    space = painter.width - 1 - cell_len(hint) - len(scrolled)
    return Text.assemble(" ", hint, " " * space, scrolled, style="dim") if space >= 2 else Text(f" {hint}", "dim")


def _latest(figures: Figures) -> Rates | None:
    return next((rates for rates in reversed(figures.history) if rates is not None), None)
