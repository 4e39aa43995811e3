"""The HTTP server, byte by byte, over services that are none: what a connection may do, and what it can't do to others.

The tests named `…_still` run the stock server or framework and show that a trap is still there: when one fails, what
the test beside it checks has become a matter of course, and our way around it can go.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import h11
import hypercorn.trio
import msgspec
import pytest
import quart
import structlog.testing
import trio
import trio.testing
import trio_websocket
from hypercorn.config import Config
from quart_trio import QuartTrio

from shared.appending import Appended
from shared.errors import NoSuchAccount, Refused
from tests.integration.websockets import websocket
from tracker.accounts import Account
from tracker.http import lane, limits, room, server
from tracker.http.app import TrackerApp, create_app

GOOD = b"GET /livez HTTP/1.1\r\nHost: t\r\n\r\n"
PUT = b"PUT /7?data=x HTTP/1.1\r\nHost: t\r\n\r\n"
UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Services:
    """All services in one: account 7 exists, the log is empty, followers get nothing. While `gate` is not set nothing
    is accepted."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.gate.set()
        self.waiting = trio.Event()
        self.cancelled = trio.Event()
        self.accepted: list[bytes] = []

    async def accept(self, account: int, data: bytes, key: str = "") -> Appended:
        if account != 7:
            raise NoSuchAccount(account)
        self.waiting.set()
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        self.accepted.append(data)
        return Appended(f"e-0-{len(self.accepted)}", len(self.accepted))

    async def get(self, account: int) -> Account:
        if account != 7:
            raise NoSuchAccount(account)
        return Account(7, "seven", True)

    async def per_second(self) -> int:
        return 0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        problem = msgspec.json.decode(self.body)
        assert list(problem) == ["type", "title", "status", "detail"]
        assert problem["status"] == self.status
        return cast("dict[str, Any]", problem)


class Wire:
    """A client that sends what it is told to, and reads answers one by one."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def answer(self, *, body: bool = True) -> Answer:
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value
        length = int(headers.get("content-length", 0)) if body and int(status) >= 200 else 0
        while len(self._buffer) < length:
            await self._more()
        content, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(status), headers, content)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def ended(self) -> bytes:
        """Wait for the end of the connection; return what came before."""
        with trio.fail_after(5):
            try:
                while True:
                    await self._more()
            except (EOFError, trio.BrokenResourceError):
                return self._buffer

    async def _more(self) -> None:
        with trio.fail_after(5):
            data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the connection ended after {self._buffer!r}")
        self._buffer += data


class Server:
    """A served application."""

    def __init__(self, app: TrackerApp, services: Services, port: int, finished: trio.Event) -> None:
        self.app = app
        self.services = services
        self.port = port
        self.finished = finished
        self._tasks = tasks()

    @asynccontextmanager
    async def wire(self, receive_buffer: int | None = None) -> AsyncIterator[Wire]:
        with trio.socket.socket() as client:
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await client.connect(("127.0.0.1", self.port))
            yield Wire(trio.SocketStream(client))

    async def settled(self) -> None:
        """Wait until no task is left of any connection."""
        with trio.fail_after(5):
            while tasks() > self._tasks:
                await trio.sleep(0.005)

    async def well(self) -> None:
        """Raises unless a good request on a new connection is answered."""
        async with self.wire() as wire:
            assert (await wire.ask(GOOD)).body == b'{"Status":"alive"}'


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


AnyServer = TypeVar("AnyServer", bound=Server)


@asynccontextmanager
async def serving(
    app: TrackerApp,
    services: Services,
    kind: type[AnyServer] = Server,  # type: ignore[assignment]
    **settings: Any,
) -> AsyncIterator[AnyServer]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    finished = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        await server.serve(app, listeners, task_status=task_status, **settings)
        finished.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield kind(app, services, listeners[0].socket.getsockname()[1], finished)
        app.stopping.set()


@pytest.fixture(params=[True, False], ids=["lane", "no-lane"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server with the lane or without, which has to be well after the test and may have no task of a connection
    left."""
    services = Services()
    anything: Any = services
    app = create_app(
        anything, anything, anything, anything, [], anything, anything, max_data=64 * 1024, max_followers=10
    )
    async with serving(app, services, lane=request.param) as served:
        yield served
        if not app.stopping.is_set():
            await served.well()
        await served.settled()


