"""The relay: passes on over WebSocket what the listener receives.

One ring of recent frames, one task a client that sends from it. A client that is slow or gone costs its place in the
ring, and holds up nobody. Frames, `ready` and `bye` are those of a tracker's stream (shared/frames.py), so a listener
can follow a relay, too: `listener events all --from ws://…`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import h11
import msgspec
import trio
import wsproto.utilities
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from listener.ring import Cursor, Ring
from listener.terminal import tell
from shared.errors import Misconfigured, Refused
from shared.events import account_id
from shared.frames import Bye, Error, Frame, encode

MAX_CLIENTS = 100
MAX_CONNECTIONS = 200
"""Beyond the clients: handshakes, refusals, and who never says anything."""

HANDSHAKE_WITHIN = 10.0
PING_EVERY = 15.0
PONG_WITHIN = 15.0
CLOSE_WITHIN = 1.0
FAREWELL_WITHIN = 2.0

_MAX_MESSAGE = 64 << 10
_LONGEST_SINCE = 200
_FOREIGN = (
    ConnectionClosed,
    wsproto.utilities.ProtocolError,
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    UnicodeError,
    OSError,
)
"""What a connection ends by that breaks, or speaks no WebSocket: each ends that connection alone."""


class _Bad(Exception):
    """A request that is refused, with this status."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})


class Relay:
    """Everything that came lately, for whoever connects."""

    def __init__(self, accounts: Collection[int] | None, allowed: Collection[str]) -> None:
        """`accounts` are those that the listener follows (None: all), `allowed` the origins beside our own."""
        self.ring = Ring()
        self.urls: list[str] = []
        self._accounts = accounts
        self._allowed = allowed
        self._errors: dict[int, Error] = {}
        self._connections = 0
        self._clients = 0
        self.closed = trio.Event()
        self._closing_at = math.inf

    def pass_on(self, frames: Iterable[Frame]) -> None:
        """Hand frames to the clients. Never waits."""
        frames = list(frames)
        for frame in frames:
            if isinstance(frame, Error) and frame.account_id is not None:
                self._errors[frame.account_id] = frame  # for whoever asks for that account
        self.ring.add(frames)

    def close(self) -> None:
        """Say goodbye to all, each when it has what is on its way to it."""
        self._closing_at = trio.current_time()
        self.closed.set()
        self.ring.wake()

    async def connect(self, stream: trio.SocketStream) -> None:
        """One connection, to its end."""
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS and not self.closed.is_set():
                async with trio.open_nursery() as nursery:
                    await self._converse(nursery, stream)
                    nursery.cancel_scope.cancel()
        except* _FOREIGN:
            pass
        except* (
            Exception
        ) as group:  # trio-websocket may stumble over what else comes: that is the client's end, not ours
            tell(f"! a client of the relay was cut off: {group.exceptions[0]!r}")
        finally:
            self._connections -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _converse(self, nursery: trio.Nursery, stream: trio.SocketStream) -> None:
        request: WebSocketRequest | None = None
        with trio.move_on_after(HANDSHAKE_WITHIN):
            request = await wrap_server_stream(nursery, stream, max_message_size=_MAX_MESSAGE)
        if request is None:
            return
        try:
            self._check_origin(request)
            accounts, errors, since = self._asked(request.path)
        except _Bad as bad:
            problem = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
            with trio.move_on_after(CLOSE_WITHIN):
                await request.reject(bad.status, extra_headers=problem, body=bad.body)
            return
        connection = await request.accept()
        if self._clients >= MAX_CLIENTS:
            client = _Client(connection, Cursor(self.ring, (), 0))
            nursery.start_soon(client.discard)
            await client.close(Bye("too many clients", retry=True), 1013)
            return
        self._clients += 1
        client = _Client(connection, self.ring.open_cursor(accounts, since))
        try:
            nursery.start_soon(client.discard)
            nursery.start_soon(client.watch)
            if errors:
                await client.send([encode(error) for error in errors])
            await self._serve(client)
        finally:
            self.ring.close_cursor(client.cursor)
            self._clients -= 1

    async def _serve(self, client: _Client) -> None:
        """Send what there is until the relay closes."""
        while trio.current_time() < self._closing_at + CLOSE_WITHIN:
            changed = self.ring.changed
            lines = client.cursor.take()
            if lines:
                await client.send(lines)
            elif self.closed.is_set():
                break
            else:
                await changed.wait()
        await client.close(Bye("shutdown", retry=True), 1001)

    def _check_origin(self, request: WebSocketRequest) -> None:
        """A page may use the relay if it came from the same host and port, or its origin is allowed: else any page that
        a person opens could read the events of a relay on their machine. Programs send no origin. Raises _Bad."""
        headers = {name.lower(): value.decode("latin-1") for name, value in request.headers}
        origin = headers.get(b"origin")
        if origin is None or "*" in self._allowed or origin.lower() in self._allowed:
            return
        own = request._event.host  # the only place where trio-websocket keeps it
        if urlsplit(origin).netloc.lower() != own.lower():
            raise _Bad(
                403, "Forbidden", f"Pages of {origin[:200]} may not use this relay. See listener's --allow-origin."
            )

    def _asked(self, target: str) -> tuple[Collection[int] | None, list[Error], str | None]:
        """Which accounts a client wants (None: all that the relay has), what is wrong with others, and since when.

        Raises _Bad."""
        path, _, query = target.partition("?")
        if path not in ("/", "/events"):
            raise _Bad(404, "Not Found", "Here is only /events.")
        try:
            asked = parse_qsl(query, keep_blank_values=True, max_num_fields=10_000)
            if unknown := sorted({key for key, _ in asked} - {"account", "since"}):
                raise Refused(f"There is no parameter {unknown[0][:40]!r}: expected account and since.")
            wanted = {value for key, value in asked if key == "account"}
            chosen = {account_id(value) for value in wanted - {"all"}}
            since = next((value for key, value in asked if key == "since"), None)
            if since is not None and len(since) > _LONGEST_SINCE:
                raise Refused("since is too long for a Position.")
        except (Refused, ValueError) as error:
            raise _Bad(400, "Bad Request", str(error)) from error
        if not chosen or "all" in wanted:
            return None, [], since
        strangers = chosen - chosen.intersection(chosen if self._accounts is None else self._accounts)
        errors = [
            Error(account_id=account, detail=f"This relay does not follow account {account}.") for account in strangers
        ]
        errors += [self._errors[account] for account in chosen if account in self._errors]
        if strangers == chosen:
            raise _Bad(404, "Not Found", "This relay follows none of these accounts.")
        return chosen - strangers, errors, since


