"""Expressions over an event, in CEL (the Common Expression Language, https://cel.dev): `Data.amount > 100`.

An expression has the event's keys for variables, ends with every event (CEL has no loops but over what is there), and
can't reach anything else. Regular expressions are matched in linear time, whatever the data. An event for which it has
no answer (the data has no such key, or another type) is one that it does not match.
"""

from __future__ import annotations

import re

import cel
from wcwidth import wcswidth

from listener.decoded import Decoded
from listener.output import escape
from shared.errors import Misconfigured

VARIABLES = ("ID", "Timestamp", "Data", "Host", "Position", "Seq")
LONGEST = 4000
"""How many characters an expression may have."""

_SYNTAX = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)")
_BINDS = r"\.(?:all|exists|exists_one|map|filter)\(\s*{}\s*,"
FUNCTIONS = frozenset(
    (
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "has",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
    )
)
"""What expressions may call, beside all, exists, exists_one, filter and map."""


class Where:
    """An expression that is true for some events."""

    def __init__(self, text: str, option: str) -> None:
        """Raises Misconfigured, showing where the fault is; `option` is what the expression was given by."""
        self._program = _compiled(text, option)

    def __call__(self, event: Decoded) -> bool:
        """Whether the event is one of those. (Something else than true or false is false.)"""
        try:
            return self._program.execute(_variables(event)) is True
        except Exception:  # the many ways to say: no such key, no such operation
            return False


class Regex:
    """A regular expression, found anywhere in an event's data as text."""

    def __init__(self, pattern: str, option: str) -> None:
        """Raises Misconfigured."""
        self._program = cel.compile("text.matches(pattern)")
        self._pattern = pattern
        try:
            self._program.execute({"text": "", "pattern": pattern})
        except Exception as error:
            said = (
                str(error)
                .partition("not a valid regex:")[2]
                .removesuffix(". Check function arguments and their types.")
            )
            raise Misconfigured(f"{option} is no regular expression:{escape_lines(said)}") from error

    def __call__(self, event: Decoded) -> bool:
        """Whether it is found in the event's data."""
        return self._program.execute({"text": event.data_text, "pattern": self._pattern}) is True


def escape_lines(text: str) -> str:
    """Text of several lines, without what drives a terminal."""
    return "\n".join(escape(line) for line in text.split("\n"))


def _variables(event: Decoded) -> dict[str, object]:
    return {
        "ID": event.id,
        "Timestamp": event.timestamp,
        "Data": event.value,
        "Host": event.host,
        "Position": event.position,
        "Seq": event.seq,
    }


def _compiled(text: str, option: str) -> cel.Program:
    if len(text) > LONGEST:
        raise Misconfigured(f"{option} has {len(text)} characters: expected at most {LONGEST}.")
    try:
        program = cel.compile(text)
    except ValueError as error:
        found = _SYNTAX.search(str(error))
        if found is None:
            raise Misconfigured(f"{option} can't be read: {escape_lines(str(error))}") from error
        line, column, said = int(found[1]), int(found[2]), found[3].partition(" expecting {")[0]
        raise _fault(text, option, line, column, said) from error
    used = program.references()
    for name in used["variables"]:
        if name not in VARIABLES and not re.search(_BINDS.format(re.escape(name)), text):
            raise _unknown(text, option, name, f"expected {', '.join(VARIABLES)} (as in Data.amount)")
    for name in used["functions"]:
        if name[:1].isalpha() and name not in FUNCTIONS:
            raise _unknown(text, option, name, f"expected one of {', '.join(sorted(FUNCTIONS))}")
    return program


def _unknown(text: str, option: str, name: str, expected: str) -> Misconfigured:
    found = re.search(rf"(?<![\w.]){re.escape(name)}\b", text) or re.search(re.escape(name), text)
    at = found.start() if found else 0
    before = text[:at]
    return _fault(text, option, before.count("\n") + 1, at - before.rfind("\n"), f"{name!r} is unknown: {expected}")


def _fault(text: str, option: str, line: int, column: int, said: str) -> Misconfigured:
    shown = (text.split("\n")[line - 1 : line] or [""])[0]
    place = f"column {column}" if "\n" not in text else f"line {line}, column {column}"
    indent = " " * max(wcswidth(escape(shown[: column - 1])), 0)
    return Misconfigured(f"{option} is wrong at {place}: {escape(said)}\n  {escape(shown)}\n  {indent}^")
