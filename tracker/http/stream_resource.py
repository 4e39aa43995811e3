"""`/events`: events as they come, and as they came.

One resource, four ways in: a WebSocket, server-sent events, NDJSON, and a page of history. What flows is frames
(`shared/frames.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, cast

import trio
from quart import Blueprint, Response, current_app, request, websocket
from werkzeug.exceptions import ServiceUnavailable

from shared import frames
from shared.errors import NoSuchAccount
from shared.frames import Error, EventFrame
from shared.position import START, Position, Since
from shared.reading import Cursor, Page
from tracker.http import stream_query
from tracker.http.conversation import converse
from tracker.http.documentation import EVENT, POSITION, answer, content, describe, query
from tracker.http.endings import Ending
from tracker.http.origin import Origins
from tracker.http.sessions import Existing, Feed, Places, StreamBody, sort_out
from tracker.http.stream_query import Kind, Query

PAGES_AT_ONCE = 4
"""How many pages of history are read at the same time: each may be of thousands of large events, and all go through the
loop on which the log answers."""
WAIT_FOR_PAGE = 5.0
"""For how many seconds others wait for their turn."""
LONGEST_LINK = 3000
"""Proxies take 4 to 8 KiB of headers, and a page about many accounts would name all of them."""
STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx gathers what it passes on, unless it is told
}


_PAGE = {
    "type": "object",
    "properties": {
        "Events": {"type": "array", "items": {"$ref": "#/components/schemas/Event"}},
        "Gaps": {"type": "array", "items": {"$ref": "#/components/schemas/Gap"}},
        "Position": {**POSITION, "description": "Ask on from here, with since= or before=."},
        "Behind": {"type": "integer", "minimum": 0, "description": "How many events are still to come."},
        "Errors": {"type": "array", "items": {"$ref": "#/components/schemas/Error"}},
    },
    "required": ["Events", "Gaps", "Position", "Behind"],
    "additionalProperties": False,
    "examples": [{"Events": EVENT["examples"], "Gaps": [], "Position": "6b9522b15de7-0-41", "Behind": 0}],
}
_STREAM = {"type": "string", "description": "Frames, for as long as the connection stands."}
_POSITION = {"type": "string", "pattern": "^[0-9a-f]{12}-0-(0|[1-9][0-9]{0,14})$"}
_PARAMETERS = [
    {
        **query(
            "account",
            "An account's ID, any number of times, or all.",
            {
                "anyOf": [
                    {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 1},
                        "minItems": 1,
                        "maxItems": stream_query.MAX_ACCOUNTS,
                    },
                    {"type": "string", "const": "all"},
                ]
            },
        ),
        "required": True,
        "examples": {"two": {"value": [1, 2]}, "all": {"value": "all"}},
    },
    query(
        "since",
        "Where to begin: a Position, a duration (10m), a time (RFC 3339) or all. Without it a stream begins now, and a "
        "page at the log's start.",
        {
            "anyOf": [
                {"type": "string", "const": "all"},
                {"type": "string", "pattern": "^[1-9][0-9]{0,5}[dhms]$"},
                {"type": "string", "pattern": "^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$"},
                _POSITION,
            ]
        },
        "10m",
    ),
    query(
        "before",
        "For a page of older events of one account, instead of since: a Position, or end.",
        {"anyOf": [{"type": "string", "const": "end"}, _POSITION]},
    ),
    query(
        "limit",
        "At most so many events on a page.",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": stream_query.MAX_LIMIT,
            "default": stream_query.DEFAULT_LIMIT,
        },
    ),
]


class History(Protocol):
    """What is used of `shared.log.EventLog`."""

    async def begin(self, since: Since | None, accounts: Collection[int] | None) -> Position: ...
    async def read(self, accounts: Collection[int] | None, after: Position | Cursor, *, limit: int = 500) -> Page: ...
    async def read_back(self, account: int, before: Position | None, *, limit: int = 500) -> Page: ...


@dataclass(frozen=True)
class _Known:
    """A question whose accounts were looked up: `accounts` are those that exist (None: all), `errors` the others."""

    accounts: set[int] | None
    errors: list[Error]


def blueprint(feed: Feed, history: History, accounts: Existing, origins: Origins, places: Places) -> Blueprint:
    """The resource. Streams come from the feed, pages from the log; `places` bounds the streams."""
    routes = Blueprint("stream", __name__)
    pages = trio.CapacityLimiter(PAGES_AT_ONCE)

    @routes.before_request
    async def check_page() -> None:
        origins.check(request.headers.getlist("Origin"), request.headers.get("Host", ""))

    @routes.before_websocket
    async def check_websocket_page() -> None:
        origins.check(websocket.headers.getlist("Origin"), websocket.headers.get("Host", ""))

    @routes.after_request
    async def tell_page(response: Response) -> Response:
        if origins.matter:
            response.vary.add("Origin")
        if response.status_code != 403 and (
            origin := origins.check(request.headers.getlist("Origin"), request.headers.get("Host", ""))
        ):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Link, Retry-After"
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Headers"] = "Last-Event-ID"
        return response

    @routes.get("/events")
    @describe(
        "events",
        {
            200: answer(
                "A page of history, or a stream: what Accept asks for.",
                content("application/json", _PAGE),
                content("text/event-stream", _STREAM),
                content("application/x-ndjson", _STREAM),
                headers={"Link": ('The next page, with rel="next", if there is one.', {"type": "string"})},
            )
        },
        refused=[400, 403, 404, 406, 503],
        parameters=_PARAMETERS,
    )
    async def get() -> Response:
        """Return events: a page of them, or as they come.

        `Accept: text/event-stream` and `application/x-ndjson` give streams of frames: events, and what there is to say
        of them (they are described in [asyncapi.json](/asyncapi.json)). With server-sent events `Last-Event-ID` beats
        `since`. Quiet streams get a keepalive every 15 s.
        """
        kind, content_type = stream_query.negotiate(request.headers.get("Accept", ""))
        asked = stream_query.parse(
            request.query_string, kind, datetime.now(UTC), request.headers.get("Last-Event-ID", "")
        )
        known = await _look_up(asked, accounts)
        if kind is Kind.PAGE:
            with trio.move_on_after(WAIT_FOR_PAGE) as waiting:
                async with pages:
                    waiting.deadline = math.inf
                    return await _page(history, asked, known)
            raise ServiceUnavailable("This tracker reads as many pages of history as it can. Try again.")
        if request.method == "HEAD":
            response = Response(b"", 200, STREAM_HEADERS, content_type=content_type)
            response.headers.pop("Content-Length")
            return response
        if places.full:
            raise ServiceUnavailable("This tracker has as many followers as it can take. Try again.")
        stopping = cast(Any, current_app).stopping
        follow = partial(feed.follow, known.accounts, asked.since)
        response = Response(
            StreamBody(kind, follow, known.errors, places, stopping), 200, STREAM_HEADERS, content_type=content_type
        )
        response.timeout = None
        return response

    @routes.websocket("/events")
    async def follow_events() -> None:
        asked = stream_query.parse(websocket.query_string, Kind.WEBSOCKET, datetime.now(UTC))
        known = await _look_up(asked, accounts)
        client = cast(Any, websocket)._get_current_object()
        client.speaks_frames = True
        await client.accept()
        if places.full:
            await client.end(Ending.OVERLOADED)
            return
        with places.take(Kind.WEBSOCKET):
            follow = partial(feed.follow, known.accounts, asked.since)
            following = None if known.accounts is None else set(known.accounts)
            await converse(client, follow, following, known.errors, accounts)

    return routes


async def _look_up(query: Query, accounts: Existing) -> _Known:
    """Raises NoSuchAccount if accounts were asked for and none of them exists."""
    if query.accounts is None:
        return _Known(None, [])
    found, errors = await sort_out(query.accounts, accounts)
    if errors and not found:
        raise NoSuchAccount(min(query.accounts))
    return _Known(found, errors)


async def _page(history: History, query: Query, known: _Known) -> Response:
    if query.before is None:
        begin = START if query.since is None else query.since
        after = begin if isinstance(begin, Position) else await history.begin(begin, known.accounts)
        page = await history.read(known.accounts, after, limit=query.limit)
    else:
        [account] = cast(set[int], known.accounts)
        page = await history.read_back(account, None if query.before == "end" else query.before, limit=query.limit)
    found = list(page.frames)
    while page.cursor.scan:  # the log is in the middle of telling what is gone, which no Position says
        page = await history.read(known.accounts, page.cursor, limit=query.limit)
        found += page.frames
    events = [frame.line for frame in found if isinstance(frame, EventFrame)]
    gaps = [frames.encode(frame) for frame in found if not isinstance(frame, EventFrame)]
    parts = [b'"Events":[%b]' % b",".join(events), b'"Gaps":[%b]' % b",".join(gaps)]
    parts += [b'"Position":"%b"' % str(page.position).encode(), b'"Behind":%d' % page.behind]
    if known.errors:
        parts.append(b'"Errors":[%b]' % b",".join(map(frames.encode, known.errors)))
    headers = {"Cache-Control": "no-store"}
    if page.behind:
        key = "since" if query.before is None else "before"
        next_page = stream_query.to_query(known.accounts, str(page.position), query.limit, key=key)
        link = f'</events?{next_page}>; rel="next"'
        if len(link) <= LONGEST_LINK:
            headers["Link"] = link
    return Response(b"{%b}" % b",".join(parts), 200, headers, content_type="application/json")
