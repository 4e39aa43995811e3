"""TLS on our connections.

Not by `trio.SSLStream`: it can't say that it will send no more and read on (RFC 8446, 6.1), without which a last answer
may be lost on its way, and its locks and checkpoints cost the lane a third of its speed. Renegotiation, which is what
makes it so careful, is switched off here: then reading never has to write, nor writing to read.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from typing import Any
from wsgiref.handlers import format_date_time

import structlog
import trio

from tracker.http import limits, problems
from tracker.http.wire import Wire

log = structlog.get_logger(__name__)

_RECEIVE = 64 * 1024
_ALERTS = 64 * 1024
"""How many bytes of its own OpenSSL may have for a client that is sent nothing."""


class Session:
    """The TLS of one connection, apart from the connection: bytes in, bytes out."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ended = False

    @property
    def protocol(self) -> str | None:
        """What ALPN agreed on."""
        return self._tls.selected_alpn_protocol()

    async def shake_hands(self, transport: trio.SocketStream) -> None:
        """Raises SSLError if the client does not speak TLS as we do, and BrokenResourceError if it leaves."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                if error.reason not in _PLAIN_HTTP:
                    await transport.send_all(self._outgoing.read())  # an alert that says why
                raise
            else:
                # From TLS 1.3 on what is left are tickets, which some clients do not expect yet: they go with what is
                # sent first (as in trio's SSLStream, trio #819).
                if self._tls.version() != "TLSv1.3":
                    await transport.send_all(self._outgoing.read())
                return
            if answer := self._outgoing.read():
                await transport.send_all(answer)
            else:
                self.feed(await transport.receive_some(_RECEIVE))

    def feed(self, data: bytes | bytearray) -> None:
        """Take what came over the connection, or nothing at its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read(self) -> bytes | None:
        """What the client said; nothing at the end, and None if more has to be fed. Raises ConnectionError if what
        came is no TLS."""
        if self._ended:  # what comes now is of no interest, but that it comes
            return self._incoming.read() or (b"" if self._incoming.eof else None)
        try:
            said = self._tls.read(_RECEIVE)
            self._look_at_alerts()
            return said
        except ssl.SSLWantReadError:
            self._look_at_alerts()
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise ConnectionAbortedError(error.reason) from error

    def _look_at_alerts(self) -> None:
        """What OpenSSL answers by itself waits for what is sent next. Who sends nothing but what it has to refuse (a
        new handshake, in TLS 1.2) would fill the memory."""
        if self._outgoing.pending > _ALERTS:
            raise ConnectionAbortedError("the client sends nothing but what is refused")

    def write(self, data: bytes) -> bytes:
        """What has to be sent for the client to hear this. Raises ConnectionError after the end."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise ConnectionAbortedError(error.reason) from error
        return self._outgoing.read()

    def end(self) -> bytes:
        """Say no more. Returns what tells the client (close_notify)."""
        if not self._ended:
            self._ended = True
            with contextlib.suppress(ssl.SSLError):  # which waits for the client to say the same
                self._tls.unwrap()
        return self._outgoing.read()


class TlsStream(trio.abc.HalfCloseableStream):
    """A stream inside TLS. As on a socket, one task may send while another one receives."""

    def __init__(self, transport: trio.SocketStream, session: Session) -> None:
        self.transport = transport
        self.session = session
        self._sending = False

    @property
    def socket(self) -> trio.socket.SocketType:
        """That of the connection below."""
        return self.transport.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As much as is there, whatever `max_bytes` says."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            while (data := self.session.read()) is None:
                self.session.feed(await self.transport.receive_some(_RECEIVE))
        except ConnectionError as error:
            raise trio.BrokenResourceError from error
        return data

    async def send_all(self, data: Any) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            await self.transport.send_all(self.session.write(data))
        except ConnectionError as error:
            raise trio.BrokenResourceError from error
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that no more will be sent; at once, or not at all if the client is behind with reading."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        if self.socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                os.write(self.socket.fileno(), self.session.end())
        await self.transport.send_eof()

    async def aclose(self) -> None:
        await self.transport.aclose()


class TlsWire(Wire):
    """The same for the lane."""

    def __init__(self, stream: TlsStream) -> None:
        super().__init__(stream.transport)
        self._session = stream.session

    async def receive(self) -> bytes:
        while (data := self._session.read()) is None:
            self._session.feed(await super().receive())
        if not data:
            raise EOFError
        return data

    async def send(self, data: bytes) -> None:
        await super().send(self._session.write(data))

    async def finish(self) -> None:
        await super().send(self._session.end())
        await super().finish()


async def accept(transport: trio.SocketStream, context: ssl.SSLContext) -> TlsStream | None:
    """Begin TLS with a client; None if it does not speak TLS as we do, or leaves."""
    session = Session(context)
    try:
        await session.shake_hands(transport)
    except ssl.SSLError as error:
        log.debug("no TLS", reason=error.reason)
        if error.reason in _PLAIN_HTTP:
            await _tell(transport)
    except trio.BrokenResourceError:
        log.debug("no TLS", reason="the client left")
    else:
        return TlsStream(transport, session)
    return None


_PLAIN_HTTP = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST")
"""What OpenSSL calls it when a client that takes this for a port of HTTP sends its request."""


async def _tell(transport: trio.SocketStream) -> None:
    refusal = problems.problem(400, "This port speaks HTTPS, and the request came without TLS. Ask https://….")
    with contextlib.suppress(trio.BrokenResourceError):
        await transport.send_all(problems.as_http1(refusal, format_date_time(time.time()), "Connection: close\r\n"))
        await transport.send_eof()
        with trio.move_on_after(limits.LINGER):
            while await transport.receive_some(_RECEIVE):
                pass
