"""The items of a bulk, `{"ID":7,"Data":…}`: taken out of what a client sent, in bounded steps, without any waiting.

An item that is none is a refusal in its place, and does not spoil the others.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from shared import events
from shared.errors import Refused
from shared.events import DataTooLarge
from tracker.tracking import Item

Parsed = Item | Refused

SPARE = 4
"""How many times as long as its data an item may be: white space and escapes make it longer than what is kept."""
_STEP = 20_000
"""How many turns a step through an array takes at most. One is 0.4 µs; only items with much in them take many."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OUTSIDE = re.compile(rb'(?:[^"\[\]{},]++|%b)*+' % _STRING, re.DOTALL)
"""What may stand before the next bracket or comma."""
_INSIDE = re.compile(rb'(?:[^"\[\]{}]++|%b)*+' % _STRING, re.DOTALL)
"""What may stand before the next bracket."""


class _Raw(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[int, msgspec.Meta(ge=1)] = msgspec.field(name="ID")
    data: msgspec.Raw = msgspec.field(name="Data")


_decode = msgspec.json.Decoder(_Raw).decode


def item(text: bytes, limit: int) -> Parsed:
    """Return the event in `text`, whose data takes at most `limit` bytes as JSON, or why there is none."""
    if len(text) > SPARE * limit:
        return DataTooLarge(f"The item takes more than {SPARE * limit} bytes, which is the most.")
    try:
        raw = _decode(text)
        return Item(raw.id, events.encode_json(bytes(raw.data), limit))
    except Refused as error:
        return error
    except RecursionError:
        return Refused("The item is nested too deeply: expected at most a few hundred levels.")
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        return Refused(f'The item is no such JSON as expected here, {{"ID":1,"Data":…}}: {error}.')


class Lines:
    """Items a line each, as they come. Empty lines are none."""

    def __init__(self, limit: int) -> None:
        """`limit` is how many bytes an item's data may take as JSON."""
        self._limit = limit
        self._most_kept = SPARE * limit + 1  # of a line that is too long anyway
        self._begun = bytearray()  # a line whose end has not come
        self._lines: list[bytes] = []

    @property
    def waiting(self) -> bool:
        """Whether there are lines to take."""
        return bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Add what came. All lines that there are should be taken before."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._begun) + lines[0]
            self._lines += [line for line in lines if line and not line.isspace()]
            self._begun.clear()
        self._begun += rest[: self._most_kept - len(self._begun)]

    def end(self) -> None:
        """Nothing more will come: the last line needs no end."""
        self.feed(b"\n")

    def take(self, most: int) -> list[Parsed]:
        """The items of the next lines, of so many at most."""
        lines, self._lines = self._lines[:most], self._lines[most:]
        return [item(line, self._limit) for line in lines]


class Array:
    """The items of a JSON array that has come as a whole.

    Where one item ends and the next one begins is found without looking closer, so an item that is no JSON does not
    spoil the others, unless brackets or quotes are missing.
    """

    def __init__(self, body: bytes, limit: int) -> None:
        """`limit` is how many bytes an item's data may take as JSON."""
        self._body = body
        self._limit = limit
        self._at = _SPACE.match(body).end()  # type: ignore[union-attr]  # it always matches
        self._begin = 0
        self._depth = 0
        self.over = False
        self.fault = ""
        """What makes the rest unreadable."""
        if body.startswith(b"[", self._at):
            self._begin = self._at = self._at + 1
            if body.startswith(b"]", self._past_space()):
                self._finish(self._past_space())
        else:
            self._break("an array begins with [")

    def take(self, most: int) -> list[Parsed]:
        """Items that come next, of which there are so many at most; in one step there may be none."""
        found: list[Parsed] = []
        body, turns = self._body, 0
        while not self.over and len(found) < most and turns < _STEP:
            turns += 1
            self._at = (_INSIDE if self._depth else _OUTSIDE).match(body, self._at).end()  # type: ignore[union-attr]
            mark = body[self._at : self._at + 1]
            if self._depth == 0 and mark in (b",", b"]"):
                found.append(item(body[self._begin : self._at], self._limit))
                self._begin = self._at + 1
                if mark == b"]":
                    self._finish(self._at)
            elif mark in (b"[", b"{"):
                self._depth += 1
            elif self._depth and mark in (b"]", b"}"):
                self._depth -= 1
            elif mark == b"}":
                self._break("there is a } that closes nothing")
            else:
                self._break("the array has no end" if mark == b"" else "a string has no end")
            self._at += 1
        return found

    def _past_space(self) -> int:
        return _SPACE.match(self._body, self._at).end()  # type: ignore[union-attr]

    def _finish(self, at: int) -> None:
        self.over = True
        self._at = at + 1
        if self._past_space() < len(self._body):
            self._at = self._past_space()
            self._break("there is more behind the array")

    def _break(self, why: str) -> None:
        self.over = True
        self.fault = f"{why} (byte {self._at})"
