"""`/events`: events as they come, and as they came.

One resource, four ways in: a WebSocket, server-sent events, NDJSON, and a page of history. What flows is frames
(`shared/frames.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, cast

from quart import Blueprint, Response, current_app, request, websocket
from werkzeug.exceptions import ServiceUnavailable

from shared import frames
from shared.errors import NoSuchAccount
from shared.frames import Error, EventFrame
from shared.position import START, Position, Since
from shared.reading import Cursor, Page
from tracker.http import stream_query
from tracker.http.conversation import converse
from tracker.http.endings import Ending
from tracker.http.origin import Origins
from tracker.http.sessions import Existing, Feed, Places, StreamBody, sort_out
from tracker.http.stream_query import Kind, Query

LONGEST_LINK = 3000
"""Proxies take 4 to 8 KiB of headers, and a page about many accounts would name all of them."""
STREAM_HEADERS = {
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx gathers what it passes on, unless it is told
}


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
    async def get() -> Response:
        kind, content_type = stream_query.negotiate(request.headers.get("Accept", ""))
        query = stream_query.parse(
            request.query_string, kind, datetime.now(UTC), request.headers.get("Last-Event-ID", "")
        )
        known = await _look_up(query, accounts)
        if kind is Kind.PAGE:
            return await _page(history, query, known)
        if request.method == "HEAD":
            response = Response(b"", 200, STREAM_HEADERS, content_type=content_type)
            response.headers.pop("Content-Length")
            return response
        if places.full:
            raise ServiceUnavailable("This tracker has as many followers as it can take. Try again.")
        stopping = cast(Any, current_app).stopping
        follow = partial(feed.follow, known.accounts, query.since)
        response = Response(
            StreamBody(kind, follow, known.errors, places, stopping), 200, STREAM_HEADERS, content_type=content_type
        )
        response.timeout = None
        return response

    @routes.websocket("/events")
    async def follow_events() -> None:
        query = stream_query.parse(websocket.query_string, Kind.WEBSOCKET, datetime.now(UTC))
        known = await _look_up(query, accounts)
        client = cast(Any, websocket)._get_current_object()
        client.speaks_frames = True
        await client.accept()
        if places.full:
            await client.end(Ending.OVERLOADED)
            return
        with places.take(Kind.WEBSOCKET):
            follow = partial(feed.follow, known.accounts, query.since)
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
