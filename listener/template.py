r"""Text with places for an event in it: `{Timestamp} {Data.amount}`.

It looks like Python's format strings and does much less: there is nothing but the fields of an event, and what its data
hold. What an event says is put in as it is, and never read as a template.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import NamedTuple

from listener.decoded import Decoded
from shared.errors import Refused

NAMES = ("ID", "Timestamp", "Data", "Host", "Position", "Seq")
EXPECTED = (
    f"Expected {', '.join(f'{{{name}}}' for name in NAMES)}, or a path into JSON data such as {{Data.amount}} or "
    "{Data.items.0.name}; for a brace itself, write {{ or }}."
)

_NUMBERS = ("ID", "Seq")
_BRACES = r"\{\{|\}\}|\{[^{}]*\}|[{}]"
_PLAIN = re.compile(rf"{_BRACES}|[^{{}}]+", re.DOTALL)
_ESCAPED = re.compile(rf"{_BRACES}|\\.?|[^{{}}\\]+", re.DOTALL)
_ESCAPES = {r"\t": "\t", r"\n": "\n", r"\\": "\\"}
_NUMBER_SPEC = re.compile(r"(.?[<>^=])?[+ -]?0?\d{0,3}[,_]?d?", re.DOTALL)
_TEXT_SPEC = re.compile(r"(.?[<>^])?([1-9]\d{0,2})?(\.\d{1,3})?s?", re.DOTALL)
"""No 0 in front of a width: in text, Python puts zeros at the end, and makes 5 of 5.0 thousands."""


class _Place(NamedTuple):
    name: str
    path: list[str]
    spec: str

    def text(self, event: Decoded, shown: Callable[[str], str]) -> str:
        match self.name:
            case "ID":
                return format(event.id, self.spec)
            case "Seq":
                return format(event.seq, self.spec)
            case "Data":
                value = event.text_at(self.path) if self.path else event.data_text
            case name:
                value = str({"Timestamp": event.timestamp, "Host": event.host, "Position": event.position}[name])
        return format(shown(value), self.spec)


class Template:
    """A template that was read once, and is filled in for each event."""

    def __init__(self, text: str, *, escapes: bool = False) -> None:
        r"""With `escapes`, \t, \n and \\ in the text mean a tab, an end of line and a backslash.

        Raises Refused, which says where the text is no good and what was expected there.
        """
        self._parts: list[str | _Place] = []
        for found in (_ESCAPED if escapes else _PLAIN).finditer(text):
            self._parts.append(_part(found[0], found.start() + 1, escapes=escapes))

    @property
    def has_placeholders(self) -> bool:
        """Whether anything of an event goes into it."""
        return any(isinstance(part, _Place) for part in self._parts)

    @property
    def literal(self) -> str:
        """The text without its placeholders."""
        return "".join(part for part in self._parts if isinstance(part, str))

    def render(self, event: Decoded, shown: Callable[[str], str] = str) -> str:
        """Return the text for an event. Every text of the event goes through `shown`, which may escape it."""
        return "".join(part if isinstance(part, str) else part.text(event, shown) for part in self._parts)


def _part(piece: str, column: int, *, escapes: bool) -> str | _Place:
    if piece in ("{{", "}}"):
        return piece[0]
    if piece == "{":
        raise Refused(f"column {column}: this {{ is never closed. {EXPECTED}")
    if piece == "}":
        raise Refused(f"column {column}: this }} closes nothing. {EXPECTED}")
    if piece.startswith("{"):
        return _place(piece[1:-1], column)
    if escapes and piece.startswith("\\"):
        if piece not in _ESCAPES:
            raise Refused(rf"column {column}: {_short(piece)} means nothing. Expected \t, \n, or \\ for a backslash.")
        return _ESCAPES[piece]
    return piece


def _place(inside: str, column: int) -> _Place:
    path, _, spec = inside.partition(":")
    name, *steps = path.split(".")
    if name not in NAMES:
        close = get_close_matches(name.title(), NAMES, n=1) or [known for known in NAMES if known == name.upper()]
        meant = f" Did you mean {{{close[0]}}}?" if close else ""
        raise Refused(f"column {column}: there is no {{{_short(path)}}}.{meant} {EXPECTED}")
    if steps and name != "Data":
        raise Refused(f"column {column}: nothing is inside of {name}, only of Data. {EXPECTED}")
    if "" in steps:
        raise Refused(f"column {column}: in {{{_short(path)}}} a name is missing between dots. {EXPECTED}")
    number = name in _NUMBERS
    if not (_NUMBER_SPEC if number else _TEXT_SPEC).fullmatch(spec):
        like = f"{{{name}:>6}} or {{{name}:06}}" if number else f"{{{path}:<20}}, or {{{path}:.20}} to cut it"
        raise Refused(f"column {column}: {_short(spec)} is no format of {name}. Expected one such as {like}.")
    return _Place(name, steps, spec)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