class _Client:
    """One client's connection, and its place in the ring."""

    def __init__(self, connection: WebSocketConnection, cursor: Cursor) -> None:
        self.cursor = cursor
        self._connection = connection
        self._sent = 0
        self._closing = False

    async def send(self, lines: list[bytes]) -> None:
        """Send lines as one message."""
        await self._connection.send_message(b"\n".join(lines).decode(errors="replace"))
        self._sent += 1

    async def watch(self) -> None:
        """Give the client up when it shows no sign of life: no answer to a ping, and nothing taken meanwhile. (One that
        takes slowly gets the ping late.)"""
        while True:
            await trio.sleep(PING_EVERY)
            sent = self._sent
            with trio.move_on_after(PONG_WITHIN) as scope:
                await self._connection.ping()
            if scope.cancelled_caught and self._sent == sent:
                raise trio.BrokenResourceError("no sign of life")

    async def discard(self) -> None:
        """Read what the client sends, for its pongs come behind it. Ends the connection when the client closes it."""
        while True:
            try:
                await self._connection.get_message()
            except ConnectionClosed:
                if self._closing:
                    return
                raise

    async def close(self, bye: Bye, code: int) -> None:
        """Say goodbye, and wait a moment for the answer."""
        self._closing = True
        with trio.move_on_after(CLOSE_WITHIN), suppress(ConnectionClosed):
            await self.send([encode(bye)])
            await self._connection.aclose(code, bye.reason)


@asynccontextmanager
async def open_relay(address: str, allow_origin: str, accounts: Collection[int] | None) -> AsyncIterator[Relay]:
    """A relay that listens at `address` (HOST:PORT). `allow_origin`: origins with commas between them, or *.

    At the end of the block clients get FAREWELL_WITHIN seconds. Raises Misconfigured if it can't listen there.
    """
    parts = urlsplit(f"//{address}")
    try:
        listeners = await trio.open_tcp_listeners(parts.port or 0, host=parts.hostname)
    except OSError as error:
        raise Misconfigured(f"--serve {address} can't be used: {error.strerror or error}.") from error
    allowed = {origin.strip().rstrip("/").lower() for origin in allow_origin.split(",")} - {""}
    relay = Relay(accounts, allowed)
    relay.urls = [_url(listener) for listener in listeners]
    async with trio.open_nursery() as nursery:
        clients = await nursery.start(_hold_clients, relay)
        nursery.start_soon(partial(trio.serve_listeners, relay.connect, listeners, handler_nursery=clients))
        try:
            yield relay
        finally:
            relay.close()
            nursery.cancel_scope.cancel()


async def _hold_clients(relay: Relay, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """The nursery of the clients: it outlives a cancellation, so that they hear goodbye."""
    with trio.CancelScope(shield=True) as scope:
        async with trio.open_nursery() as clients:
            task_status.started(clients)
            await relay.closed.wait()
            scope.deadline = trio.current_time() + FAREWELL_WITHIN


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"ws://[{host}]:{port}/events" if ":" in host else f"ws://{host}:{port}/events"
