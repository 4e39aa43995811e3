"""A tracker's WebSocket as a source: one supervised connection, resumed by position."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import trio
import wsproto.utilities
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream

from listener.output import escape
from listener.problem import problem
from listener.received import Received
from listener.status import Status, Stop
from listener.terminal import tell
from listener.websocket_url import endpoint
from shared.errors import Misconfigured, Unavailable, first_leaf
from shared.frames import Bye, Frame, NoFrame, decode

CONNECT_WITHIN = 5.0
CLOSE_WITHIN = 0.2
"""To say goodbye. Nobody reads the answer: whoever leaves a connection leaves it by an exception."""

PING_EVERY = 5.0
PONG_WITHIN = 4.0
"""So that a tracker that stands still is given up 9 s after its last sign of life at the latest."""

MAX_MESSAGE = 32 << 20
"""The largest message: 64 KiB of events and one more, whose data may take 16 MiB by the tracker's setting."""

_WAITING = 2
"""How many messages may wait for whoever takes the frames. When there are more, the tracker has to wait."""

_RECEIVE_BYTES = 64 << 10
_LATER = {408, 425, 429}
_FINAL = {401, 403}
"""What is said of a token: it does not get better by asking again."""
_FOREIGN = (
    HandshakeError,
    ConnectionClosed,
    wsproto.utilities.ProtocolError,
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    UnicodeError,
    OSError,
)
"""How trio-websocket, and what it stands on, says that a connection was lost, or that what came makes no sense."""


