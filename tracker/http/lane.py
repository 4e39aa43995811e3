"""The short way for `PUT /<id>`: parsed with httptools and answered on the spot, without a framework or a task.

The lane takes a connection from its first byte. It answers the requests that it is sure of, as the route would, and
hands the connection on to hypercorn with the first one that is anything else: another method or path, another version,
no Content-Length but chunks, an upgrade, a fault. So there is one place that refuses what is no HTTP, and none here.
What the two answer is compared by `tests/integration/test_lane.py`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import select
import time
from typing import NamedTuple
from wsgiref.handlers import format_date_time

import httptools
import structlog
import trio
from werkzeug.exceptions import InternalServerError

from shared.errors import TrackerError, first_leaf
from tracker import metrics
from tracker.http import limits, problems
from tracker.http.app import TrackerApp
from tracker.http.event_resource import ROUTE
from tracker.http.problems import Problem
from tracker.http.tls import TlsStream, TlsWire
from tracker.http.wire import Wire

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""How often, in seconds, it is looked which connections were idle for too long, and whose clients have left: cheaper
than a deadline and a task for each request."""

_ACCEPTED = metrics.REQUESTS.labels("PUT", ROUTE, "202")
_REQUEST = re.compile(rb"PUT /([0-9]{1,400})(?:\?([!-~]*))? HTTP/1\.1\r\n")
_BEGIN = re.compile(rb"PUT /[0-9]")
_END = b"\r\n\r\n"
_HOST, _LENGTH, _CONNECTION, _EXPECT = b"host", b"content-length", b"connection", b"expect"
_TYPE, _KEY = b"content-type", b"idempotency-key"
_KNOWN = {_HOST, _LENGTH, _CONNECTION, _EXPECT, _TYPE, _KEY}
_NOT_HERE = {b"transfer-encoding", b"upgrade"}
_CLIENT_LEFT = getattr(select, "POLLRDHUP", 0)  # Linux has it; elsewhere only resets are seen


class Rest(NamedTuple):
    """A connection that is handed on: the bytes of its next request so far, and when the first of them came."""

    data: bytes
    began: float


class Lane:
    """What the connections in the lane share."""

    def __init__(self, app: TrackerApp) -> None:
        self.app = app
        self.stopping = False
        self._visits: set[_Visit] = set()
        self._date = ""
        self._second = 0

    async def take(self, stream: trio.SocketStream | TlsStream) -> Rest | None:
        """Serve a connection until it ends, or return what is to be handed on. Closes nothing."""
        visit = _Visit(self, stream)
        self._visits.add(visit)
        if self.stopping:  # its TLS handshake took until now
            visit.scope.deadline = trio.current_time() + limits.DRAIN
        try:
            return await visit.run()
        finally:
            self._visits.discard(visit)

    async def run(self) -> None:
        """Service: end connections that were idle for too long, and requests whose client has left."""
        while True:
            await trio.sleep(LOOK_EVERY)
            too_long = time.monotonic() - limits.IDLE_TIMEOUT
            poll = select.poll()
            answering = {}
            for visit in self._visits:
                if visit.idle_since < too_long:
                    visit.scope.cancel()
                elif visit.answering:
                    answering[visit.number] = visit
                    poll.register(visit.number, _CLIENT_LEFT)
            for number, what in poll.poll(0):
                answering[number].left(reset=bool(what & select.POLLERR))

    def stop(self) -> None:
        """From now on each answer is a connection's last, and who is idle has little time left."""
        self.stopping = True
        for visit in self._visits:
            if not visit.answering:
                visit.scope.deadline = trio.current_time() + limits.DRAIN

    def date(self) -> str:
        """The time as HTTP has it."""
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._date = format_date_time(now)
        return self._date


