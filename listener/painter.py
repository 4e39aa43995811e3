"""From text with styles to what a terminal of some width can show, by way of rich."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from listener.output import escape
from listener.sparkline import ASCII, BLOCKS


class Terminal(NamedTuple):
    """What the terminal can do."""

    unicode: bool = True
    """Whether its characters are those of Unicode, or those of ASCII alone."""
    colors: bool = True
    """Whether colours are wanted; with `styles` off there are none either."""
    styles: bool = True
    """Whether it understands escape sequences."""


class Painter:
    """Writes the lines of one screen."""

    def __init__(self, width: int, terminal: Terminal, *, bars: bool = True) -> None:
        self.width = width
        self.bars = bars
        self.unicode = terminal.unicode
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
        return safe if self.unicode else safe.encode("ascii", "backslashreplace").decode()

    def fit(self, text: str, width: int) -> str:
        """At most so many cells of a text; what is cut is seen to be."""
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, max(0, width - 1)).rstrip() + ("…" if self.unicode else "~")

    def paint(self, lines: Iterable[Text]) -> list[str]:
        painted = []
        for line in lines:
            self._console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
            painted.append(self._file.getvalue())
            self._file.seek(0)
            self._file.truncate()
        return painted
