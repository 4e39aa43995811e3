"""A connection to Redis on a trio stream, with hiredis' packer and reader.

For the append path only, where crossing into asyncio and what redis-py does around a command take longer than the
command. Everywhere else redis-py serves.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import trio
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from shared.errors import OutcomeUnknown, Unavailable
from shared.redis_client import ANSWER_WITHIN, RedisRefused, connection_pool
from shared.wire import Wire

_PING_EVERY = 1.0
_READ_BYTES = 1 << 16
_LARGEST_ANSWER = 1 << 20
"""So many bytes are no answer to anything that is asked here: 500 errors take a tenth of it."""
_NOT_YET = object()
_pack: Any = hiredis.pack_command  # declared to take tuples of one item

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class RedisWire:
    """A connection that takes one command at a time.

    It repeats none. Once a command got no answer, or its caller was cancelled, it takes no other one: the answer may
    still come, and must not meet a later command.
    """

    def __init__(self, stream: Stream, part: str) -> None:
        """`part` names the connection in errors."""
        self._wire = Wire(stream) if isinstance(stream, trio.SocketStream) else _Secured(stream)
        self._part = part
        self._reader = hiredis.Reader(notEnoughData=_NOT_YET)
        self._turn = trio.Lock()
        self._answered_at = trio.current_time()
        self._given_up = trio.Event()
        self._reason = ""

    async def call(self, *command: bytes | str | int) -> Any:
        """Send a command and return its answer, within 3 s: bytes, an int, None, or a list of those.

        Raises Unavailable if the command was certainly not sent, RedisRefused if Redis answered with an error, and
        OutcomeUnknown if no answer came.
        """
        sent = answered = False
        try:
            with trio.move_on_after(ANSWER_WITHIN):
                await self._take_turn()
                try:
                    self._must_stand()
                    sent = True
                    await self._wire.send(_pack(command))
                    answer = await self._receive()
                    answered = True
                finally:
                    self._turn.release()
                if isinstance(answer, hiredis.ReplyError):
                    raise RedisRefused(self._part, str(answer))
                return answer
        except EOFError:
            self.give_up("it closed the connection")
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.give_up(_what_broke(error))
        except hiredis.ProtocolError as error:
            self.give_up(f"its answer is none of a Redis: {error}")
        finally:
            if sent and not answered:
                self.give_up("no answer in time")
        if not sent:
            raise Unavailable(self._part, "busy")
        raise OutcomeUnknown(self._part, self._reason)

    async def ask(self, *command: bytes | str | int) -> Any:
        """The same for a command that changes nothing: raises Unavailable if no answer came, too."""
        try:
            return await self.call(*command)
        except OutcomeUnknown as error:
            raise Unavailable(self._part, error.reason) from error

    def give_up(self, reason: str) -> None:
        """Let no further command through. The first reason counts."""
        if not self._reason:
            self._reason = reason
            self._given_up.set()

    async def keep(self) -> None:
        """Raise Unavailable once the connection is given up. While nothing is asked, a ping each second tells."""
        while True:
            with trio.move_on_after(_PING_EVERY):
                await self._given_up.wait()
            self._must_stand()
            if trio.current_time() >= self._answered_at + _PING_EVERY and await self.ask("PING") != b"PONG":
                self.give_up("its answers do not fit what was asked")

    async def _take_turn(self) -> None:
        try:
            self._turn.acquire_nowait()  # without the checkpoint: the answer will be one
        except trio.WouldBlock:
            await self._turn.acquire()

    def _must_stand(self) -> None:
        if self._reason:
            raise Unavailable(self._part, self._reason)

    async def _receive(self) -> Any:
        size = 0
        while (answer := self._reader.gets()) is _NOT_YET:
            data = await self._wire.receive()
            size += len(data)
            if size > _LARGEST_ANSWER:
                raise hiredis.ProtocolError("it has no end")
            self._reader.feed(data)
        if self._reader.has_data():
            raise hiredis.ProtocolError("there is more of it than was asked")
        self._answered_at = trio.current_time()
        return answer


class _Secured:
    """TLS, used as a Wire is."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream

    async def receive(self) -> bytes:
        if data := await self._stream.receive_some(_READ_BYTES):
            return bytes(data)
        raise EOFError

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)


@asynccontextmanager
async def open_wire(url: str, part: str) -> AsyncIterator[RedisWire]:
    """Connect to the Redis of a URL, which means what it means to redis-py, and log in.

    Raises Unavailable, of which RedisRefused is the kind where it does not let us in, and Misconfigured if the URL
    can't be used.
    """
    target = connection_pool(url).make_connection()
    with trio.move_on_after(ANSWER_WITHIN) as patience:
        stream = await _connect(target, part)
    if patience.cancelled_caught:
        raise Unavailable(part, "no answer in time")
    wire = RedisWire(stream, part)
    try:
        if target.username or target.password:
            await wire.ask("AUTH", *filter(None, [target.username]), target.password or "")
        if target.db:
            await wire.ask("SELECT", target.db)
        yield wire
    finally:
        wire.give_up("closed")
        await trio.aclose_forcefully(stream)


async def _connect(target: Any, part: str) -> Stream:
    try:
        context = target.ssl_context.get() if isinstance(target, SSLConnection) else None
    except OSError as error:
        raise Unavailable(part, f"the certificates that its URL names can't be read: {error}") from error
    try:
        if isinstance(target, UnixDomainSocketConnection):
            return await trio.open_unix_socket(target.path)
        stream = await trio.open_tcp_stream(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise Unavailable(part, str(error)) from error
    if context is None:
        return stream
    try:
        tls = trio.SSLStream(stream, context, server_hostname=target.host)
        await tls.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise Unavailable(part, _what_broke(error)) from error
        raise
    return tls


def _what_broke(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    return str(cause or error) or "the connection broke"
