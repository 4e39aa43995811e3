"""The application: a factory over ready objects, and how errors leave it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, cast

import structlog
import trio
from quart import Response, current_app, has_websocket_context, request, websocket
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioRequest, TrioWebsocket
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, RequestEntityTooLarge, RequestTimeout
from werkzeug.routing import Map, MapAdapter, UnicodeConverter
from werkzeug.routing.exceptions import WebsocketMismatch

from shared.errors import TrackerError, first_leaf
from shared.frames import encode
from shared.supervision import Health
from tracker import metrics
from tracker.accounts import Accounts
from tracker.board import Seat
from tracker.http import (
    accounts_resource,
    bulk_resource,
    documentation,
    event_resource,
    limits,
    operations,
    page_resource,
    problems,
    rate_resource,
    stream_resource,
)
from tracker.http.endings import LAST_WORDS, SPREAD, Ending
from tracker.http.event_resource import PutEvent
from tracker.http.message import Message
from tracker.http.origin import Origins
from tracker.http.paced_body import PacedBody, PacingConnection
from tracker.http.sessions import Feed, Places
from tracker.http.stream_resource import History
from tracker.rates import Rates
from tracker.tallies import Tallies
from tracker.tracking import Tracking

log = structlog.get_logger(__name__)

BEGAN = "began"
"""In the state that a connection has in ASGI: when the first byte of the request came."""
WRITE = "write"
"""The same, of connections that have it: what sends whole frames on an accepted WebSocket, in the order in which it is
called, ASGI's messages included."""


def create_app(
    tracking: Tracking,
    accounts: Accounts,
    rates: Rates,
    tallies: Tallies,
    healths: Sequence[Health],
    feed: Feed,
    event_log: History,
    *,
    max_data: int,
    max_followers: int,
    allow_origin: str = "",
    seat: Seat | None = None,
) -> TrackerApp:
    """Make the application over services that someone else runs. Raises Misconfigured for what is no origin.

    It is served without an ASGI lifespan: it starts nothing and owns no tasks, so `app.nursery`, whose failures
    nobody would see, does not exist.
    """
    app = TrackerApp(__name__, static_folder=None)
    app.places = Places(max_followers)
    # White space and escapes make a body larger than the data in it; what counts is checked once that is known.
    app.config["MAX_CONTENT_LENGTH"] = 4 * max_data
    app.url_map.converters["default"] = AccountId
    app.url_map.merge_slashes = False  # its redirect would be the one answer of ours in HTML
    app.before_request(_options_of_the_server)
    app.register_blueprint(rate_resource.blueprint(rates, tallies))
    app.register_blueprint(stream_resource.blueprint(feed, event_log, accounts, Origins(allow_origin), app.places))
    app.put_event = event_resource.put_event(tracking, max_data)
    app.register_blueprint(bulk_resource.blueprint(tracking, max_data))
    app.register_blueprint(operations.blueprint(healths, seat))
    app.register_blueprint(page_resource.blueprint())
    app.register_blueprint(documentation.blueprint(app))
    app.register_blueprint(accounts_resource.blueprint(accounts))
    app.register_blueprint(event_resource.blueprint(app.put_event))
    app.after_request(_no_type_without_body)
    app.after_request(_counted)
    app.after_websocket(_counted_websocket)
    app.register_error_handler(TrackerError, _tracker_error)
    app.register_error_handler(HTTPException, _http_error)
    return app


async def _options_of_the_server() -> Response | None:
    if request.method == "OPTIONS" and request.scope["raw_path"] == b"*":
        return Response(b"", headers={"Allow": "GET, HEAD, OPTIONS, PATCH, POST, PUT"})
    return None


async def _no_type_without_body(response: Response) -> Response:
    if request.method != "HEAD" and response.content_length == 0:
        response.headers.pop("Content-Type", None)
    return response


async def _counted(response: Response) -> Response:
    metrics.answered(request.method, _route(request), response.status_code)
    return response


async def _counted_websocket(response: Any) -> Any:
    if response is not None and not cast(Any, websocket).accepted:
        metrics.answered("WEBSOCKET", _route(websocket), response.status_code)
    return response


def _route(asked: Any) -> str | None:
    return asked.url_rule.rule if asked.url_rule else None


async def _tracker_error(error: TrackerError) -> Response:
    return _respond(problems.of_error(error))