class _Visit:
    """A connection while it is in the lane."""

    def __init__(self, lane: Lane, stream: trio.SocketStream | TlsStream) -> None:
        self.scope = trio.CancelScope()
        self.idle_since = math.inf
        self.answering = False  # from the end of a request's head to its answer
        self._lane = lane
        self._wire = TlsWire(stream) if isinstance(stream, TlsStream) else Wire(stream)
        self.number = self._wire.number
        self._parser = httptools.HttpRequestParser(self)
        self._fields: dict[bytes, bytes] = {}  # of the request under way, as far as they matter
        self._odd = False
        self._length = 0
        self._began = 0.0  # if its head did not come at once
        self._last = False
        self._debug = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)

    async def run(self) -> Rest | None:
        # The client left, or does not read.
        with self.scope, contextlib.suppress(OSError, EOFError):
            return await self._answer_all()
        return None

    def left(self, *, reset: bool) -> None:
        """The client, whose request is on its way, will send no more; or it is gone."""
        if reset:
            self.scope.cancel()
        elif self.scope.deadline == math.inf:
            self.scope.deadline = trio.current_time() + limits.GRACE

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        name = name.lower()
        if name in _KNOWN:
            if name in self._fields:
                self._odd = True
            self._fields[name] = value.strip(b" \t")
        elif name in _NOT_HERE:
            self._odd = True

    async def _answer_all(self) -> Rest | None:
        buffer = b""
        while not self._last:
            if not buffer:
                self.idle_since = time.monotonic()
                buffer = await self._wire.receive()
                self.idle_since = math.inf
            request = _REQUEST.match(buffer)
            end = buffer.find(_END) + len(_END)
            if end < len(_END) and _may_begin(buffer):
                self._began = trio.current_time()
                buffer = await self._rest_of_head(buffer)
                if _END not in buffer:
                    return Rest(buffer, self._began)
            elif request is None or end < len(_END) or not self._understands(buffer[:end]):
                return Rest(buffer, self._began or trio.current_time())
            else:
                self.answering = True
                if self._lane.stopping:
                    self.scope.deadline = math.inf
                buffer = await self._answer(request, buffer, end)
                self.answering, self._began = False, 0.0
        await self._wire.finish()
        return None

    def _understands(self, head: bytes) -> bool:
        """Whether a request is for the lane for sure."""
        self._fields, self._odd = {}, False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserCallbackError:
            raise  # ours
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        self._length = int(self._fields.get(_LENGTH, 0))
        return (
            not self._odd
            and _HOST in self._fields
            and self._length <= self._lane.app.config["MAX_CONTENT_LENGTH"]
            and len(head) <= limits.MAX_HEAD
            and head.count(b"\n") <= limits.MAX_FIELDS + 2
        )

    async def _answer(self, request: re.Match[bytes], buffer: bytes, end: int) -> bytes:
        """Answer the request whose head ends there; return what comes behind it."""
        lane, fields = self._lane, self._fields
        started = time.monotonic() if self._debug else 0.0
        behind = end + self._length
        if len(buffer) < behind:
            buffer = await self._rest_of_body(buffer, end, behind)
        problem, position = None, ""
        if len(buffer) < behind:
            problem = problems.too_slow()
            self._last = True
        else:
            body = buffer[end:behind]
            if body:
                self._parser.feed_data(body)
            try:
                appended = await lane.app.put_event(
                    request[1].decode(),
                    request[2] or b"",
                    fields[_TYPE].decode("latin-1") if _TYPE in fields else "",
                    body,
                    [fields[_KEY].decode("latin-1")] if _KEY in fields else (),
                )
                position = appended.position
            except Exception as error:
                problem = _problem(error)
                await trio.lowlevel.checkpoint()  # or a client of many bad requests would have us for itself
        if lane.stopping or (_CONNECTION in fields and b"close" in _tokens(fields[_CONNECTION])):
            self._last = True
        close = "Connection: close\r\n" if self._last else ""
        if problem is None:
            answer = (
                f"HTTP/1.1 202 Accepted\r\nevent-position: {position}\r\ncontent-length: 0\r\n"
                f"date: {lane.date()}\r\n{close}\r\n"
            ).encode()
        else:
            answer = problems.as_http1(problem, lane.date(), close)
        if problem is None:
            _ACCEPTED.inc()
        else:
            metrics.answered("PUT", ROUTE, problem.status)
        await self._wire.send(answer)
        if self._debug:
            log.debug(
                "request",
                method="PUT",
                path=f"/{request[1].decode()}",
                status=problem.status if problem else 202,
                ms=round((time.monotonic() - started) * 1000, 1),
            )
        return buffer[behind:]

    async def _rest_of_head(self, begun: bytes) -> bytes:
        """The request's bytes up to the end of its head at least; without it, if that is not for the lane or does not
        come in time."""
        data = bytearray(begun)
        with trio.move_on_at(self._began + limits.REQUEST_TIMEOUT):
            while _may_begin(data) and len(data) <= limits.MAX_HEAD:
                searched = max(0, len(data) - len(_END))
                data += await self._wire.receive()
                if data.find(_END, searched) >= 0:
                    break
        return bytes(data)

    async def _rest_of_body(self, begun: bytes, end: int, behind: int) -> bytes:
        """The request's bytes up to the end of its body at least, or fewer if that does not come in time."""
        if len(begun) == end and b"100-continue" in _tokens(self._fields.get(_EXPECT, b"")):
            await self._wire.send(f"HTTP/1.1 100 Continue\r\ndate: {self._lane.date()}\r\n\r\n".encode())
        data = bytearray(begun)
        with trio.move_on_at((self._began or trio.current_time()) + limits.REQUEST_TIMEOUT):
            while len(data) < behind:
                data += await self._wire.receive()
        return bytes(data)


def _may_begin(data: bytes | bytearray) -> bool:
    """Whether this may be the begin of a request for the lane."""
    return _BEGIN.match(data) is not None if len(data) > 5 else b"PUT /".startswith(data)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


def _problem(error: Exception) -> Problem:
    """What to answer for an exception, as `TrackerApp.handle_user_exception` has it."""
    mixed = isinstance(error, ExceptionGroup) and error.split(TrackerError)[1] is not None
    leaf = first_leaf(error)
    if isinstance(leaf, TrackerError) and not mixed:
        try:
            return problems.of_error(leaf)
        except TrackerError:
            pass  # not for clients
    log.error("request failed", exc_info=error)
    return problems.problem(500, InternalServerError.description)
