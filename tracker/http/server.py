"""The server in our nursery: our listeners and connections; the lane, and behind it hypercorn's protocols.

`hypercorn.trio.serve` lets one connection's failure end the server (hypercorn #225), can't cancel a send to a client
that does not read, and forgets connections when it works with Quart-Trio, which cancels a request's tasks while
hypercorn still recycles its connection: `Connection: close` is ignored, the idle timeout never armed. `_Connection`
takes the place of hypercorn's `TCPServer` and does those parts so that they work.
"""

from __future__ import annotations

import math
import socket
import sys
from functools import partial
from typing import Any

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from tracker import metrics
from tracker.board import Seat
from tracker.http import limits, tls
from tracker.http.app import BEGAN, TrackerApp
from tracker.http.certificate import Certificate
from tracker.http.http1 import Http1
from tracker.http.http2 import Http2
from tracker.http.lane import Lane, Rest
from tracker.http.room import Bounded, Room, allowed
from tracker.http.tls import TlsStream

log = structlog.get_logger(__name__)

PING_EVERY = 15.0
"""WebSockets are pinged that often: proxies end connections that are silent for long."""
MAX_MESSAGE = 64 * 1024
"""The largest message that a client may send over a WebSocket."""
_RECEIVE = 64 * 1024


Stream = trio.SocketStream | TlsStream


def speaks_http2(stream: Stream) -> bool:
    return isinstance(stream, TlsStream) and stream.session.protocol == "h2"


