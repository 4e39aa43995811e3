"""From an event's bytes to a line for people or for programs. Nothing that comes in can drive a terminal."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from shared.frames import Gap

_DRIVES_TERMINALS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # line and paragraph separator
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what reverses the direction of text
    "\ud800-\udfff"  # surrogates: no characters, and not to be encoded
    "]"
)


class NoEvent(Exception):
    """These bytes are no event. The text says why, and is safe to show."""


class _Shown(msgspec.Struct):
    """What a line shows of an event. The data stay as they are written: a number keeps its digits."""

    id: int = msgspec.field(name="ID")
    timestamp: str = msgspec.field(name="Timestamp")
    data: msgspec.Raw = msgspec.field(name="Data")
    host: str = msgspec.field(name="Host")


_decoder = msgspec.json.Decoder(_Shown)
_text_decoder = msgspec.json.Decoder(str)


def account_list(accounts: Collection[int] | None) -> str:
    """Account IDs as a list for people, ascending: [1 2 3]. None: all."""
    return "all" if accounts is None else f"[{' '.join(map(str, sorted(accounts)))}]"


def escape(text: str) -> str:
    """Return text with its control characters, and whatever else drives a terminal, as backslash escapes."""
    return _DRIVES_TERMINALS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_json(text: str) -> str:
    """Return JSON on one line with what drives a terminal as the escapes of JSON."""
    return _DRIVES_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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


def line(message: bytes) -> str:
    """Return an event as people read it: `<2021-02-06 17:35:30:123>: [1]: "test data" [290ad619a440]`.

    The time is UTC, its milliseconds are cut, not rounded. Raises NoEvent.
    """
    try:
        event = _decoder.decode(message)
        moment = datetime.fromisoformat(event.timestamp)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        data = _data(bytes(event.data))
        account = str(event.id)
    except (msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise NoEvent(escape(str(error))) from error
    time = moment.isoformat(" ", "milliseconds")
    return f"<{time[:19]}:{time[20:23]}>: [{account}]: {escape(data)} [{escape(event.host)}]"


def json_line(message: bytes, *, safe: bool) -> bytes:
    """Return an event's bytes as they came: one line of JSON. If `safe`, what drives a terminal is JSON-escaped.

    Raises NoEvent.
    """
    line(message)
    try:
        if b"\n" in message or b"\r" in message:
            message = msgspec.json.format(message, indent=-1)
        text = message.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoEvent(escape(str(error))) from error
    return escape_json(text).encode() if safe else message


def _data(raw: bytes) -> str:
    if not raw.startswith(b'"'):
        return msgspec.json.format(raw, indent=-1).decode()
    text = _text_decoder.decode(raw)
    return text if len(text) >= 2 and text[0] == text[-1] == '"' else f'"{text}"'