def hard_close(stream: trio.SocketStream) -> None:
    """Close with a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


# Bytes that are no HTTP, or hardly


NO_HTTP = {
    "random": random.Random(1).randbytes(4096) + b"\r\n\r\n",
    "lines": b"\r\n" * 40 + b"\x00\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(32) + b"\r\n\r\n",
    "http-0.9": b"GET /\r\n\r\n",
    "http-9.x": b"GET / HTTP/9.x\r\n\r\n",
    "nul-in-header": b"GET / HTTP/1.1\r\nHost: t\r\nA: b\x00c\r\n\r\n",
    "nul-in-target": b"GET /\x00 HTTP/1.1\r\nHost: t\r\n\r\n",
    "target-in-utf-8": "GET /ä HTTP/1.1\r\nHost: t\r\n\r\n".encode(),
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "space-before-colon": b"GET / HTTP/1.1\r\nHost : t\r\n\r\n",
    "length-no-number": b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: ten\r\n\r\n",
    "two-lengths": b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "chunk-no-number": b"PUT /7 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nten\r\n\r\n",
    "target-query-only": b"GET ?data=1 HTTP/1.1\r\nHost: t\r\n\r\n",
    "target-no-slash": b"GET 7 HTTP/1.1\r\nHost: t\r\n\r\n",
    "connect": b"CONNECT t:443 HTTP/1.1\r\nHost: t:443\r\n\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_a_400_and_the_end(served: Server, sent: bytes) -> None:
    async with served.wire() as wire:
        answer = await wire.ask(sent)
        assert answer.status == 400
        assert answer.problem["detail"]
        assert answer.headers["connection"] == "close"
        assert await wire.ended() == b""
    assert served.services.accepted == []


async def test_a_head_that_is_too_large_is_a_431(served: Server) -> None:
    async with served.wire() as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: t\r\nA: " + b"a" * (limits.MAX_HEAD + 1))
        answer = await wire.answer()
        assert answer.status == 431
        assert str(limits.MAX_HEAD) in answer.problem["detail"]
        assert await wire.ended() == b""


@pytest.mark.parametrize("host", ["", "a b", "[::1", "t/..", "t:port", "é", "-" * 5000])
async def test_a_strange_host_harms_nothing(served: Server, host: str) -> None:
    async with served.wire() as wire:
        answer = await wire.ask(b"GET /7 HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        assert answer.status == 200 or (answer.status == 400 and answer.problem)


# What a request may look like


async def test_the_absolute_form_of_a_target_is_understood(served: Server) -> None:
    async with served.wire() as wire:
        assert (await wire.ask(b"GET http://t/livez?a HTTP/1.1\r\nHost: t\r\n\r\n")).status == 200
        assert (await wire.ask(b"GET http://t HTTP/1.1\r\nHost: t\r\n\r\n")).body == b'{"Rate":0}'


async def test_options_of_the_whole_server(served: Server) -> None:
    async with served.wire() as wire:
        answer = await wire.ask(b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, PATCH, POST, PUT"
        assert "content-type" not in answer.headers
        assert (await wire.ask(b"GET * HTTP/1.1\r\nHost: t\r\n\r\n")).status == 400


async def test_two_slashes_are_not_one(served: Server) -> None:
    async with served.wire() as wire:
        answer = await wire.ask(b"GET /a//b HTTP/1.1\r\nHost: t\r\n\r\n")
        assert answer.status == 404
        assert answer.problem


async def test_head_is_get_without_the_body(served: Server) -> None:
    async with served.wire() as wire:
        for target in (b"/7", b"/8", b"/abc", b"/livez"):
            get = await wire.ask(b"GET %b HTTP/1.1\r\nHost: t\r\n\r\n" % target)
            await wire.send(b"HEAD %b HTTP/1.1\r\nHost: t\r\n\r\n" % target)
            head = await wire.answer(body=False)
            assert head.status == get.status
            assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
            assert int(head.headers["content-length"]) == len(get.body) > 0
        assert (await wire.ask(GOOD)).status == 200


async def test_a_chunked_body(served: Server) -> None:
    async with served.wire() as wire:
        await wire.send(b"PUT /7 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"1\r\na\r\n", b"2;extension\r\nbc", b"\r\n0\r\nTrailer: t\r\n\r\n"):
            await wire.send(piece)
        answer = await wire.answer()
        assert (answer.status, answer.headers["event-position"]) == (202, "e-0-1")
        assert (await wire.ask(PUT)).status == 202
    assert served.services.accepted == [b'"abc"', b'"x"']


async def test_a_body_in_a_great_many_chunks(served: Server) -> None:
    async with served.wire() as wire:
        head = b"PUT /7 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await wire.ask(head + b"1\r\na\r\n" * 3000 + b"0\r\n\r\n")).status == 202
    assert served.services.accepted == [b'"' + b"a" * 3000 + b'"']


async def test_a_body_is_asked_for_when_the_client_waits_for_that(served: Server) -> None:
    async with served.wire() as wire:
        head = b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        assert (await wire.ask(head)).status == 100
        assert (await wire.ask(b"abc")).status == 202
        assert (await wire.ask(head + b"def")).status in (100, 202)
    assert served.services.accepted[0] == b'"abc"'


async def test_an_offer_of_http_2_is_not_taken(served: Server) -> None:
    async with served.wire() as wire:
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        assert (await wire.ask(GOOD[:-2] + offer)).status == 200
        assert (await wire.ask(GOOD)).status == 200
    async with served.wire() as wire:
        await wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        assert (await wire.answer()).problem["status"] == 505
        await wire.ended()


# Many connections


async def test_connections_beyond_the_most_wait_for_one_to_end() -> None:
    services = Services()
    anything: Any = services
    app = create_app(
        anything, anything, anything, anything, [], anything, anything, max_data=64 * 1024, max_followers=10
    )
    async with (
        serving(app, services, max_connections=2) as served,
        served.wire() as first,
        served.wire() as second,
        served.wire() as third,
        served.wire() as fourth,
    ):
        assert (await first.ask(PUT)).status == 202
        assert (await second.ask(GOOD)).status == 200
        await third.send(PUT)
        await fourth.send(GOOD)
        with trio.move_on_after(0.2) as patience:
            await third.answer()
        assert patience.cancelled_caught
        await first.stream.aclose()
        assert (await third.answer()).status == 202
        hard_close(second.stream)
        assert (await fourth.answer()).status == 200


async def test_listeners_share_the_room(served: Server) -> None:
    listeners = [listener for _ in range(2) for listener in await trio.open_tcp_listeners(0, host="127.0.0.1")]
    addresses = [listener.socket.getsockname() for listener in listeners]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, served.app, listeners, max_connections=1))
        for (host, port), (other_host, other_port) in itertools.permutations(addresses):
            async with await trio.open_tcp_stream(host, port) as stream:
                assert (await Wire(stream).ask(PUT)).status == 202
                await trio.testing.wait_all_tasks_blocked()
                waiting = await trio.open_tcp_stream(other_host, other_port)
                await waiting.send_all(PUT)
                await trio.testing.wait_all_tasks_blocked()
            async with waiting:
                assert (await Wire(waiting).answer()).status == 202
        nursery.cancel_scope.cancel()


async def test_connections_are_no_more_than_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = [1024, 5000]

    def setrlimit(_: int, files: tuple[int, int]) -> None:
        limit[:] = files

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert (room.allowed(500), limit) == (500, [1024, 5000])
    assert (room.allowed(3000), limit) == (3000, [3000 + limits.OTHER_FILES, 5000])
    assert (room.allowed(6000), limit) == (5000 - limits.OTHER_FILES, [5000, 5000])
    limit[:] = [1024, resource.RLIM_INFINITY]
    assert (room.allowed(6000), limit[0]) == (6000, 6000 + limits.OTHER_FILES)


# One connection, many requests


async def test_requests_in_a_row_are_answered_in_that_order(served: Server) -> None:
    async with served.wire() as wire:
        await wire.send(b"".join(PUT.replace(b"=x", b"=%d" % number) for number in range(50)) + PUT[:20])
        positions = [(await wire.answer()).headers["event-position"] for _ in range(50)]
        assert positions == [f"e-0-{number}" for number in range(1, 51)]
        assert (await wire.ask(PUT[20:])).status == 202
    assert served.services.accepted == [b'"%d"' % number for number in range(50)] + [b'"x"']


@pytest.mark.parametrize("request_", [GOOD, PUT], ids=["get", "put"])
async def test_a_connection_has_any_number_of_requests(served: Server, request_: bytes) -> None:
    async with served.wire() as wire:
        for _ in range(15):
            await wire.send(request_ * 100)
            for _ in range(100):
                assert "connection" not in (await wire.answer()).headers


async def test_refusals_in_a_row_leave_others_their_turns(served: Server) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with served.wire() as wire, trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await wire.send(b"PUT /0 HTTP/1.1\r\nHost: t\r\n\r\n" * 500)
        for _ in range(500):
            assert (await wire.answer()).status == 400
        nursery.cancel_scope.cancel()
    assert turns >= 500


async def test_a_refusal_leaves_the_connection_open_though_the_body_comes_late(served: Server) -> None:
    async with served.wire() as wire:
        await wire.send(b"PUT /abc HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n")
        await served.well()
        answer = await wire.ask(b"abc")
        assert answer.status == 400
        assert "connection" not in answer.headers
        assert (await wire.ask(GOOD)).status == 200


async def test_an_answer_before_the_body_says_that_the_connection_ends(served: Server) -> None:
    async with served.wire() as wire:
        answer = await wire.ask(b"GET /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.ended() == b""


async def test_connection_close_is_honoured(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINGER", 0.1)
    for request, status in ((GOOD, 200), (PUT, 202)):
        async with served.wire() as wire:
            answer = await wire.ask(request[:-2] + b"Connection: close\r\n\r\n")
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert await wire.ended() == b""
            await served.settled()
    async with served.wire() as wire:
        assert (await wire.ask(b"GET /livez HTTP/1.0\r\n\r\n")).status == 200
        assert await wire.ended() == b""


async def test_an_idle_connection_ends(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.1)
    monkeypatch.setattr(lane, "LOOK_EVERY", 0.05)
    async with served.wire() as fresh, served.wire() as used, served.wire() as put:
        assert (await put.ask(PUT)).status == 202
        assert (await used.ask(GOOD)).status == 200
        assert (await used.ask(PUT)).status == 202
        assert await used.ended() == b""
        assert await fresh.ended() == b""
        assert await put.ended() == b""
        await served.settled()


async def test_a_request_under_way_is_not_idle(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.05)
    monkeypatch.setattr(lane, "LOOK_EVERY", 0.05)
    served.services.gate = trio.Event()
    async with served.wire() as wire:
        await wire.send(PUT)
        await trio.sleep(0.2)
        served.services.gate.set()
        assert (await wire.answer()).status == 202


async def test_connections_are_not_recycled_still() -> None:
    async with stock_server() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        wire = Wire(stream)
        assert (await wire.ask(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")).status == 200
        with trio.move_on_after(0.5) as patience:
            await wire.ended()
        assert patience.cancelled_caught


# Slow clients


@pytest.mark.parametrize("slow", [GOOD, PUT], ids=["get", "put"])
@pytest.mark.parametrize("before", [GOOD, PUT], ids=["after-get", "after-put"])
async def test_a_head_that_does_not_come_in_time_is_a_408(
    served: Server, monkeypatch: pytest.MonkeyPatch, before: bytes, slow: bytes
) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.2)
    async with served.wire() as wire, trio.open_nursery() as nursery:
        assert (await wire.ask(before)).status in (200, 202)
        nursery.start_soon(trickle, wire, slow)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.problem["detail"]
        await wire.ended()
        nursery.cancel_scope.cancel()


async def test_a_body_that_does_not_come_in_time_is_a_408(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.2)
    async with served.wire() as wire, trio.open_nursery() as nursery:
        await wire.send(b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n")
        nursery.start_soon(trickle, wire, b"a" * 1000)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert answer.problem
        await wire.ended()
        nursery.cancel_scope.cancel()
    assert served.services.accepted == []


@pytest.mark.parametrize("before", [b"", GOOD, PUT], ids=["", "after-get", "after-put"])
async def test_head_and_body_have_one_time_together(
    served: Server, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.8)
    request = b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n"
    async with served.wire() as wire:
        if before:
            await wire.ask(before)
            await trio.sleep(0.3)
        began = trio.current_time()
        await wire.send(request[:20])
        await trio.sleep(0.7)
        await wire.send(request[20:])
        assert (await wire.answer()).status == 408
        assert 0.75 < trio.current_time() - began < 1.4


async def test_the_time_of_a_request_does_not_begin_with_the_one_before(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.4)
    async with served.wire() as wire:
        for _ in range(2):
            await wire.send(PUT[:-2])
            await trio.testing.wait_all_tasks_blocked()
            assert (await wire.ask(PUT[-2:])).status == 202
            await trio.sleep(0.5)
            await wire.send(b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            assert (await wire.ask(b"a")).status == 202


async def trickle(wire: Wire, data: bytes) -> None:
    for byte in data:
        try:
            await wire.send(bytes([byte]))
        except trio.BrokenResourceError:
            return
        await trio.sleep(0.02)


async def test_a_413_reaches_a_client_that_is_still_sending(served: Server) -> None:
    body = 8 * 1024 * 1024
    for length in (b"Content-Length: %d" % body, b"Transfer-Encoding: chunked"):
        async with served.wire() as wire:
            await wire.send(b"PUT /7 HTTP/1.1\r\nHost: t\r\n%b\r\n\r\n" % length)
            for _ in range(body // 65536):
                await wire.send((b"" if length.startswith(b"C") else b"10000\r\n") + b"a" * 65536 + b"\r\n")
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert answer.problem["title"] == "Content Too Large"
            await wire.ended()


async def test_a_client_that_does_not_read_is_cut_off(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    async with served.wire(receive_buffer=4096) as wire:
        await never_read(served, wire)
        await served.well()
        await served.settled()
        assert len(await wire.ended()) < 10_000_000


async def test_a_client_that_sends_events_and_does_not_read_is_cut_off(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    async with served.wire(receive_buffer=4096) as wire:
        with trio.fail_after(10), contextlib.suppress(trio.BrokenResourceError):
            while True:
                await wire.send(PUT * 1000)
        await served.well()
        await served.settled()


async def test_stopping_does_not_wait_for_a_client_that_does_not_read(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.3)
    async with served.wire(receive_buffer=4096) as wire:
        await never_read(served, wire)
        served.app.stopping.set()
        with trio.fail_after(5):
            await served.finished.wait()


async def test_stopping_does_not_wait_for_a_client_that_sends_events_and_does_not_read(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.3)
    async with served.wire(receive_buffer=4096) as wire:
        with trio.move_on_after(0.5):  # by then neither side can send any more
            while True:
                await wire.send(PUT * 1000)
        served.app.stopping.set()
        with trio.fail_after(5):
            await served.finished.wait()


async def never_read(served: Server, wire: Wire) -> None:
    """Send requests for large answers without end, until the server takes no more."""

    @served.app.get("/large")
    async def large() -> quart.Response:
        served.services.waiting.set()
        return quart.Response(b"a" * 10_000_000)

    await wire.send(b"GET /large HTTP/1.1\r\nHost: t\r\n\r\n" + GOOD * 1000)
    await served.services.waiting.wait()
    await served.well()


# Clients that leave


LEFT = {
    "head": GOOD[:-2],
    "put-head": PUT[:-2],
    "body": b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\na",
    "chunk": b"PUT /7 HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "nothing": b"",
}


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("before", [GOOD, PUT], ids=["after-get", "after-put"])
@pytest.mark.parametrize("sent", LEFT.values(), ids=LEFT)
async def test_a_client_that_leaves_leaves_nothing_behind(served: Server, sent: bytes, before: bytes, how: str) -> None:
    async with served.wire() as wire:
        await wire.send(before + sent)
        await wire.answer()
        if how == "reset":
            hard_close(wire.stream)
    await served.settled()
    assert len(served.services.accepted) == (before == PUT)


async def test_a_client_that_will_send_no_more_gets_its_answers(served: Server) -> None:
    served.services.gate = trio.Event()
    async with served.wire() as wire:
        await wire.send(PUT)
        await served.services.waiting.wait()
        await wire.stream.send_eof()
        await served.well()  # by now the end has been seen
        served.services.gate.set()
        assert (await wire.answer()).status == 202
        assert await wire.ended() == b""
    async with served.wire() as wire:
        await wire.send(PUT + GOOD + PUT[:-2] + b"Connection: close\r\n\r\n")
        await wire.stream.send_eof()
        assert [(await wire.answer()).status for _ in range(3)] == [202, 200, 202]
        assert await wire.ended() == b""


async def test_a_client_that_left_is_not_served_for_ever(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.1)
    monkeypatch.setattr(lane, "LOOK_EVERY", 0.05)
    served.services.gate = trio.Event()
    async with served.wire() as wire:
        await wire.send(PUT)
        await served.services.waiting.wait()
    with trio.fail_after(5):
        await served.services.cancelled.wait()


async def test_a_reset_cancels_the_request(served: Server) -> None:
    served.services.gate = trio.Event()
    async with served.wire() as wire:
        await wire.send(PUT)
        await served.services.waiting.wait()
        hard_close(wire.stream)
        with trio.fail_after(5):
            await served.services.cancelled.wait()


# WebSockets


@pytest.mark.parametrize("trailing", [b"x", b"\x81\x05hello", os.urandom(5000)], ids=["byte", "frame", "random"])
async def test_an_upgrade_with_bytes_behind_it_ends_that_connection_alone(served: Server, trailing: bytes) -> None:
    register_websockets(served.app)
    with structlog.testing.capture_logs() as logged:
        for path in (b"/", b"/echo"):
            async with served.wire() as other, served.wire() as wire:
                assert (await other.ask(GOOD)).status == 200
                answer = await wire.ask(UPGRADE % path + trailing)
                assert (answer.status, answer.problem["title"]) == (400, "Bad Request")
                assert await wire.ended() == b""
                assert (await other.ask(GOOD)).status == 200
    assert [entry for entry in logged if entry["log_level"] != "debug"] == []


async def test_a_websocket_client_that_sends_before_it_may_is_refused(served: Server) -> None:
    @served.app.websocket("/slow")
    async def slow() -> None:
        served.services.waiting.set()
        await trio.sleep_forever()

    async with served.wire() as wire:
        await wire.send(UPGRADE % b"/slow")
        await served.services.waiting.wait()
        assert (await wire.ask(b"x")).status == 400
        assert await wire.ended() == b""


async def test_a_handshake_that_is_none_is_a_400(served: Server) -> None:
    register_websockets(served.app)
    async with served.wire() as wire:
        answer = await wire.ask((UPGRADE % b"/echo").replace(b"Version: 13", b"Version: 12"))
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await wire.ended() == b""


async def test_an_upgrade_with_a_byte_behind_it_ends_the_server_still() -> None:
    async def provoke() -> None:
        async with stock_server() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(UPGRADE % b"/" + b"x")
            await trio.sleep(5)  # until it is cancelled

    with pytest.raises(ExceptionGroup) as raised:
        await provoke()
    assert raised.value.subgroup(h11.LocalProtocolError)


async def test_an_upgrade_where_there_is_no_websocket(served: Server) -> None:
    register_websockets(served.app)
    for path, status in ((b"/", 400), (b"/7", 400), (b"/livez", 400), (b"/no/such", 404)):
        async with served.wire() as wire:
            answer = await wire.ask(UPGRADE % path)
            assert answer.status == status
            assert answer.problem
            assert answer.headers["connection"] == "close"
            await wire.ended()


async def test_a_websocket_says_why_it_ends(served: Server) -> None:
    register_websockets(served.app)
    with structlog.testing.capture_logs() as logged:
        for path, code in (("/crash", 1011), ("/crash-in-group", 1011), ("/return", 1000)):
            async with websocket(f"ws://127.0.0.1:{served.port}{path}") as client:
                assert await closed(client) == code
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["request failed"] * 2


async def test_a_websocket_is_told_that_the_server_stops(served: Server) -> None:
    register_websockets(served.app)
    async with websocket(f"ws://127.0.0.1:{served.port}/echo") as client:
        await client.send_message("hello")
        assert await client.get_message() == "hello"
        served.app.stopping.set()
        assert await closed(client) == 1001
    with trio.fail_after(5):
        await served.finished.wait()


async def test_a_websocket_client_that_leaves_leaves_nothing_behind(served: Server) -> None:
    register_websockets(served.app)
    async with served.wire() as wire:
        assert (await wire.ask(UPGRADE % b"/echo")).status == 101
    await served.settled()


async def test_a_websocket_that_crashes_closes_as_if_all_were_well_still() -> None:
    async with stock_server() as port, websocket(f"ws://127.0.0.1:{port}/crash") as client:
        assert await closed(client) == 1000


async def closed(client: Any) -> int:
    with trio.fail_after(5), pytest.raises(trio_websocket.ConnectionClosed) as raised:
        await client.get_message()
    return cast(int, raised.value.reason.code)


def register_websockets(app: QuartTrio) -> None:
    @app.websocket("/crash")
    async def crash() -> None:
        await quart.websocket.accept()
        raise ZeroDivisionError

    @app.websocket("/crash-in-group")
    async def crash_in_group() -> None:
        await quart.websocket.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise ZeroDivisionError

    @app.websocket("/return")
    async def just_return() -> None:
        await quart.websocket.accept()

    @app.websocket("/echo")
    async def echo() -> None:
        await quart.websocket.accept()
        while True:
            await quart.websocket.send(await quart.websocket.receive())


# Errors of handlers


def register_failures(app: QuartTrio) -> None:
    async def fail(error: Exception) -> None:
        raise error

    def route(name: str, *errors: Exception) -> None:
        @app.get(f"/fail/{name}", endpoint=name)
        async def failing() -> str:
            async with trio.open_nursery() as nursery:
                for error in errors:
                    nursery.start_soon(fail, error)
            return ""

    route("refused", Refused("no"))
    route("refused-twice", Refused("no"), Refused("no"))
    route("fault", ZeroDivisionError("hidden"))
    route("fault-and-refused", Refused("no"), ZeroDivisionError("hidden"))


async def test_no_error_hides_in_a_group(served: Server) -> None:
    register_failures(served.app)
    for name, status, fault in (
        ("refused", 400, False),
        ("refused-twice", 400, False),
        ("fault", 500, True),
        ("fault-and-refused", 500, True),
    ):
        with structlog.testing.capture_logs() as logged:
            async with served.wire() as wire:
                answer = await wire.ask(b"GET /fail/%b HTTP/1.1\r\nHost: t\r\n\r\n" % name.encode())
                assert (answer.status, answer.problem["status"]) == (status, status)
                assert b"hidden" not in answer.body
        faults = [entry for entry in logged if entry["log_level"] == "error"]
        assert len(faults) == fault
        if fault:
            assert faults[0]["exc_info"][1].subgroup(ZeroDivisionError)


async def test_an_error_beside_a_cancellation_is_logged(served: Server) -> None:
    @served.app.get("/mixed")
    async def mixed() -> str:
        try:
            served.services.waiting.set()
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("both", [cancelled, ZeroDivisionError()]) from None

    with structlog.testing.capture_logs() as logged:
        async with served.wire() as wire:
            await wire.send(b"GET /mixed HTTP/1.1\r\nHost: t\r\n\r\n")
            await served.services.waiting.wait()
            hard_close(wire.stream)
        await served.settled()
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["request failed"]


async def test_a_group_hides_errors_still() -> None:
    async with stock_server() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        answer = await Wire(stream).ask(b"GET /fail/fault-and-refused HTTP/1.1\r\nHost: t\r\n\r\n")
        assert answer.status == 400


async def test_the_app_owns_no_tasks(served: Server) -> None:
    await served.well()
    assert not hasattr(served.app, "nursery")


async def test_a_connection_that_fails_is_logged_and_no_more(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Any) -> None:
        raise ZeroDivisionError

    with structlog.testing.capture_logs() as logged:
        async with served.wire() as other:
            assert (await other.ask(PUT)).status == 202
            with monkeypatch.context() as patched:
                patched.setattr(server._Connection, "run", fail)
                async with served.wire() as wire:
                    await wire.send(GOOD)
                    assert await wire.ended() == b""
            assert (await other.ask(PUT)).status == 202
    assert [entry["event"] for entry in logged if entry["log_level"] != "debug"] == ["connection failed"]


# Stopping


async def test_stopping_answers_what_is_in_flight_and_nothing_else(served: Server) -> None:
    served.services.gate = trio.Event()
    async with (
        served.wire() as fresh,
        served.wire() as idle,
        served.wire() as idle_put,
        served.wire() as busy,
        served.wire() as partial_head,
        served.wire() as partial_put,
    ):
        assert (await idle.ask(GOOD)).status == 200
        assert (await idle_put.ask(PUT.replace(b"/7", b"/8"))).status == 404
        await partial_head.send(GOOD[:-2])
        await partial_put.send(PUT[:-2])
        await busy.send(PUT + PUT)
        await served.services.waiting.wait()
        served.app.stopping.set()
        assert await fresh.ended() == b""
        assert await idle.ended() == b""
        assert await idle_put.ended() == b""
        await partial_head.ended()
        await partial_put.ended()
        with pytest.raises(ConnectionRefusedError):
            await served.well()
        assert not served.finished.is_set()
        served.services.gate.set()
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (202, "close")
        assert await busy.ended() == b""
    with trio.fail_after(5):
        await served.finished.wait()
    assert len(served.services.accepted) == 1


async def test_a_request_that_meets_the_stop_is_answered(served: Server) -> None:
    async with served.wire() as idle, served.wire() as slow:
        assert (await idle.ask(GOOD)).status == 200
        await slow.send(PUT[:-2])
        await trio.testing.wait_all_tasks_blocked()
        served.app.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        await slow.send(PUT[-2:])
        for wire in (slow, idle):
            answer = await wire.answer() if wire is slow else await wire.ask(PUT)
            assert (answer.status, answer.headers["connection"]) == (202, "close")
            assert await wire.ended() == b""
    with trio.fail_after(5):
        await served.finished.wait()


async def test_a_request_that_meets_the_stop_has_its_time(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DRAIN", 0.2)
    async with served.wire() as wire:
        assert (await wire.ask(PUT)).status == 202
        served.services.gate = trio.Event()
        served.app.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        await wire.send(PUT)
        await trio.sleep(0.4)
        served.services.gate.set()
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (202, "close")


@pytest.mark.parametrize("before", [GOOD, PUT], ids=["after-get", "after-put"])
@pytest.mark.parametrize("begun", [GOOD[:8], PUT[:8]], ids=["get", "put"])
async def test_half_a_request_that_meets_the_stop_has_little_time(
    served: Server, monkeypatch: pytest.MonkeyPatch, before: bytes, begun: bytes
) -> None:
    monkeypatch.setattr(limits, "DRAIN", 0.2)
    async with served.wire() as wire:
        await wire.ask(before)
        served.app.stopping.set()
        await trio.testing.wait_all_tasks_blocked()
        await wire.send(begun)
        assert await wire.ended() == b""
    with trio.fail_after(5):
        await served.finished.wait()


async def test_stopping_waits_no_longer_than_it_says(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.2)
    served.services.gate = trio.Event()
    async with served.wire() as wire:
        await wire.send(PUT)
        await served.services.waiting.wait()
        served.app.stopping.set()
        with trio.fail_after(5):
            await served.finished.wait()
        assert await wire.ended() == b""
    assert served.services.cancelled.is_set()


# The stock server


class _Quiet:
    def __init__(self, config: Config) -> None:
        pass

    async def access(self, *args: Any) -> None:
        pass

    async def exception(self, *args: Any) -> None:
        pass

    info = warning = exception


@asynccontextmanager
async def stock_server() -> AsyncIterator[int]:
    """hypercorn's own server with Quart-Trio's own application; yields its port."""
    app = QuartTrio(__name__)
    app.log_exception = lambda exception_info: None  # type: ignore[method-assign]
    register_websockets(app)
    register_failures(app)

    @app.errorhandler(Refused)
    async def refused(error: Refused) -> tuple[str, int]:
        return "", 400

    @app.get("/")
    async def index() -> str:
        return "index"

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 0.1
    config.logger_class = _Quiet  # type: ignore[assignment]
    async with trio.open_nursery() as nursery:
        [url] = await nursery.start(hypercorn.trio.serve, app, config)
        yield int(url.rpartition(":")[2])
        nursery.cancel_scope.cancel()
