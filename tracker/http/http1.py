"""HTTP/1.1 as hypercorn speaks it on our connections, and what we do otherwise."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import EndBody, StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.connection import ConnectionState

from tracker.http import limits
from tracker.http.app import WRITE
from tracker.http.problems import phrase, problem, too_slow

_BLANK_LINE = re.compile(rb"\n\r?\n")
"""What h11 takes for the end of a head."""
_NOT_CRLF = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_FOLDED = re.compile(rb"\n[ \t]")
_LENGTHS = re.compile(rb"\ncontent-length[ \t]*:([^\r\n]*)", re.IGNORECASE)
_ENCODED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_VERSION = re.compile(rb"[^\r\n]* HTTP/1\.1\r\n")
_TARGET = re.compile(rb"/|https?://|\*$", re.IGNORECASE)
"""The forms of a request target (RFC 9112, 3.2), but for that of CONNECT. hypercorn and Quart check none."""
_CLOSE = (b"connection", b"close")
_REQUEST_UNDER_WAY = (None, h11.IDLE, h11.SEND_BODY, h11.ERROR)
"""States of h11 in which the client may still send; None is what hypercorn has for a WebSocket."""
_REFUSALS = {
    400: "This is not HTTP/1.1 as RFC 9112 has it.",
    431: f"The request line and headers take more than {limits.MAX_HEAD} bytes, or are more than {limits.MAX_FIELDS}.",
    501: "The only transfer encoding that this server understands is chunked.",
    505: "This server speaks HTTP/1.1.",
}


class StrictConnection(h11.Connection):
    """h11 without its leniency: in what two servers may read differently, one request can hide in another one."""

    max_event = math.inf
    """The most bytes that a PUT may bring. Who announces more is not asked to send it."""
    _searched = 0
    _chunked = False
    _framing = b""
    _wanted = False

    def next_event(self) -> Any:
        if self.their_state is h11.IDLE:
            return self._next_head()
        if self.their_state is h11.SEND_BODY and self._chunked:
            return self._next_chunk()
        if self.their_state is h11.MUST_CLOSE and self.trailing_data[0]:
            return h11.PAUSED  # what comes after the last request is nobody's, and must not spoil its answer
        return super().next_event()

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Whether the client waits to be asked for a body, which has not come yet and will be read."""
        return self._wanted and super().they_are_waiting_for_100_continue and not self.trailing_data[0]

    def _next_head(self) -> Any:
        buffer, _ = self.trailing_data
        end = _BLANK_LINE.search(buffer, max(0, self._searched - 2))
        self._searched = 0 if end else len(buffer)
        if end and (refusal := _refusal(buffer[: end.end()])):
            raise h11.RemoteProtocolError("unsafe", error_status_hint=refusal)
        event = super().next_event()
        if isinstance(event, h11.Request):
            headers = dict(event.headers)
            length = int(headers.get(b"content-length", 0))
            self._chunked = b"transfer-encoding" in headers
            self._wanted = self._chunked or 0 < length <= (self.max_event if event.method == b"PUT" else math.inf)
        return event

    def _next_chunk(self) -> Any:
        before, _ = self.trailing_data
        event = super().next_event()
        after, _ = self.trailing_data
        self._framing += before[: len(before) - len(after)]
        if isinstance(event, (h11.Data, h11.EndOfMessage)):
            data = event.data if isinstance(event, h11.Data) else b""
            framing, self._framing = self._framing[: len(self._framing) - len(data)], b""
            if _NOT_CRLF.search(framing) or _FOLDED.search(framing):
                raise h11.RemoteProtocolError("unsafe")
        return event


def _refusal(head: bytes) -> int | None:
    """The status that refuses a head, with its blank line; None if h11 can be trusted with it."""
    lengths = _LENGTHS.findall(head)
    encoded = _ENCODED.search(head)
    if (
        _NOT_CRLF.search(head)
        or _FOLDED.search(head)
        or len(lengths) > 1
        or (lengths and b"," in lengths[0])
        or (encoded and (lengths or not _VERSION.match(head)))
    ):
        return 400
    if len(head) > limits.MAX_HEAD or head.count(b"\n") > limits.MAX_FIELDS + 2:
        return 431
    return None


