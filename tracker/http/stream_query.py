"""What a request for events asks for: pure functions from its URL and headers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal

from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotAcceptable
from werkzeug.http import parse_accept_header

from shared.errors import Refused
from shared.events import account_id
from shared.position import Position, Since, parse_position, parse_since
from tracker.http import query as queries

MAX_ACCOUNTS = 1000
"""How many accounts one stream or page may be about, unless it is about all."""
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
_KNOWN = ("account", "since", "before", "limit")
_END = "end"
TOO_MANY = f"Expected at most {MAX_ACCOUNTS} accounts in all; account=all stands for every account."


class Kind(Enum):
    """The ways to get events; the value is what the media type says."""

    PAGE = "application/json"
    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"
    WEBSOCKET = "websocket"


_TYPES = {
    "application/json": Kind.PAGE,  # the first one is what a client gets to whom all are equal
    "text/event-stream": Kind.SSE,
    "application/x-ndjson": Kind.NDJSON,
    "application/ndjson": Kind.NDJSON,
    "application/jsonl": Kind.NDJSON,
}


Before = Position | Literal["end"]
"""Where a page of older events ends: before the event at this Position, or with the newest one."""


@dataclass(frozen=True)
class Query:
    """The question: `accounts` None stands for all of them, `since` None for "from now on".

    With `before` it is for the newest events of a single account before that.
    """

    accounts: frozenset[int] | None
    since: Since | None
    limit: int
    before: Before | None = None


def negotiate(accept: str) -> tuple[Kind, str]:
    """Return what the header Accept asks for, and the media type to call it. Raises NotAcceptable (406).

    Of types that are equally welcome one that is named counts more than one under `*/*`.
    """
    if not accept.strip():
        return Kind.PAGE, Kind.PAGE.value
    # Without parameters, such as a charset: they say nothing of these types.
    asked = [(name.partition(";")[0].strip(), quality) for name, quality in parse_accept_header(accept)]
    best = MIMEAccept(asked).best_match(_TYPES)
    if best is None:
        raise NotAcceptable(f"Events come as {', '.join(_TYPES)}, or over a WebSocket; the header Accept names none.")
    return _TYPES[best], best


def parse(query: bytes, kind: Kind, now: datetime, last_event_id: str = "") -> Query:
    """Return what the query string asks for. Raises Refused.

    `last_event_id` is the header Last-Event-ID of one who comes back to a stream of server-sent events: it beats
    `since`, which then stands in a URL that never changes.
    """
    # More than that can't be right, and is not worth being taken apart.
    if query.count(b"&") > MAX_ACCOUNTS + 10:
        raise Refused(f"The URL has too many parts. {TOO_MANY}")
    given = queries.parse(query, _KNOWN, "events")
    since_text = queries.once(given, "since")
    since = None if since_text is None else parse_since(since_text, now)
    if kind is Kind.SSE and last_event_id:
        since = parse_position(last_event_id)
    accounts = _accounts(given.get("account", []), kind)
    before = _before(queries.once(given, "before"), kind, accounts, since)
    return Query(accounts, since, _limit(queries.once(given, "limit"), kind), before)


def _accounts(given: list[str], kind: Kind) -> frozenset[int] | None:
    if "all" in given:
        if set(given) != {"all"}:
            raise Refused("account=all stands for every account: expected it alone, or account IDs without it.")
        return None
    if len(given) > MAX_ACCOUNTS:
        raise Refused(f"These are {len(given)} accounts. {TOO_MANY}")
    if not given and kind is not Kind.WEBSOCKET:  # a WebSocket may say later what it follows
        raise Refused("There is no account: expected account=1&account=2 with the IDs of accounts, or account=all.")
    return frozenset(map(account_id, given))


def _limit(text: str | None, kind: Kind) -> int:
    if text is not None and kind is not Kind.PAGE:
        raise Refused("A stream has no limit: expected limit= only with a page of history (Accept: application/json).")
    return queries.limit(text, "events", DEFAULT_LIMIT, MAX_LIMIT)


def _before(text: str | None, kind: Kind, accounts: frozenset[int] | None, since: Since | None) -> Before | None:
    if text is None:
        return None
    if kind is not Kind.PAGE:
        raise Refused("A stream goes forward: expected before= only with a page of history (Accept: application/json).")
    if accounts is None or len(accounts) != 1:
        raise Refused("before= leads back through the events of one account: expected account= once, with its ID.")
    if since is not None:
        raise Refused("A page goes on from since= or ends before before=: expected only one of them.")
    if text == _END:
        return "end"
    try:
        return parse_position(text)
    except Refused:
        raise Refused(
            f"before={text[:40]!r} is no Position: expected one as events carry it, or {_END} for the newest events."
        ) from None


def to_query(accounts: Collection[int] | None, position: str, limit: int, *, key: str = "since") -> str:
    """The query string that asks for the next page, which `key` (`since` or `before`) leads to."""
    which = ["account=all"] if accounts is None else [f"account={account}" for account in sorted(accounts)]
    return "&".join([*which, f"{key}={position}", f"limit={limit}"])
