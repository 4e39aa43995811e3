"""HTTP inside TLS: the same as without, and clients that don't get that far."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing
import trio
import trio.testing
import trio_websocket

from tests.integration import certificates, test_lane
from tests.integration.conftest import StartTracker
from tests.integration.listeners import listener
from tests.integration.test_http_server import GOOD, PUT, Server, Services, Wire, hard_close, serving
from tests.integration.test_lane import ALL, LAST, Parts, Side, answers
from tests.integration.websockets import websocket
from tracker.http import limits, server
from tracker.http.app import create_app
from tracker.http.certificate import Certificate

Secured = trio.SSLStream[trio.SocketStream]


class Https(Server):
    """A served application, inside TLS."""

    @asynccontextmanager
    async def wire(
        self, receive_buffer: int | None = None, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[Wire]:
        async with self.plain(receive_buffer) as stream:
            secured = secure(stream, context)
            await secured.do_handshake()
            yield Wire(secured)  # type: ignore[arg-type]

    @asynccontextmanager
    async def plain(self, receive_buffer: int | None = None) -> AsyncIterator[trio.SocketStream]:
        async with super().wire(receive_buffer) as wire:
            yield wire.stream


def secure(stream: trio.SocketStream, context: ssl.SSLContext | None = None) -> Secured:
    context = context or certificates.trusting("http/1.1")
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(*certificates.write(tmp_path_factory.mktemp("tls")))


@pytest.fixture(params=[True, False], ids=["lane", "no-lane"])
async def served(request: pytest.FixtureRequest, certificate: Certificate) -> AsyncIterator[Https]:
    """A server with the lane or without, which has to be well after the test and may have no task of a connection
    left."""
    services = Services()
    anything: Any = services
    app = create_app(
        anything, anything, anything, anything, [], anything, anything, max_data=64 * 1024, max_followers=10
    )
    async with serving(app, services, Https, certificate=certificate, lane=request.param) as served:
        yield served
        if not app.stopping.is_set():
            await served.well()
        await served.settled()


class SecureSide(Side):
    """The lane inside TLS."""

    certificate: Certificate

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.app.stopping = trio.Event()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            serve = partial(server.serve, self.app, listeners, certificate=self.certificate)
            await nursery.start(serve)
            yield
            self.app.stopping.set()

    async def hear(self, parts: Parts) -> Any:
        self.services.taken.clear()
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as below:
            stream = secure(below)
            for part in filter(None, (*parts, LAST)):
                await stream.send_all(part)
                if part is not LAST:
                    await trio.testing.wait_all_tasks_blocked()
            await below.send_eof()
            said = await Wire(stream).ended()  # type: ignore[arg-type]
        return answers(said), list(self.services.taken)


@pytest.mark.parametrize("parts", ALL.values(), ids=ALL)
async def test_what_is_said_inside_tls_is_what_is_said_without(certificate: Certificate, parts: Parts) -> None:
    inside = SecureSide(lane=True)
    inside.certificate = certificate
    await test_lane.compare((Side(lane=True), inside), parts)


# Clients that do not begin TLS, or not as they should


def offered(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = certificates.trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_versions_that_there_are(served: Https, version: ssl.TLSVersion) -> None:
    async with served.wire(context=offered(version)) as wire:
        for _ in range(3):
            assert (await wire.ask(PUT)).status == 202
        assert (await wire.ask(GOOD)).status == 200
        assert (await wire.ask(PUT)).status == 202


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_older_ones_are_told_so(served: Https, version: ssl.TLSVersion) -> None:
    async with served.plain() as stream:
        with pytest.raises(trio.BrokenResourceError) as raised:
            await secure(stream, offered(version)).do_handshake()
        assert "ALERT_PROTOCOL_VERSION" in str(raised.value.__cause__)


@pytest.mark.parametrize("sent", [GOOD, PUT, PUT + GOOD, b"POST / HTTP/1.1\r\n\r\n"])
async def test_a_request_without_tls_is_told_where_it_came(served: Https, sent: bytes) -> None:
    async with served.plain() as stream:
        wire = Wire(stream)
        answer = await wire.ask(sent)
        assert "HTTPS" in answer.problem["detail"]
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await wire.ended() == b""
    assert served.services.accepted == []


RECORD = b"\x16\x03\x01\x40\x00" + bytes(16_384)
HELLO = bytes.fromhex("160301") + struct.pack("!H", 16_000) + b"\x01" + struct.pack("!I", 15_996)[1:] + b"\x03\x03"
JUNK = {
    "random": random.Random(1).randbytes(70_000),
    "zeros": bytes(70_000),
    "ssh": b"SSH-2.0-OpenSSH_9\r\n",
    "proxy": b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n" + GOOD,
    "patch": b"PATCH / HTTP/1.1\r\n\r\n",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "alert": bytes.fromhex("15030300020100"),
    "huge-hello": bytes.fromhex("1603014000")
    + b"\x01\xff\xff\xff"
    + bytes(16_380)
    + (b"\x16\x03\x01\x40\x00" + bytes(16_384)) * 20,
    "odd-hello": HELLO + random.Random(2).randbytes(15_994),
}


@pytest.mark.parametrize("sent", JUNK.values(), ids=JUNK)
async def test_junk_ends_its_connection_alone(served: Https, sent: bytes) -> None:
    with structlog.testing.capture_logs() as said:
        async with served.wire() as good, served.plain() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(sent)
            await Wire(stream).ended()
            assert (await good.ask(PUT)).status == 202
            await served.well()
    assert {entry["log_level"] for entry in said} <= {"debug"}


async def test_who_says_nothing_or_stalls_in_between_is_left(served: Https, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_TIMEOUT", 0.3)
    hello = first_flight()
    async with served.plain() as silent, served.plain() as stalls, served.plain() as drips, served.wire() as good:
        await stalls.send_all(hello)
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    for at in range(len(hello)):
                        await drips.send_all(hello[at : at + 1])
                        await trio.sleep(0.05)

            nursery.start_soon(drip)
            assert (await good.ask(PUT)).status == 202
            for stream in (silent, stalls, drips):
                await Wire(stream).ended()
            nursery.cancel_scope.cancel()


def first_flight() -> bytes:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = certificates.trusting().wrap_bio(back, there, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return there.read()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_who_leaves_within_the_handshake(served: Https, how: str) -> None:
    with structlog.testing.capture_logs() as said:
        for sent in (b"", first_flight()[:50], first_flight()):
            async with served.plain() as stream:
                await stream.send_all(sent)
                await trio.testing.wait_all_tasks_blocked()
                if how == "reset":
                    hard_close(stream)
        await served.settled()
    assert {entry["log_level"] for entry in said} <= {"debug"}


async def test_stopping_does_not_wait_for_a_handshake(served: Https, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DRAIN", 0.1)
    async with served.plain() as stream, served.wire() as idle:
        await stream.send_all(first_flight())
        assert (await idle.ask(PUT)).status == 202
        served.app.stopping.set()
        with trio.fail_after(3):
            await served.finished.wait()


# The end of a connection


async def test_a_last_answer_comes_whole_and_with_the_end_of_tls(served: Https) -> None:
    for request in (GOOD, PUT):
        async with served.plain() as below:
            stream = trio.SSLStream(below, certificates.trusting(), server_hostname="127.0.0.1")
            await stream.send_all(request[:-2] + b"Connection: close\r\n\r\n")
            with trio.fail_after(5):
                said = b"".join([chunk async for chunk in stream])  # raises if TLS did not end
            assert said.startswith(b"HTTP/1.1 20")


async def test_a_refusal_reaches_a_client_that_is_still_sending(served: Https) -> None:
    head = b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 100000000\r\n\r\n"
    async with served.wire() as wire, trio.open_nursery() as nursery:

        async def send() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await wire.send(head)
                for _ in range(200):
                    await wire.send(bytes(16_384))

        nursery.start_soon(send)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert await wire.ended() == b""
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("request_", [PUT, b"GET /7 HTTP/1.1\r\nHost: t\r\n\r\n"])
async def test_a_client_that_does_not_read_is_cut_off(
    served: Https, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    monkeypatch.setattr(limits, "LINGER", 0.1)
    async with served.wire(receive_buffer=4096) as wire:

        async def ask() -> None:
            while True:
                await wire.send(request_ * 100)

        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):  # as nobody reads it any more
            await ask()


@pytest.mark.parametrize("how", ["notify", "close", "reset", "eof"])
@pytest.mark.parametrize(
    "sent", [b"", PUT, PUT[:20], GOOD, b"PUT /7 HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nab"]
)
async def test_a_client_that_leaves_leaves_nothing_behind(served: Https, how: str, sent: bytes) -> None:
    with structlog.testing.capture_logs() as said:
        async with served.plain() as below:
            stream = trio.SSLStream(below, certificates.trusting(), server_hostname="127.0.0.1")
            await stream.do_handshake()
            if sent:
                await stream.send_all(sent)
            if how == "notify":
                await stream.aclose()
            elif how == "reset":
                hard_close(below)
            elif how == "eof":
                await below.send_eof()
                await Wire(below).ended()
        await served.settled()
    assert {entry["log_level"] for entry in said} <= {"debug"}


async def test_junk_in_place_of_a_record(served: Https) -> None:
    with structlog.testing.capture_logs() as said:
        for before in (b"", PUT, GOOD):
            async with served.plain() as below:
                stream = secure(below)
                await stream.do_handshake()
                if before:
                    await stream.send_all(before)
                    await stream.receive_some()
                await below.send_all(b"\x17\x03\x03\x00\x20" + os.urandom(32) + GOOD)
                await Wire(below).ended()
        await served.settled()
    assert {entry["log_level"] for entry in said} <= {"debug"}


async def test_it_is_noticed_when_the_client_vanishes(served: Https, monkeypatch: pytest.MonkeyPatch) -> None:
    noticed: list[int] = []
    was = server._notice_vanished

    def notice(accepted: trio.socket.SocketType) -> None:
        was(accepted)
        noticed.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    monkeypatch.setattr(server, "_notice_vanished", notice)
    async with served.wire() as wire:
        assert (await wire.ask(PUT)).status == 202
    assert noticed == [limits.VANISHED * 1000]


# The whole tracker


@pytest.fixture
async def https(start_tracker: StartTracker, tmp_path: Path) -> AsyncIterator[str]:
    cert, key = certificates.write(tmp_path)
    async with start_tracker(host="here", cert=cert, key=key) as client:
        yield str(client.base_url)


async def test_a_tracker_says_that_it_speaks_https(https: str) -> None:
    assert https.startswith("https://127.0.0.1:")
    async with httpx.AsyncClient(base_url=https, verify=certificates.trusting(), timeout=20) as client:
        created = await client.post("/", json={"Name": "new"})
        assert created.status_code == 201
        assert (await client.get(created.headers["Location"])).json()["Name"] == "new"
        assert (await client.put("/1", params={"data": "x"})).status_code == 202
        assert (await client.get("/events", params={"account": 1, "since": "all"})).json()["Events"]


async def test_a_page_of_its_own_host_may_follow(https: str) -> None:
    address = https.removeprefix("https://")
    for origin, status in [(https, 101), ("https://elsewhere.example", 403)]:
        try:
            async with websocket(
                f"wss://{address}/events?account=1",
                ssl_context=certificates.trusting(),
                extra_headers=[(b"Origin", origin.encode())],
            ) as client:
                assert "ready" in await client.get_message()
                assert status == 101
        except trio_websocket.ConnectionRejected:
            assert status == 403


async def test_the_listener_follows(https: str, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    certificates.CA.cert_pem.write_to_path(str(authority))
    url = https.replace("https", "wss")
    async with (
        httpx.AsyncClient(base_url=https, verify=certificates.trusting(), timeout=20) as client,
        listener("events", "1", "--from", url, SSL_CERT_FILE=str(authority)) as program,
    ):
        await program.err.wait_for("listening for events from: [1]")
        for number in range(20):
            assert (await client.put("/1", params={"data": str(number)})).status_code == 202
            assert f'"{number}" [here]' in await program.out.next()
    async with listener("events", "1", "--from", url) as program:
        assert "certificate is not trusted" in await program.err.wait_for("is away")
