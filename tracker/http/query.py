"""Query strings: parameters that are known, given as often as they may be, with values that make sense."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from shared.errors import Refused


def parse(query: bytes, known: Sequence[str], what: str) -> dict[str, list[str]]:
    """Return the values of each parameter that is given. Raises Refused if one of them is none of the known.

    `what` is what is asked for, such as "events".
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Refused("The query string is not percent-encoded UTF-8.") from None
    given: dict[str, list[str]] = {}
    for key, value in pairs:
        given.setdefault(key, []).append(value)
    if unknown := [key for key in given if key not in known]:
        shown = ", ".join(repr(key if len(key) <= 40 else key[:40] + "…") for key in unknown[:5])
        raise Refused(f"There is no {shown} in a query for {what}: expected {', '.join(known)}.")
    return given


def once(given: dict[str, list[str]], key: str) -> str | None:
    """Return the value of a parameter that can be there once. Raises Refused."""
    values = given.get(key, [])
    if len(values) > 1:
        raise Refused(f"{key}= is there {len(values)} times: expected it once.")
    return values[0] if values else None


def limit(text: str | None, what: str, default: int, most: int) -> int:
    """Return how many there may be on a page. Raises Refused."""
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most:
        return int(text)
    raise Refused(f"limit={text[:40]!r} is no number of {what}: expected 1 to {most}.")