class WebSocketSource:
    """The frames of some accounts (None: of all), received once and in order across any number of connections."""

    def __init__(
        self, url: str, part: str, accounts: Collection[int] | None, since: str | None, token: str | None = None
    ) -> None:
        self._endpoint = endpoint(url)
        self._part = part
        self._accounts = ["all"] if accounts is None else [str(account) for account in sorted(accounts)]
        self._since = since
        self._headers = [] if token is None else [(b"Authorization", f"Bearer {token}".encode())]
        self._received = Received()
        self._accepted = False
        self._room = trio.Semaphore(_WAITING)
        self._send, self._frames = trio.open_memory_channel[list[Frame]](math.inf)  # bounded by the room

    async def receive(self) -> list[Frame]:
        """The next frames; waits for them, and while the tracker is away."""
        frames = await self._frames.receive()
        self._room.release()
        return frames

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: follow; ready when the tracker has sent something that is no farewell.

        Raises Unavailable at every loss, also a clean close; Stop or Misconfigured if the very first request is
        refused, or any later one for its token.
        """
        try:
            async with trio.open_nursery() as nursery, self._connect(nursery) as (connection, stream):
                self._accepted = True
                nursery.start_soon(self._watch, connection, stream)
                await self._pump(connection, task_status)
        except* _FOREIGN as group:
            raise self._translated(first_leaf(group)) from group

    @asynccontextmanager
    async def _connect(self, nursery: trio.Nursery) -> AsyncIterator[tuple[WebSocketConnection, _Stream]]:
        """A connection on a stream of our own: trio-websocket's client leaves its socket open when the server closes
        first, and does not notice one that ends within the handshake."""
        where = self._endpoint
        resource = where.resource(self._accounts, self._received.position or self._since)
        with trio.fail_after(CONNECT_WITHIN):
            stream = _Stream(await _open_stream(where.host, where.port, tls=where.tls))
        try:
            with trio.fail_after(CONNECT_WITHIN):
                connection = await wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # any stream will do
                    where.netloc,
                    resource,
                    extra_headers=self._headers,
                    max_message_size=MAX_MESSAGE,
                    receive_buffer_size=_RECEIVE_BYTES,
                )
            stream.opened = True
            yield connection, stream
        finally:
            with trio.move_on_after(CLOSE_WITHIN, shield=True):
                if stream.opened:
                    await connection.aclose()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _pump(self, connection: WebSocketConnection, task_status: trio.TaskStatus[None]) -> None:
        started = False
        farewell: str | None = None
        while True:
            try:
                message = await connection.get_message()
            except ConnectionClosed as error:
                code = error.reason.code if error.reason else None
                raise Unavailable(self._part, farewell or _closed(code)) from error
            frames = _frames(message)
            await self._room.acquire()
            # No checkpoint from here on: what is noted as received is handed on.
            new = [new for frame in frames if (new := self._received.note(frame)) is not None]
            if new:
                self._send.send_nowait(new)
            else:
                self._room.release()
            for frame in frames:
                if isinstance(frame, Bye):
                    farewell = f"it said goodbye: {escape(frame.reason)}"
                elif not started:
                    started = True
                    task_status.started()

    async def _watch(self, connection: WebSocketConnection, stream: _Stream) -> None:
        """Ask for a sign of life. While nobody takes our frames the answer may be stuck behind them."""
        while True:
            await trio.sleep(PING_EVERY)
            seen = stream.received
            with trio.move_on_after(PONG_WITHIN) as scope, suppress(ConnectionClosed):  # the pump learns why
                await connection.ping()
            if scope.cancelled_caught and stream.received == seen and not self._room.statistics().tasks_waiting:
                raise Unavailable(self._part, f"no answer for {PING_EVERY + PONG_WITHIN:.0f} seconds")

    def _translated(self, error: BaseException) -> Exception:
        if isinstance(error, trio.BrokenResourceError) and isinstance(error.__cause__, ssl.SSLError):
            error = error.__cause__
        match error:
            case ConnectionRejected():
                status = error.status_code
                said = problem(error.body) or f"HTTP status {status}"
                if status not in _FINAL and (self._accepted or status >= 500 or status in _LATER):
                    return Unavailable(self._part, said)
                text = f"{self._part}{self._endpoint.path} refuses to be followed ({status}): {said}"
                return Misconfigured(text) if status == 400 else Stop(Status.REFUSED, text)
            case ConnectionClosed():
                return Unavailable(self._part, _closed(error.reason.code if error.reason else None))
            case trio.TooSlowError():
                return Unavailable(self._part, "no answer in time")
            case ssl.SSLCertVerificationError():
                return Unavailable(self._part, escape(f"its certificate is not trusted: {error.verify_message}"))
            case OSError():
                return Unavailable(self._part, escape(error.strerror or str(error)))
            case trio.BrokenResourceError() | trio.ClosedResourceError():
                return Unavailable(self._part, "the connection broke")
            case _:
                return Unavailable(self._part, escape(f"it speaks no WebSocket that we understand: {error}"))


class _Stream(trio.abc.Stream):
    """A stream that counts what came, and whose end within the handshake is an error."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self._inner = inner
        self.received = 0
        self.opened = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._inner.receive_some(max_bytes)
        self.received += len(data)
        if not data and not self.opened:
            raise ConnectionResetError("the connection ended before the answer")
        return data

    async def send_all(self, data: Any) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _open_stream(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
    if not tls:
        return await trio.open_tcp_stream(host, port)
    stream = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _frames(message: str | bytes) -> list[Frame]:
    """The frames of one message. What is none is told to the person, and left out."""
    frames: list[Frame] = []
    bad: list[str] = []
    lines = (message.encode() if isinstance(message, str) else message).split(b"\n")
    for line in filter(None, lines):
        try:
            frames.append(decode(line))
        except NoFrame as error:
            bad.append(str(error))
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        tell(f"Skipped a message that is no event: {bad[0]}{more}.")
    return frames


def _closed(code: int | None) -> str:
    match code:
        case 1001:
            return "it is going away"
        case 1009:
            return f"it sent a message of more than {MAX_MESSAGE >> 20} MiB"
        case 1006 | None:
            return "the connection broke"
    return f"it closed the connection with code {code}"