async def _http_error(error: HTTPException) -> Response:
    if has_websocket_context() and isinstance(error, (MethodNotAllowed, WebsocketMismatch)):
        error = BadRequest("There is no WebSocket at this URL.")
    if isinstance(error, RequestEntityTooLarge):
        problem = problems.body_too_large(current_app.config["MAX_CONTENT_LENGTH"])
    elif isinstance(error, RequestTimeout):
        problem = problems.too_slow()
    else:
        problem = problems.problem(error.code or 500, error.description or "")
    response = _respond(problem)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _respond(problem: problems.Problem) -> Response:
    return Response(problem.body(), problem.status, problem.headers())


class AccountId(UnicodeConverter):
    """The one part of a path that may be anything but a resource that has a route already: `/events` is no account,
    whatever the method. Routes with it must come last."""

    def __init__(self, map: Map) -> None:
        super().__init__(map)
        taken = "|".join(re.escape(rule.rule[1:]) for rule in map.iter_rules() if not rule.arguments)
        self.regex = f"(?!(?:{taken})$)[^/]+"


class Socket(TrioWebsocket):
    """A WebSocket that the tracker ends once, with a code, and a last frame if frames are what flows on it."""

    speaks_frames = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.accepted = False
        self._ended = False
        self._turn = trio.Lock()
        self._write = cast(Any, self.scope).get("state", {}).get(WRITE)

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        await super().accept(*args, **kwargs)
        if not self.accepted:  # Quart calls this with every message
            self.accepted = True
            metrics.answered("WEBSOCKET", _route(self), 101)

    async def send_message(self, message: Message) -> None:
        """Send a message. After the end nothing is sent any more."""
        if self._write is None:
            async with self._turn:
                if not self._ended:
                    await self.send(message.text)
        elif not self._ended:
            await self._write(message.frame)  # in turn with all else that this connection sends

    async def end(self, ending: Ending) -> None:
        """End it, after the message that is being sent. Does nothing if it has ended, or was never accepted."""
        async with self._turn:
            if self._ended or not self.accepted:
                return
            self._ended = True
            if self.speaks_frames:
                await self.send(encode(ending.bye).decode())
            await self.close(ending.code, ending.words)


class Request(TrioRequest):
    """A request whose body has to be there in time; that begins with the first byte of its head. A bulk of events is
    read as it comes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (self.method, self.path) == ("POST", bulk_resource.ROUTE):
            self.body = PacedBody()
        now = trio.current_time()
        began = cast(Any, self.scope).get("state", {}).get(BEGAN, now)
        self.body_timeout = cast(Any, began + limits.REQUEST_TIMEOUT - now)


class TrackerApp(QuartTrio):
    """Quart-Trio, where no error is lost in a group and a WebSocket ends with a code that tells why."""

    asgi_http_class = PacingConnection
    request_class = Request
    websocket_class = Socket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = Places(0)
        """Those of streams."""
        self.put_event: PutEvent
        """What `PUT /<id>` comes to, for whoever else reads such requests."""
        self.stopping = trio.Event()
        """Set when the server stops: streams end, WebSockets with 1001."""

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Match without the header Host, on which no route depends: a bad one makes Quart fail before any handler."""
        if request is None:
            return None
        return self.url_map.bind(
            "", None, None, request.scheme, request.method, request.path, request.query_string.decode("ascii")
        )

    async def handle_user_exception(self, error: Any) -> Any:
        """Answer an error that a handler raised.

        Of a group, Quart-Trio answers the first that has an error handler and forgets the others, and forgets them
        all if one of them is Cancelled. Here whatever is no answer for a client is logged and is a 500.
        """
        if not isinstance(error, BaseExceptionGroup):
            return await super().handle_user_exception(error)
        cancelled, errors = error.split(trio.Cancelled)
        if cancelled is not None:
            if errors is not None:
                self.log_exception((type(errors), errors, errors.__traceback__))
            raise cancelled
        answers, faults = error.split((TrackerError, HTTPException))
        if faults is not None or answers is None:
            raise error
        return await super().handle_user_exception(cast(Exception, first_leaf(answers)))

    def log_exception(self, exception_info: Any) -> None:
        log.error("request failed", exc_info=exception_info)

    async def handle_websocket(self, websocket: Any) -> Any:
        """Run a WebSocket's handler. Quart closes with 1000 whatever happened: close before it does."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_when_stopping, websocket, nursery.cancel_scope)
            response = await super().handle_websocket(websocket)
            if response is not None:
                await websocket.end(Ending.FAULT if response.status_code >= 500 else Ending.REFUSED)
            nursery.cancel_scope.cancel()
            return response
        return None

    async def _end_when_stopping(self, websocket: Any, handler: trio.CancelScope) -> None:
        await self.stopping.wait()
        await trio.sleep(random.uniform(0, SPREAD))
        with trio.move_on_after(LAST_WORDS):
            await websocket.end(Ending.SHUTDOWN)
        handler.cancel()
