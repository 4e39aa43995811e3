"""What people are shown. Nothing that comes in can drive a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise

from shared.frames import Gap

_DRIVES_TERMINALS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # line and paragraph separator
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what reverses the direction of text
    "\ud800-\udfff"  # surrogates: no characters, and not to be encoded
    "]"
)

_MANY = 100
"""As many accounts, and then ranges of them, are listed one by one."""


class NoEvent(Exception):
    """These bytes are no event. The text says why, and is safe to show."""


def account_list(accounts: Collection[int] | None) -> str:
    """Account IDs as a list for people, ascending: [1 2 3], many of them as ranges: [1-1000 2001]. None: all."""
    if accounts is None:
        return "all"
    shown = [str(one) for one in sorted(accounts)] if len(accounts) <= _MANY else _ranges(sorted(accounts))
    return f"[{' '.join(shown)}]"


def _ranges(accounts: list[int]) -> list[str]:
    begins = [one for before, one in pairwise([-1, *accounts]) if one != before + 1]
    ends = [one for one, after in pairwise([*accounts, -1]) if after != one + 1]
    shown = [str(begin) if begin == end else f"{begin}-{end}" for begin, end in zip(begins, ends, strict=True)]
    return shown if len(shown) <= _MANY else [*shown[:_MANY], f"and more: {len(accounts)} accounts"]


def escape(text: str) -> str:
    """Return text with its control characters, and whatever else drives a terminal, as backslash escapes."""
    return _DRIVES_TERMINALS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def gap_line(gap: Gap) -> str:
    """What a person is told of events that are gone: `! account 7: events 12 to 19 are gone (expired)`."""
    reason = escape(gap.reason)
    if gap.account_id is None:
        if gap.reason == "epoch":
            return "! the log began anew (epoch): what was not received of the old one is gone"
        return f"! some events are gone ({reason})"
    match gap.from_seq, gap.to_seq:
        case None, _:
            which = "some events are"
        case first, last if last is None or last == first:
            which = f"event {first} is"
        case first, last:
            which = f"events {first} to {last} are"
    return f"! account {gap.account_id}: {which} gone ({reason})"


def escape_json(text: str) -> str:
    """Return a JSON text with the same values, in which what drives a terminal is written as JSON escapes."""
    return _DRIVES_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cut_to(text: str, width: int) -> str:
    """Return escaped text in at most `width` cells of a terminal; where it was longer it ends with …"""
    if len(text) <= width and text.isascii():
        return text
    from wcwidth import wcwidth

    cells, fits = 0, 0
    for number, character in enumerate(text):
        cells += max(wcwidth(character), 0)
        if cells > width:
            return text[:fits] + "…" if width > 0 else ""
        if cells <= width - 1:
            fits = number + 1
    return text
