"""HTTP/2 on our connections: the h2 package's frames, hypercorn's ASGI, and between them what both leave open.

Not hypercorn's `H2Protocol` (0.18): there a request's task writes to the connection, and what it wrote ends anywhere
when it is cancelled; a client that opens no window makes it wait without end; bodies that come after the answer, odd
targets and PRIORITY end the connection for all its requests; requests that were taken back are never forgotten.
Here one task writes, nothing that reads waits for an application, and every wait and every heap has a bound.

WebSockets (RFC 8441) are not announced: clients take a connection of HTTP/1.1 for them. Nothing is pushed. A client
that says GOAWAY gets nothing more: not the answers either that it may still wait for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import h2.connection
import h2.events
import hpack
import structlog
import trio
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, InformationalResponse, Request, Response, StreamClosed
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext
from hypercorn.utils import filter_pseudo_headers
from hyperframe.frame import GoAwayFrame

from tracker.http import limits
from tracker.http.app import BEGAN
from tracker.http.problems import problem

log = structlog.get_logger(__name__)

_STEP = 4096
"""How many bytes are taken at a time: as frames they may be a few hundred, and others want their turn."""
_AT_ONCE = 64 * 1024
"""How many bytes of bodies are sent at a time."""
_HIGH_WATER = 64 * 1024
"""How many bytes of an answer may wait for its client, before the application has to wait."""
_TABLE = 4096
"""The most bytes of headers remembered for the next answers, whatever the client offers (RFC 7541, 4.2)."""
_NOISE = (
    h2.events.PingReceived,
    h2.events.RemoteSettingsChanged,
    h2.events.PriorityUpdated,
    h2.events.UnknownFrameReceived,
)
_ALL_STREAMS = 2**31 - 1
_TARGET = re.compile(rb"/[!-~]*|\*")
_REFUSALS = {
    400: "This is no request that this server understands. For a WebSocket, ask in HTTP/1.1.",
    431: f"These are more than {limits.MAX_FIELDS} headers.",
}


class Http2:
    """One connection's protocol, to be used as hypercorn's are."""

    def __init__(
        self,
        app: Any,
        config: Config,
        context: WorkerContext,
        tasks: TaskGroup,
        state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._app = app
        self._common = (config, context, tasks, ssl, client, server, self._answer)
        self._config = config
        self._tasks = tasks
        self._send = send
        self._streams: dict[int, _Stream] = {}
        self._last_begin = float("inf")
        self._resets = _Allowance(*limits.RESETS)
        self._noise = _Allowance(*limits.NOISE)
        self._unsent = bytearray()
        self._work = trio.Event()  # for the task that writes
        self._sent = trio.Event()
        self._ending = False  # nothing is to follow what is unsent
        self._closed = False
        self._written = trio.Event()  # nothing is written any more
        self._h2 = h2.connection.H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.MAX_HEAD,
            },
        )
        self._h2.decoder.max_header_list_size = limits.MAX_HEAD
        self._h2.encoder = _Encoder()

    async def initiate(self) -> None:
        self._h2.initiate_connection()
        # A request has the window of HTTP/2's default, 64 KiB less a byte, until someone reads its body; all together
        # have so many of it that none can stand in another one's way.
        window = self._h2.local_settings.initial_window_size
        self._h2.increment_flow_control_window((limits.MAX_STREAMS - 1) * window)
        self._tasks.spawn(self._write)
        self._write_on()

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._receive(event.data)
        elif isinstance(event, Closed) and not self._closed:
            self._closed = True
            self._work.set()
            self._sent.set()
            for stream in list(self._streams.values()):
                await self._drop(stream)

    def stop(self) -> None:
        """Tell the client that new requests should go elsewhere. Those that come soon are answered still."""
        self._last_begin = trio.current_time() + limits.DRAIN
        # h2 has no such frame: for it a connection is over with GOAWAY, also for the requests under way.
        self._unsent += self._h2.data_to_send() + GoAwayFrame(0, last_stream_id=_ALL_STREAMS).serialize()
        self._write_on()

    async def end(self, why: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Tell the client that this is the end, and end the connection."""
        if not self._ending:
            self._h2.close_connection(why)
            self._end()
        with trio.move_on_after(limits.LINGER):
            await self._written.wait()
        await self._send(Closed())

    # What the client says

    async def _receive(self, data: bytes) -> None:
        for start in range(0, len(data), _STEP):
            if self._ending or self._closed:
                return
            try:
                for event in self._h2.receive_data(data[start : start + _STEP]):
                    if not self._ending:
                        await self._take(event)
            except ProtocolError as error:
                log.debug("no HTTP/2", reason=str(error))
                self._h2.close_connection(error.error_code)
                self._end()
                return
            self._write_on()
            await trio.lowlevel.checkpoint()
            while len(self._unsent) > limits.MAX_UNSENT and not self._closed:
                self._sent = trio.Event()
                await self._sent.wait()

    async def _take(self, event: h2.events.Event) -> None:
        """Act on an event. Never waits."""
        if isinstance(event, h2.events.RequestReceived):
            await self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            stream = self._streams.get(event.stream_id)
            kept = len(event.data) if stream else 0
            self._h2.acknowledge_received_data(event.flow_controlled_length - kept, event.stream_id)
            if stream:
                stream.body += event.data
                stream.news.set()
            if not event.data and event.stream_ended is None:
                self._allow(self._noise)
        elif isinstance(event, h2.events.StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.complete = True
                stream.news.set()
        elif isinstance(event, h2.events.StreamReset):
            if stream := self._streams.get(event.stream_id):
                if not stream.answered:
                    self._allow(self._resets)
                stream.complete = stream.ended = True
                await self._drop(stream)
            else:
                self._allow(self._noise)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._end()
        elif isinstance(event, _NOISE):
            self._allow(self._noise)

    def _allow(self, allowance: _Allowance) -> None:
        if not allowance.spend() and not self._ending:
            log.debug("HTTP/2 ended: the client asks too much that is not to be answered")
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end()

    async def _begin(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if trio.current_time() > self._last_begin:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)  # which says: it may be sent elsewhere
            return
        stream = self._streams[stream_id] = _Stream(stream_id, self._was_read)
        await self._send(Updated(idle=False))
        pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
        method, target = pseudo[b":method"].decode("latin-1"), pseudo.get(b":path", b"")
        if method == "CONNECT" or not _TARGET.fullmatch(target):
            self._refuse(stream, 400)
        elif len(event.headers) - len(pseudo) > limits.MAX_FIELDS:
            self._refuse(stream, 431)
        else:
            app: Any = _Unhurried(self._app, stream.receive)
            stream.asgi = HTTPStream(app, *self._common, stream_id)
            await stream.asgi.handle(
                Request(
                    stream_id=stream_id,
                    headers=filter_pseudo_headers(event.headers),
                    http_version="2",
                    method=method,
                    raw_path=target,
                    state=ConnectionState({BEGAN: trio.current_time()}),
                )
            )
            stream.asgi.app_put = None  # type: ignore[assignment]  # the application hears from `stream.receive`

    def _refuse(self, stream: _Stream, status: int) -> None:
        refusal = problem(status, _REFUSALS[status])
        stream.unsent += refusal.body()
        stream.answered = stream.last = True
        headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers().items()]
        headers.append((b"content-length", b"%d" % len(stream.unsent)))
        self._head(stream.id, status, headers)

    # What the application says

    async def _answer(self, event: Any) -> None:
        """What hypercorn calls, in a task of the application, which may be cancelled at any time. For StreamClosed it
        usually is, at the first checkpoint."""
        stream = self._streams.get(event.stream_id)
        if stream is None:
            await trio.lowlevel.checkpoint()  # at which an application that has more to say ends
            return
        if isinstance(event, (Response, InformationalResponse)):
            stream.answered = stream.answered or isinstance(event, Response)
            self._head(stream.id, event.status_code, event.headers)
        elif isinstance(event, Body):
            stream.unsent += event.data
            self._write_on()
            await self._until(stream, _HIGH_WATER)
        elif isinstance(event, EndBody):
            stream.last = True
            self._write_on()
            await self._until(stream, 1)
        elif isinstance(event, StreamClosed):
            await self._drop(stream)

    def _head(self, stream_id: int, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        fields = [(b":status", b"%d" % status), *headers, *self._config.response_headers("h2")]
        try:
            self._h2.send_headers(stream_id, fields)
        except ProtocolError:
            log.debug("an answer came after the end of its connection")
        self._write_on()

    async def _until(self, stream: _Stream, fewer: int) -> None:
        """Wait until fewer bytes than that wait for the client; a client that does not take them is not waited for."""
        with trio.move_on_after(limits.SEND_TIMEOUT) as patience:
            while (len(stream.unsent) >= fewer) and not stream.gone:
                stream.room = trio.Event()
                await stream.room.wait()
        if patience.cancelled_caught:
            await self._drop(stream, ErrorCodes.CANCEL)

    def _was_read(self, stream: _Stream, size: int) -> None:
        """The application has read so much of a request's body: the client may send more."""
        self._h2.acknowledge_received_data(size, stream.id)
        self._write_on()

    async def _drop(self, stream: _Stream, why: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """Forget a stream; if it was not whole, tell the client. Has no checkpoint."""
        if self._streams.pop(stream.id, None) is None:
            return
        if not self._closed and not self._ending:
            try:
                if stream.last and not stream.unsent:
                    self._send_end(stream)
                if not stream.ended:
                    self._h2.reset_stream(stream.id, why)
                elif not stream.complete:
                    self._tasks.spawn(self._stop_listening, stream.id)
                self._h2.acknowledge_received_data(len(stream.body), stream.id)
            except ProtocolError:
                pass  # the client, too, has ended it
        stream.leave()
        if stream.asgi:
            await stream.asgi.handle(StreamClosed(stream_id=stream.id))
        self._write_on()
        await self._send(Updated(idle=not self._streams))

    async def _stop_listening(self, stream_id: int) -> None:
        """Let the client send on for a moment after the answer, as on HTTP/1.1: many don't read before they have sent
        it all."""
        await trio.sleep(limits.LINGER)
        with contextlib.suppress(ProtocolError):  # it has sent it all
            self._h2.reset_stream(stream_id, ErrorCodes.NO_ERROR)
            self._write_on()

    # What is sent

    def _end(self) -> None:
        self._ending = True
        self._write_on()

    def _write_on(self) -> None:
        self._unsent += self._h2.data_to_send()
        self._work.set()

    async def _write(self) -> None:
        """The one task that writes."""
        while not self._closed:
            await self._fill()
            if self._unsent:
                self._unsent, data = bytearray(), bytes(self._unsent)
                await self._send(RawData(data))
                self._sent.set()
            elif self._ending:
                await self._send(Closed())
                break
            else:
                self._work = trio.Event()
                await self._work.wait()
        self._written.set()

    async def _fill(self) -> None:
        """Add to what is unsent as much of the answers as may be sent, each in its turn. Has no checkpoint."""
        if self._ending:
            return
        room = _AT_ONCE
        while room > 0 and (sent := self._send_frames(room)):
            room -= sent
        for stream in list(self._streams.values()):
            if stream.last and not stream.unsent:
                if stream.asgi:
                    self._send_end(stream)
                else:
                    await self._drop(stream)
        self._unsent += self._h2.data_to_send()

    def _send_frames(self, room: int) -> int:
        """Send one frame of each answer, as long as there is room; return how many bytes that were."""
        sent = 0
        for stream in [stream for stream in self._streams.values() if stream.unsent]:
            window = self._h2.local_flow_control_window(stream.id)
            size = min(len(stream.unsent), window, self._h2.max_outbound_frame_size, room - sent)
            if size > 0:
                self._h2.send_data(stream.id, bytes(stream.unsent[:size]))
                del stream.unsent[:size]
                self._streams[stream.id] = self._streams.pop(stream.id)  # others come first next time
                stream.room.set()
                sent += size
        return sent

    def _send_end(self, stream: _Stream) -> None:
        if not stream.ended:
            stream.ended = True
            self._h2.end_stream(stream.id)


class _Stream:
    """One request and its answer."""

    def __init__(self, stream_id: int, was_read: Callable[[_Stream, int], None]) -> None:
        self.id = stream_id
        self.asgi: HTTPStream | None = None
        """None if it was refused here."""
        self.body = bytearray()  # of the request, as far as nobody has read it
        self.complete = False  # the request has come as a whole
        self.news = trio.Event()
        self.answered = False  # the answer's head is on its way
        self.unsent = bytearray()  # of the answer's body
        self.room = trio.Event()
        self.last = False  # nothing comes after `unsent`
        self.ended = False  # and h2 knows
        self.gone = False
        self._told = False
        self._was_read = was_read

    def leave(self) -> None:
        self.gone = True
        self.unsent.clear()
        self.news.set()
        self.room.set()

    async def receive(self) -> dict[str, Any]:
        """The next message for the application (ASGI's `receive`). The client may send more as this is read."""
        while not self.gone:
            if self.body:
                data = bytes(self.body)
                self.body.clear()
                self._was_read(self, len(data))
                return {"type": "http.request", "body": data, "more_body": True}
            if self.complete and not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self.news = trio.Event()
            await self.news.wait()
        return {"type": "http.disconnect"}


class _Encoder(hpack.Encoder):
    """Remembers no more headers than it must be able to."""

    @property
    def header_table_size(self) -> int:
        return super().header_table_size

    @header_table_size.setter
    def header_table_size(self, offered: int) -> None:
        hpack.Encoder.header_table_size.__set__(self, min(offered, _TABLE))  # type: ignore[attr-defined]


class _Unhurried:
    """The application, which is given the body as fast as it reads, while hypercorn would wait for it."""

    def __init__(self, app: Any, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._app = app
        self._receive = receive

    async def __call__(self, scope: Any, _: Any, send: Any, *threads: Any) -> None:
        await self._app(scope, self._receive, send, *threads)


class _Allowance:
    """What a client may do so many times at once, and in the long run so many times a second."""

    def __init__(self, at_once: int, per_second: float) -> None:
        self._most = self._left = float(at_once)
        self._per_second = per_second
        self._counted = trio.current_time()

    def spend(self) -> bool:
        """Whether it may do it once more."""
        now = trio.current_time()
        self._left = min(self._most, self._left + (now - self._counted) * self._per_second) - 1
        self._counted = now
        return self._left >= 0
