"""What `listener top` shows: from figures and a size to lines. Pure."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from listener.painter import Painter, Terminal
from listener.rates import Rates
from listener.sparkline import averages, sparkline
from listener.top_figures import Figures
from listener.top_table import NARROW, body, figure

_HINT = "? help"
_HELP = "q quit   m by 1 minute   f by 5 minutes   ↑ ↓ PgUp PgDn scroll   ? hide"
_SHORT_HELP = "q quit  m 1 min  f 5 min  ↑↓ scroll"
_PLAIN = str.maketrans({"↑": "k", "↓": "j"})


class Drawn(NamedTuple):
    """A screen: its lines, by how many lines of its table it is scrolled now, and how many are a page."""

    lines: list[str]
    offset: int
    page: int


def draw(figures: Figures, width: int, height: int, terminal: Terminal) -> Drawn:
    """The figures on a screen of this size, a line for each of its lines."""
    painter = Painter(width - 1, terminal)  # the last column stays free: to clear the rest of a line clears it, too
    rows = (height >= 4) + (height >= 8) + (height >= 18)
    head = _head(figures, painter, bars=rows - 1, title=height >= 6)[: max(1, height)]
    foot = 1 if height >= 6 else 0
    room = max(0, height - len(head) - foot)
    table = body(figures, painter)
    offset = max(0, min(figures.offset, len(table) - room))
    shown = table[offset : offset + room]
    if shown and offset > shown[0].heading_at:
        shown[0] = table[shown[0].heading_at]  # it stays, above what scrolls under it
    lines = [*head, *(line.text for line in shown)]
    lines += [Text()] * (height - foot - len(lines))
    if foot:
        hidden = len(table) > room
        lines.append(_foot(figures, painter, f"{offset + 1}-{offset + len(shown)} of {len(table)}" if hidden else ""))
    return Drawn(painter.paint(lines), offset, max(1, room - 2))


def snapshot(figures: Figures, width: int, terminal: Terminal) -> list[str]:
    """All of the figures, as lines of text."""
    painter = Painter(width, terminal, bars=False)
    lines = [*_head(figures, painter, bars=1, title=True), *(line.text for line in body(figures, painter))]
    return [line.rstrip() for line in painter.paint(lines)]


def _head(figures: Figures, painter: Painter, *, bars: int, title: bool) -> list[Text]:
    latest = figures.latest
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
    number = 9 if width < NARROW else 11
    totals = [
        ("now", f"{latest.rate:>{number - 3},}"),
        ("1 min", figure(latest.minute, number)),
        ("5 min", figure(latest.five_minutes, number)),
    ]
    text = Text()
    for label, total in totals:
        if text.cell_len + len(f" {label} {total}") > width:
            return text
        text.append(f" {label} ", "dim").append(total, "bold").append("  ")
    return text.append("events/s", "dim") if text.cell_len + len("events/s") <= width else text


def _foot(figures: Figures, painter: Painter, scrolled: str) -> Text:
    hint = _HINT
    if figures.help:
        hint = _HELP if cell_len(_HELP) + len(scrolled) + 4 <= painter.width else _SHORT_HELP
    if not painter.unicode:
        hint = hint.translate(_PLAIN)
    hint = painter.fit(hint, painter.width - 1)
    space = painter.width - 1 - cell_len(hint) - len(scrolled)
    return Text.assemble(" ", hint, " " * space, scrolled, style="dim") if space >= 2 else Text(f" {hint}", "dim")