class Http1(H11Protocol):
    """HTTP/1.1 with reason phrases, refusals that say what was wrong, and a last answer that says it is the last."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection = StrictConnection(h11.SERVER, self.config.h11_max_incomplete_size)
        self.connection.max_event = cast(Any, self.app).app.config["MAX_CONTENT_LENGTH"]
        self._head = b""
        self.streaming = False
        """Whether the answer under way has no known length: it may have no end either. That to a POST ends with it."""
        self._posted = False
        self.connection_state[WRITE] = self._write

    async def _write(self, frame: bytes) -> None:
        """Send a frame on the WebSocket, unless it is closing: past Quart, ASGI and wsproto, which would take each
        message apart for each follower."""
        stream = self.stream
        if isinstance(stream, WSStream) and stream.connection.state is ConnectionState.OPEN:
            await self.send(RawData(frame))

    async def handle(self, event: Event) -> None:
        stream = self.stream
        if not isinstance(event, RawData) or not isinstance(stream, WSStream):
            await super().handle(event)
        elif not stream.handshake.accepted:
            await self._refuse_early_data()
        else:
            await super().handle(event)
            # hypercorn closed it, as a message was too large, and would tell the application only once the client
            # has answered: which it may never do.
            if (
                stream.connection.state is ConnectionState.LOCAL_CLOSING
                and stream.state is ASGIWebsocketState.CONNECTED
            ):
                await stream.send(StreamClosed(stream_id=stream.stream_id))

    async def _refuse_early_data(self) -> None:
        """Refuse a client that did not wait for its WebSocket. hypercorn's own refusal can meet the answer of the
        application, which is what ends its server."""
        connection, stream = cast(H11WSConnection, self.connection), cast(WSStream, self.stream)
        if stream.handshake.accepted:
            return
        connection.buffer.clear()
        if connection.h11_connection.our_state is h11.SEND_RESPONSE:
            stream.closed = True
            await self._send_error_response(400)
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        """Let no request switch to HTTP/2, in which a client that does not read waits outside of SEND_TIMEOUT."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in (b"1.0", b"1.1"):
            refusal = 505
        elif not _TARGET.match(request.target):
            refusal = 400
        else:
            self._posted = request.method == b"POST"
            await super()._create_stream(_uncompressed(request))
            if isinstance(self.stream, WSStream) and cast(H11WSConnection, self.connection).buffer:
                await self._refuse_early_data()
            return
        await self._send_error_response(refusal)
        await self.send(Closed())

    async def stream_send(self, event: Any) -> None:
        await super().stream_send(event)
        if isinstance(event, EndBody) and isinstance(self.stream, WSStream):
            await self.send(Closed())  # a refused WebSocket, whose connection hypercorn would keep open

    async def _send_h11_event(self, event: Any) -> None:
        """Send the head of an answer of known length together with the rest: in one packet, not cut off in between."""
        measured = False
        if isinstance(event, h11.Response):
            headers = list(event.headers)
            last = self.context.terminated.is_set() or self.connection.their_state in _REQUEST_UNDER_WAY
            if last and _CLOSE not in headers:
                headers.append(_CLOSE)
            reason = phrase(event.status_code)
            event = h11.Response(status_code=event.status_code, headers=headers, reason=reason)
            measured = any(name == b"content-length" for name, _ in headers)
            self.streaming = not measured and not self._posted
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 100:
            event = h11.InformationalResponse(status_code=100, headers=event.headers, reason="Continue")
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if measured:
            self._head = data
        else:
            self._head, data = b"", self._head + data
            await self.send(RawData(data))

    async def _send_error_response(self, status_code: int) -> None:
        refusal = too_slow() if status_code == 408 else problem(status_code, _REFUSALS.get(status_code, ""))
        body = refusal.body()
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers().items()]
        headers += [(b"content-length", b"%d" % len(body)), _CLOSE]
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _uncompressed(request: h11.Request) -> h11.Request:
    """The request without its offers for WebSockets to compress, which hypercorn would take: a follower would cost
    300 KB more, each message as many compressions as it has followers, and 64 KiB of a client could become 64 MiB
    before anyone asks how long its message is."""
    if all(name != b"sec-websocket-extensions" for name, _ in request.headers):
        return request
    headers = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)
