"""The event: how it is made, how it looks on the wire, how it is read back.

An event is one JSON object on one line, with its keys in this order:

    {"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":"test data","Host":"290ad619a440","Position":"…","Seq":42}

The tracker that accepts it makes the bytes once, up to and with "Host" (`Draft`); the log appends Position and Seq as
it numbers the event. Those bytes are what is stored and what every follower gets.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from shared.errors import Refused

MAX_DATA = 64 * 1024
"""The most bytes that an event's data may take, encoded as JSON (the default of a setting)."""

LARGEST_ID = 2**31 - 1
"""The largest account ID that the database can hold (a PostgreSQL serial)."""

_DIGITS = re.compile(r"[0-9]{1,400}")


class Draft(msgspec.Struct, frozen=True):
    """An accepted event on its way to the log: not yet numbered.

    `head` is the event's JSON up to and with the value of "Data"; the log adds Host, Position and Seq. `key` is the
    sender's idempotency key, if there is one.
    """

    account_id: int
    head: bytes
    key: str = ""


class Event(msgspec.Struct, frozen=True):
    """An event as read from the log or a channel."""

    id: int = msgspec.field(name="ID")
    timestamp: str = msgspec.field(name="Timestamp")
    data: Any = msgspec.field(name="Data")
    host: str = msgspec.field(name="Host")
    position: str = msgspec.field(name="Position", default="")
    seq: int = msgspec.field(name="Seq", default=0)


_decoder = msgspec.json.Decoder(Event)


def decode(line: bytes) -> Event:
    """Return the event in `line`. Raises msgspec.DecodeError or UnicodeDecodeError if it holds none."""
    return _decoder.decode(line)


def account_id(text: str) -> int:
    """Return the account ID written in `text` in ASCII digits. Raises Refused if that is no number ≥ 1.

    The number may be larger than any account's: see LARGEST_ID.
    """
    if _DIGITS.fullmatch(text) and (number := int(text)) >= 1:
        return number
    shown = text if len(text) <= 40 else text[:40] + "…"
    raise Refused(f"{shown!r} is no account ID: expected a whole number from 1 up, in the digits 0 to 9.")


def encode_text(data: str, limit: int = MAX_DATA) -> bytes:
    """Return text as the JSON string that an event carries. Raises DataTooLarge."""
    return _within(msgspec.json.encode(data), limit)


def encode_json(body: bytes, limit: int = MAX_DATA) -> bytes:
    """Return a JSON document as an event carries it: the same values, on one line, without white space.

    Numbers keep their digits. Raises Refused if `body` is no JSON, and DataTooLarge.
    """
    try:
        msgspec.json.decode(body)
        return _within(msgspec.json.format(body, indent=-1), limit)
    except RecursionError:
        raise Refused("The JSON document is nested too deeply: expected at most a few hundred levels.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"The data is not valid JSON: {error}.") from None


def draft(account_id: int, data: bytes, now_ns: int, key: str = "") -> Draft:
    """Make an event's bytes from data encoded by `encode_text` or `encode_json`, accepted at `now_ns` (Unix, in ns)."""
    return Draft(account_id, b'{"ID":%d,"Timestamp":"%s","Data":%s' % (account_id, _rfc3339(now_ns), data), key)


class DataTooLarge(Refused):
    """The data takes more bytes than an event may carry."""


def _within(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise DataTooLarge(f"The data takes {len(data)} bytes as JSON; an event carries at most {limit}.")
    return data


def _rfc3339(now_ns: int) -> bytes:
    seconds, rest = divmod(now_ns, 1_000_000_000)
    return b"%s.%06dZ" % (_second(seconds), rest // 1000)


@lru_cache(maxsize=4)  # thousands of events have the same one, and it is most of what a draft costs
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