async def serve(
    app: TrackerApp,
    listeners: list[trio.SocketListener],
    *,
    certificate: Certificate | None = None,
    max_connections: int = limits.MAX_CONNECTIONS,
    lane: bool = True,
    seat: Seat | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `app.stopping` is set; then take no new connections, finish what is in flight, and return.

    Requests get limits.GRACE seconds to finish. Closes the listeners. When `max_connections` are open, or as many as
    the system lets this process have, others wait to be accepted. With a certificate connections are in TLS, and may
    speak HTTP/2. Without the lane hypercorn serves all requests, to whom nothing but speed may tell the two apart. One
    of several workers accepts from the same listeners as the others, and tells them by its seat how many connections
    it has.
    """
    config = Config()
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.MAX_HEAD
    config.websocket_max_message_size = MAX_MESSAGE
    config.websocket_ping_interval = PING_EVERY
    config.logger_class = _HypercornLog  # type: ignore[assignment]  # the part of it that the protocols call
    config.keep_alive_max_requests = sys.maxsize
    context = WorkerContext(None)
    fast = Lane(app)
    connections: set[_Connection] = set()
    room = Room(allowed(max_connections), seat)

    async def handle(accepted: trio.SocketStream) -> None:
        try:
            metrics.CONNECTED.inc()
            metrics.CONNECTIONS.inc()
            _notice_vanished(accepted.socket)
            stream = await secured(accepted, certificate) if certificate else accepted
            begun: Rest | None = Rest(b"", trio.current_time())
            if lane and stream and not speaks_http2(stream):
                begun = await fast.take(stream)
            if begun and stream:
                connection = _Connection(app, config, context, stream, begun)
                connections.add(connection)
                try:
                    await connection.run()
                finally:
                    connections.discard(connection)
        except* Exception as error:
            log.warning("connection failed", exc_info=error)
        finally:
            metrics.CONNECTIONS.dec()
            room.leave()

    shaking_hands: set[trio.CancelScope] = set()

    async def secured(accepted: trio.SocketStream, certificate: Certificate) -> TlsStream | None:
        with trio.move_on_after(limits.DRAIN if app.stopping.is_set() else limits.HANDSHAKE_TIMEOUT) as scope:
            shaking_hands.add(scope)
            try:
                return await tls.accept(accepted, certificate.context)
            finally:
                shaking_hands.discard(scope)
        log.debug("no TLS", reason="the client took too long")
        return None

    async with trio.open_nursery() as looking:
        looking.start_soon(fast.run)
        async with trio.open_nursery() as handlers:
            async with trio.open_nursery() as accepting:
                bounded = [Bounded(listener, room) for listener in listeners]
                await accepting.start(partial(trio.serve_listeners, handle, bounded, handler_nursery=handlers))
                task_status.started()
                if seat:
                    seat.serves(True)
                await app.stopping.wait()
                if seat:
                    seat.serves(False)
                accepting.cancel_scope.cancel()
            for listener in listeners:
                await listener.aclose()
            await context.terminated.set()
            fast.stop()
            for connection in connections:
                connection.stop()
            for scope in shaking_hands:
                scope.deadline = min(scope.deadline, trio.current_time() + limits.DRAIN)
            handlers.cancel_scope.deadline = trio.current_time() + limits.GRACE
        looking.cancel_scope.cancel()


class _Connection:
    """One client's connection with hypercorn, from what the lane left of it until it is closed."""

    def __init__(self, app: TrackerApp, config: Config, context: WorkerContext, stream: Stream, begun: Rest) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._send_lock = trio.Lock()
        self._receiving = trio.CancelScope()
        self._handling = trio.CancelScope()
        self._begun = begun.data
        self._started = bool(begun.data)  # a request, of which some bytes have come
        self._state = ConnectionState({BEGAN: begun.began})
        self._deadline = begun.began + (limits.REQUEST_TIMEOUT if begun.data else limits.IDLE_TIMEOUT)
        self._idle = True
        self._closing = False
        self._half_closed = False  # the client will send no more, and may have left altogether
        self._protocol: Http1 | Http2

    async def run(self) -> None:
        """Serve the connection until either side ends it."""
        accepted = self._stream.socket
        try:
            client = parse_socket_addr(accepted.family, accepted.getpeername())
            server = parse_socket_addr(accepted.family, accepted.getsockname())
            # Cancelled at the end, because hypercorn does not tell a WebSocket that it refused by itself.
            with trio.CancelScope() as serving:
                async with TaskGroup() as tasks:
                    secure = isinstance(self._stream, TlsStream)
                    common = (ASGIWrapper(self._app), self._config, self._context, tasks, self._state, secure)
                    speaks = Http2 if speaks_http2(self._stream) else Http1
                    self._protocol = speaks(*common, client, server, self._send)
                    await self._protocol.initiate()
                    if self._context.terminated.is_set():
                        self.stop()
                    await self._receive()
                    serving.cancel()
        except OSError:
            pass  # the client went away before it could be asked who it is
        finally:
            await trio.aclose_forcefully(self._stream)

    def stop(self) -> None:
        """End the connection after the answer to the request under way (hypercorn sees to that), or to one that comes
        at this moment, on its way since before the client could know."""
        protocol = getattr(self, "_protocol", None)  # none if the client was gone before it could be asked who it is
        if isinstance(protocol, Http2):
            protocol.stop()
        if self._idle:
            self._rest(limits.DRAIN)

    def _rest(self, seconds: float) -> None:
        """Give the next bytes so long to arrive."""
        self._deadline = trio.current_time() + seconds
        self._receiving.deadline = self._deadline

    async def _receive(self) -> None:
        while data := await self._next_bytes():
            if self._closing:
                continue
            if self._idle and not self._started and isinstance(self._protocol, Http1):
                self._started = True
                self._state[BEGAN] = trio.current_time()
                if not self._context.terminated.is_set():
                    self._rest(limits.REQUEST_TIMEOUT)
            # Left when the connection is to be closed: hypercorn never stops waiting to parse a request that came
            # before it decided not to take another one.
            with trio.CancelScope() as self._handling:
                await self._protocol.handle(RawData(data))
        if self._half_closed and self._answering and not self._streaming:
            with trio.move_on_after(limits.GRACE) as self._handling:  # left when the answer is sent, or can't be
                await self._protocol.handle(RawData(b""))
                await trio.sleep_forever()
        await self._protocol.handle(Closed())

    @property
    def _answering(self) -> bool:
        """Whether a request has come as a whole and is not answered yet."""
        connection = self._protocol.connection if isinstance(self._protocol, Http1) else None
        whole = isinstance(connection, h11.Connection) and connection.their_state in (h11.DONE, h11.MUST_CLOSE)
        return whole and not self._idle and not self._closing

    @property
    def _streaming(self) -> bool:
        """Whether an answer is under way that may have no end: to whom shall it go, when its client has left?"""
        return isinstance(self._protocol, Http1) and self._protocol.streaming

    async def _next_bytes(self) -> bytes:
        """What came, or nothing at the end of the connection or of its time."""
        if begun := self._begun:
            self._begun = b""
            return begun
        with trio.CancelScope(deadline=self._deadline) as self._receiving:
            try:
                data = bytes(await self._stream.receive_some(_RECEIVE))
                self._half_closed = not data
                return data
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        if self._closing:
            return b""
        if isinstance(self._protocol, Http2):
            await self._protocol.end()
        elif self._idle and self._started and not self._context.terminated.is_set():
            await self._protocol._send_error_response(408)
            await self._send(Closed())
        else:
            return b""
        return await self._next_bytes()

    async def _send(self, event: Event) -> None:
        """What hypercorn's protocols call to act on the connection. Must not be a checkpoint for Updated: the task that
        calls is usually cancelled by then."""
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Updated) and not self._closing:
            self._idle = event.idle
            self._started = False
            if event.idle:
                self._state[BEGAN] = trio.current_time()  # at the earliest
                self._rest(limits.DRAIN if self._context.terminated.is_set() else limits.IDLE_TIMEOUT)
            else:
                self._rest(math.inf)
        elif isinstance(event, Closed) and not self._closing:
            self._closing = True
            self._rest(limits.LINGER)
            self._handling.cancel()
            with trio.CancelScope(shield=True):  # never blocks
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    self._rest(0)

    async def _send_bytes(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._send_lock.acquire()
        try:
            sent = False
            try:
                with trio.move_on_after(limits.SEND_TIMEOUT):
                    await self._stream.send_all(data)
                    sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                if not sent:  # and what was sent may end anywhere: nothing can follow it
                    self._closing = True
                    self._handling.cancel()
                    await trio.aclose_forcefully(self._stream)
        finally:
            self._send_lock.release()
        if not sent:
            await self._protocol.handle(Closed())


def _notice_vanished(accepted: trio.socket.SocketType) -> None:
    # Linux has it. Elsewhere the connection lasts until the system stops sending again what nobody acknowledges.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.VANISHED * 1000))


class _HypercornLog:
    """What hypercorn says, in our log."""

    def __init__(self, config: Config) -> None:
        pass

    async def access(self, scope: Any, response: Any, seconds: float) -> None:
        log.debug(
            "request",
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"],
            status=response["status"] if response else None,
            ms=round(seconds * 1000, 1),
        )

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.exception(message)

    async def warning(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.warning(message)
