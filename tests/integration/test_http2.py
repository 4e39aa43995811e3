"""HTTP/2: friendly clients get what HTTP/1.1 gives, hostile ones harm themselves alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import h2.settings
import httpx
import pytest
import structlog.testing
import trio
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, PriorityFrame, SettingsFrame

from tests.integration import certificates
from tests.integration.conftest import StartTracker
from tests.integration.test_http_server import PUT, Services, Wire, serving
from tests.integration.test_tls import Https, secure
from tracker.http import endings, limits
from tracker.http.app import create_app
from tracker.http.certificate import Certificate

PAUSE = 0.05
Headers = list[tuple[str, str]]


class Slow(Services):
    """Account 6 never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0

    async def accept(self, account: int, data: bytes, key: str = "") -> Any:
        if account != 6:
            return await super().accept(account, data, key)
        self.under_way += 1
        try:
            await trio.sleep_forever()
        finally:
            self.under_way -= 1


class Client:
    """Speaks HTTP/2 as it is told to; `heard` are the events of each stream, 0 those of the connection."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        config = H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.heard: dict[int, list[Any]] = {0: []}
        self.bytes_heard = 0
        self.credits = True  # whether bodies are acknowledged

    async def begin(self, **settings: int) -> None:
        if settings:
            given = {getattr(h2.settings.SettingCodes, name.upper()): value for name, value in settings.items()}
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values=given)
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(self.h2.data_to_send() + data)

    async def ask(self, method: str, path: str, *more: tuple[str, str], body: bytes | None = None) -> int:
        """Send a request; the body is not ended if it is None and the method has one."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, request(method, path, *more), end_stream=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        await self.flush()
        return number

    async def open(self, method: str, path: str, *more: tuple[str, str]) -> int:
        """Send a request that has a body, but not the body."""
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, request(method, path, *more))
        await self.flush()
        return number

    async def until(self, met: Callable[[], Any]) -> None:
        """Read until that is true."""
        with trio.fail_after(10):
            while not met():
                data = await self.stream.receive_some()
                if not data:
                    raise EOFError(self.heard)
                self.take(data)
                await self.flush()

    def take(self, data: bytes) -> None:
        self.bytes_heard += len(data)
        for event in self.h2.receive_data(data):
            self.heard.setdefault(getattr(event, "stream_id", 0) or 0, []).append(event)
            if isinstance(event, DataReceived) and self.credits:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    async def answer(self, number: int) -> tuple[int, dict[str, str], bytes]:
        await self.until(lambda: self.has(number, StreamEnded) or self.has(number, StreamReset))
        assert not self.has(number, StreamReset) or self.has(number, StreamEnded), self.heard[number]
        [head] = [event for event in self.heard[number] if isinstance(event, ResponseReceived)]
        headers = dict(head.headers)
        return int(headers.pop(":status")), headers, self.body(number)

    def body(self, number: int) -> bytes:
        """What has come of an answer's body."""
        return b"".join(event.data for event in self.heard.get(number, []) if isinstance(event, DataReceived))

    async def put(self) -> int:
        """The status of one good request."""
        return (await self.answer(await self.ask("PUT", "/7?data=x")))[0]

    def has(self, number: int, kind: type) -> Any:
        return next((event for event in self.heard.get(number, []) if isinstance(event, kind)), None)

    async def reset(self, number: int) -> ErrorCodes:
        await self.until(lambda: self.has(number, StreamReset))
        return ErrorCodes(self.has(number, StreamReset).error_code)

    async def ended(self) -> ErrorCodes | None:
        """Wait for the end of the connection; return what the last GOAWAY said."""
        try:
            with trio.fail_after(10):
                while data := await self.stream.receive_some():
                    self.take(data)
        except trio.BrokenResourceError:
            pass
        last = [event.error_code for event in self.heard[0] if isinstance(event, ConnectionTerminated)]
        return last[-1] if last else None


def request(method: str, path: str, *more: tuple[str, str]) -> Headers:
    return [(":method", method), (":scheme", "https"), (":authority", "t"), (":path", path), *more]


class Http2Server(Https):
    @asynccontextmanager
    async def client(self, receive_buffer: int | None = None, **settings: int) -> AsyncIterator[Client]:
        async with self.plain(receive_buffer) as below:
            stream = secure(below, certificates.trusting("h2"))
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == "h2"
            client = Client(stream)
            await client.begin(**settings)
            yield client

    async def well(self) -> None:
        async with self.client() as client:
            assert await client.put() == 202


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(*certificates.write(tmp_path_factory.mktemp("tls")))


@pytest.fixture
async def served(certificate: Certificate) -> AsyncIterator[Http2Server]:
    """A server, which has to be well after the test, may have no task of a connection left, and has nothing to warn
    of."""
    services = Slow()
    anything: Any = services
    app = create_app(
        anything, anything, anything, anything, [], anything, anything, max_data=64 * 1024, max_followers=10
    )
    with structlog.testing.capture_logs() as said:
        async with serving(app, services, Http2Server, certificate=certificate) as served:
            yield served
            if not app.stopping.is_set():
                await served.well()
            await served.settled()
    assert [entry for entry in said if entry["log_level"] not in ("debug", "info")] == []


def slow(served: Http2Server) -> Slow:
    assert isinstance(served.services, Slow)
    return served.services


async def quiet() -> None:
    """Long enough for what is not to happen."""
    await trio.sleep(PAUSE)


# What a request may look like


async def test_requests_are_answered_beside_one_another(served: Http2Server) -> None:
    async with served.client() as client:
        waiting = await client.ask("PUT", "/6?data=x")
        status, headers, body = await client.answer(await client.ask("PUT", "/7?data=x"))
        assert (status, headers["event-position"], body) == (202, "e-0-1", b"")
        assert "date" in headers
        assert "connection" not in headers
        status, headers, body = await client.answer(await client.ask("PUT", "/7", body=b"abc"))
        assert (status, headers["event-position"]) == (202, "e-0-2")
        status, _, body = await client.answer(await client.ask("GET", "/7"))
        assert (status, json.loads(body)["Name"]) == (200, "seven")
        status, headers, body = await client.answer(await client.ask("HEAD", "/7"))
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0
        status, headers, _ = await client.answer(await client.ask("OPTIONS", "*"))
        assert (status, headers["allow"]) == (200, "GET, HEAD, OPTIONS, PATCH, POST, PUT")
        assert waiting not in client.heard
    assert served.services.accepted == [b'"x"', b'"abc"']


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "7"),
        ("GET", "http://t/7"),
        ("GET", "*x"),
        ("GET", "/ä"),
        ("GET", "/a b"),
        ("GET", "/\x7f"),
    ],
)
async def test_an_odd_request_is_a_400_and_harms_no_other(served: Http2Server, method: str, path: str) -> None:
    async with served.client() as client:
        status, headers, body = await client.answer(await client.ask(method, path))
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert json.loads(body)["detail"]
        assert await client.put() == 202


async def test_websockets_are_not_announced_and_refused(served: Http2Server) -> None:
    async with served.client() as client:
        await client.until(lambda: client.has(0, RemoteSettingsChanged))
        announced = client.has(0, RemoteSettingsChanged).changed_settings
        assert not announced[h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL].new_value
        assert announced[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS].new_value == limits.MAX_STREAMS
        extended = ((":protocol", "websocket"), ("sec-websocket-version", "13"))
        number = client.h2.get_next_available_stream_id()
        headers = [*request("CONNECT", "/events")[:4], *extended]
        client.h2.send_headers(number, headers)
        await client.flush()
        assert (await client.answer(number))[0] == 400
        assert await client.put() == 202


async def test_connect_without_a_path(served: Http2Server) -> None:
    async with served.client() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, [(":method", "CONNECT"), (":authority", "t:443")])
        await client.flush()
        assert (await client.answer(number))[0] == 400
        assert await client.put() == 202


async def test_too_many_headers_are_a_431(served: Http2Server) -> None:
    async with served.client() as client:
        many = [("a", "b")] * (limits.MAX_FIELDS + 1)
        assert (await client.answer(await client.ask("GET", "/7", *many)))[0] == 431
        assert (await client.answer(await client.ask("GET", "/7", *many[:-1])))[0] == 200


async def test_as_much_data_in_the_url_as_elsewhere(served: Http2Server) -> None:
    async with served.client() as client:
        status, _, _ = await client.answer(await client.ask("PUT", "/7?data=" + "%61" * 65_000))
        assert status == 202


@pytest.mark.parametrize("header", [("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip")])
async def test_headers_of_http_1_end_the_connection(served: Http2Server, header: tuple[str, str]) -> None:
    async with served.client() as client:
        await client.ask("GET", "/7", header)
        assert await client.ended() == ErrorCodes.PROTOCOL_ERROR


async def test_a_body_comes_in_any_pieces(served: Http2Server) -> None:
    async with served.client() as client:
        number = await client.open("PUT", "/7")
        for at in range(1000):
            client.h2.send_data(number, b"a", end_stream=at == 999, pad_length=9)
        await client.flush()
        assert (await client.answer(number))[0] == 202
        size = 250_000
        number = await client.open("PUT", "/7", ("content-type", "application/json"))
        left = size
        while left:
            piece = min(left, 16_000, client.h2.local_flow_control_window(number) - 10)
            if piece <= 0:
                before = client.h2.local_flow_control_window(number)
                await client.until(lambda before=before: client.h2.local_flow_control_window(number) > before)
                continue
            left -= piece
            client.h2.send_data(number, b" " * piece + (b"" if left else b"1"), end_stream=not left)
            await client.flush()
        assert (await client.answer(number))[0] == 202
    assert served.services.accepted == [b'"' + b"a" * 1000 + b'"', b"1"]


async def test_a_refusal_stops_the_body_and_harms_no_other(
    served: Http2Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER", 0.1)
    async with served.client() as client:
        number = await client.open("PUT", "/7", ("content-length", "1000000"))
        assert (await client.answer(number))[0] == 413
        assert await client.reset(number) == ErrorCodes.NO_ERROR
        assert await client.put() == 202
        for _ in range(30):  # what comes late does not use up the window of others
            number = await client.open("GET", "/7")
            client.h2.send_data(number, bytes(16_000))
            await client.flush()
            assert (await client.answer(number))[0] == 200
        number = await client.open("PUT", "/7")
        client.h2.send_data(number, b"abc" * 1000, end_stream=True)
        await client.flush()
        assert (await client.answer(number))[0] == 202


async def test_a_body_that_does_not_come_in_time_is_a_408(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_TIMEOUT", 0.2)
    async with served.client() as client:
        number = await client.open("PUT", "/7")
        client.h2.send_data(number, b"a")
        await client.flush()
        assert (await client.answer(number))[0] == 408
        assert await client.put() == 202


async def test_a_request_that_fails_is_a_500_alone(served: Http2Server) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    served.services.get = fail  # type: ignore[assignment]
    async with served.client() as client:
        waiting = await client.ask("PUT", "/6?data=x")
        with structlog.testing.capture_logs() as said:
            assert (await client.answer(await client.ask("GET", "/7")))[0] == 500
        assert said[0]["event"] == "request failed"
        assert await client.put() == 202
        assert waiting not in client.heard


# Idle, slow and gone


async def test_an_idle_connection_is_ended_properly(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.3)
    async with served.client() as fresh, served.client() as used:
        assert await used.put() == 202
        for client in (fresh, used):
            assert await client.ended() == ErrorCodes.NO_ERROR
        await served.settled()


async def test_pings_keep_no_connection(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.3)
    async with served.client() as client, trio.open_nursery() as nursery:

        async def ping() -> None:
            while True:
                await client.send(PingFrame(0, b"12345678").serialize())
                await trio.sleep(0.05)

        nursery.start_soon(ping)
        assert await client.ended() == ErrorCodes.NO_ERROR
        nursery.cancel_scope.cancel()


async def test_a_request_under_way_is_not_idle(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.1)
    served.services.gate = trio.Event()
    async with served.client() as client:
        number = await client.ask("PUT", "/7?data=x")
        await trio.sleep(0.4)
        served.services.gate.set()
        assert (await client.answer(number))[0] == 202


async def test_a_request_that_is_taken_back_is_cancelled_alone(served: Http2Server) -> None:
    async with served.client() as client:
        numbers = [await client.ask("PUT", "/6?data=x") for _ in range(3)]
        assert await client.put() == 202
        assert slow(served).under_way == 3
        client.h2.reset_stream(numbers[1])
        assert await client.put() == 202
        assert slow(served).under_way == 2
    await served.settled()
    assert slow(served).under_way == 0


class Endless:
    """An application whose GET /endless never ends, and counts what it could send."""

    def __init__(self, app: Any) -> None:
        self.sent = 0
        app.add_url_rule("/endless", view_func=self.answer)

    async def answer(self) -> Any:
        from quart import make_response

        async def body() -> AsyncIterator[bytes]:
            while True:
                yield bytes(10_000)
                self.sent += 10_000

        response = await make_response(body())
        response.timeout = None
        return response


async def test_a_stream_that_is_not_read_is_cut_off_alone(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    endless = Endless(served.app)
    async with served.client(initial_window_size=20_000) as client:
        client.credits = False
        number = await client.ask("GET", "/endless")
        waiting = await client.ask("PUT", "/6?data=x")
        assert await client.reset(number) == ErrorCodes.CANCEL
        assert endless.sent < 200_000
        assert await client.put() == 202
        assert waiting not in client.heard


async def test_a_stream_without_any_window(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    async with served.client(initial_window_size=0) as client:
        for path in ("/7", "/8", "odd"):
            number = await client.ask("GET", path)
            await client.until(lambda number=number: client.has(number, ResponseReceived))
            if path != "odd":
                assert await client.reset(number) == ErrorCodes.CANCEL


async def test_windows_are_kept(served: Http2Server) -> None:
    Endless(served.app)
    async with served.client(initial_window_size=0) as client:
        client.credits = False
        numbers = [await client.ask("GET", "/endless") for _ in range(3)]
        await client.until(lambda: all(client.has(number, ResponseReceived) for number in numbers))
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 65_535})
        await client.flush()
        await client.until(lambda: client.bytes_heard >= 65_535)
        with trio.move_on_after(PAUSE):
            await client.until(lambda: False)
        heard = {
            number: sum(len(event.data) for event in client.heard[number] if isinstance(event, DataReceived))
            for number in numbers
        }
        assert sum(heard.values()) == 65_535
        assert min(heard.values()) > 10_000  # each has its turn
        assert await client.put() == 202


async def test_a_connection_that_is_not_read_is_cut_off(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.3)
    Endless(served.app)
    async with served.client(receive_buffer=4096, initial_window_size=2**31 - 1) as client:
        client.h2.increment_flow_control_window(2**30)
        await client.ask("GET", "/endless")
        await served.settled()


async def test_a_client_that_leaves_leaves_nothing_behind(served: Http2Server) -> None:
    Endless(served.app)
    for goodbye in (True, False):
        async with served.client() as client:
            await client.ask("PUT", "/6?data=x")
            await client.ask("GET", "/endless")
            await client.open("PUT", "/7")
            assert await client.put() == 202
            if goodbye:
                client.h2.close_connection()
                await client.flush()
                await Wire(client.stream).ended()
        await served.settled()
    assert slow(served).under_way == 0


# Floods


async def flood(client: Client, data: bytes, times: int) -> ErrorCodes | None:
    """Send that so often, and read; return why the connection ended, if it did."""

    async def send() -> None:
        try:
            for _ in range(times):
                await client.send(data)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        return await client.ended()


FLOODS = {
    "pings": PingFrame(0, b"12345678").serialize() * 100,
    "settings": SettingsFrame(0, {4: 65_535}).serialize() * 100,
    "priorities": b"".join(PriorityFrame(2 * n + 1, depends_on=0, stream_weight=1).serialize() for n in range(100)),
    "unknown": b"\x00\x00\x00\xf0\x00\x00\x00\x00\x00" * 100,
}


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_not_put_up_with(served: Http2Server, data: bytes) -> None:
    async with served.client() as client:
        assert await flood(client, data, 100) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_few_pings_and_settings_are(served: Http2Server) -> None:
    async with served.client() as client:
        for _ in range(20):
            client.h2.ping(b"12345678")
            client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100_000})
            client.h2.prioritize(2 * 100 + 1, weight=1)
        await client.flush()
        await client.until(lambda: sum(isinstance(event, PingAckReceived) for event in client.heard[0]) == 20)
        assert await client.put() == 202


async def test_a_flood_of_empty_data(served: Http2Server) -> None:
    async with served.client() as client:
        number = await client.open("PUT", "/7")
        data = b"\x00\x00\x00\x00\x00" + number.to_bytes(4, "big")
        assert await flood(client, data * 100, 100) == ErrorCodes.ENHANCE_YOUR_CALM


async def test_rapid_reset(served: Http2Server) -> None:
    async with served.client() as client:

        async def reset() -> None:
            with contextlib.suppress(trio.BrokenResourceError, h2.exceptions.ProtocolError):
                for _ in range(500):
                    client.h2.reset_stream(await client.ask("PUT", "/6?data=x"))

        most = 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max(most, slow(served).under_way)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            nursery.start_soon(reset)
            assert await client.ended() == ErrorCodes.ENHANCE_YOUR_CALM
            nursery.cancel_scope.cancel()
        assert most <= limits.MAX_STREAMS + limits.RESETS[0]


async def test_answers_that_are_cancelled_are_no_flood(served: Http2Server) -> None:
    Endless(served.app)
    async with served.client() as client:
        for _ in range(2 * limits.RESETS[0]):
            number = await client.ask("GET", "/endless")
            await client.until(lambda number=number: client.has(number, ResponseReceived))
            client.h2.reset_stream(number)
        assert await client.put() == 202


async def test_too_many_requests_at_once(served: Http2Server) -> None:
    async with served.client() as client:
        await client.until(lambda: client.has(0, RemoteSettingsChanged))
        client.h2.remote_settings.max_concurrent_streams = 1000
        client.h2.remote_settings.acknowledge()
        for _ in range(limits.MAX_STREAMS + 1):
            await client.ask("PUT", "/6?data=x")
        assert await client.ended() is not None


async def test_a_flood_of_continuations(served: Http2Server) -> None:
    async with served.client() as client:
        await client.until(lambda: client.has(0, RemoteSettingsChanged))
        begin = HeadersFrame(1, client.h2.encoder.encode(request("GET", "/7"))).serialize()
        for more in (b"", b"\x00" + b"\x01a\x01b" * 4000):
            async with served.client() as hostile:
                await hostile.send(begin)
                assert await flood(hostile, ContinuationFrame(1, more).serialize(), 1000) is not None


async def test_a_header_bomb(served: Http2Server) -> None:
    async with served.client() as client:
        bomb = [("a", "b" * 4000)] * 1000  # a byte each, but for the first
        await client.ask("GET", "/7", *bomb)
        assert await client.ended() is not None


async def test_answers_are_not_remembered_without_bound(served: Http2Server) -> None:
    async with served.client(header_table_size=2**31) as client:
        for _ in range(300):
            assert await client.put() == 202
        assert client.h2.decoder.header_table_size <= 4096


async def test_pings_that_are_not_heard_are_not_kept(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NOISE", (10**9, 1))
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.5)
    async with served.client(receive_buffer=4096) as client:
        with trio.fail_after(20):
            try:
                while True:
                    await client.send(PingFrame(0, b"12345678").serialize() * 1000)
            except trio.BrokenResourceError:
                pass


async def test_others_have_their_turn_in_a_flood(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NOISE", (10**9, 1))
    async with served.client() as good, served.client() as hostile, trio.open_nursery() as nursery:
        nursery.start_soon(flood, hostile, PingFrame(0, b"12345678").serialize() * 5000, 1000)
        await hostile.stream.transport_stream.wait_send_all_might_not_block()
        for _ in range(20):
            assert await good.put() == 202
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), PUT, b"\xff" * 100_000])
async def test_what_is_no_http_2(served: Http2Server, sent: bytes) -> None:
    async with served.plain() as below:
        stream = secure(below, certificates.trusting("h2"))
        await stream.send_all(sent)
        client = Client(stream)
        client.h2.initiate_connection()
        assert await client.ended() == ErrorCodes.PROTOCOL_ERROR


# The stop


async def test_stopping_answers_what_is_under_way_and_says_goodbye(served: Http2Server) -> None:
    served.services.gate = trio.Event()
    async with served.client() as busy, served.client() as idle:
        number = await busy.ask("PUT", "/7?data=x")
        await served.services.waiting.wait()
        assert (await idle.answer(await idle.ask("GET", "/7")))[0] == 200
        served.app.stopping.set()
        assert await idle.ended() == ErrorCodes.NO_ERROR
        await busy_goaway(busy)
        served.services.gate.set()
        status, position, ended = await rest(busy, number)
        assert (status, position, ended) == ("202", "e-0-1", True)
        with trio.fail_after(5):
            await served.finished.wait()


async def busy_goaway(client: Client) -> None:
    """Wait until it was told to ask no more. h2 takes GOAWAY for the end, so frames are read without it from here."""
    with trio.fail_after(5):
        while not client.has(0, ConnectionTerminated):
            client.take(await client.stream.receive_some())
    [goaway] = [event for event in client.heard[0] if isinstance(event, ConnectionTerminated)]
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCodes.NO_ERROR, 2**31 - 1)
    client.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN


async def rest(client: Client, number: int) -> tuple[str, str, bool]:
    await client.ended()
    headers = dict(client.has(number, ResponseReceived).headers)
    return headers[":status"], headers["event-position"], bool(client.has(number, StreamEnded))


async def test_a_request_that_meets_the_stop_is_answered_and_a_late_one_may_go_elsewhere(
    served: Http2Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DRAIN", 0.3)
    async with served.client() as client:
        await client.ask("PUT", "/6?data=x")
        assert await client.put() == 202
        served.app.stopping.set()
        await busy_goaway(client)
        assert await client.put() == 202
        await trio.sleep(0.4)
        assert await client.reset(await client.ask("PUT", "/7?data=x")) == ErrorCodes.REFUSED_STREAM


async def test_stopping_waits_no_longer_than_it_says(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRACE", 0.5)
    Endless(served.app)
    async with (
        served.client() as client,
        served.client(receive_buffer=4096, initial_window_size=2**31 - 1) as deaf,
        served.client() as stalled,
    ):
        await client.ask("PUT", "/6?data=x")
        deaf.h2.increment_flow_control_window(2**30)
        await deaf.ask("GET", "/endless")
        stalled.credits = False
        await stalled.ask("GET", "/endless")
        assert await client.put() == 202
        served.app.stopping.set()
        with trio.fail_after(5):
            await served.finished.wait()


# The whole tracker, and real clients


@pytest.fixture
async def https(start_tracker: StartTracker, tmp_path: Path) -> AsyncIterator[str]:
    cert, key = certificates.write(tmp_path)
    async with start_tracker(host="here", cert=cert, key=key) as client:
        yield str(client.base_url)


@asynccontextmanager
async def http2(url: str) -> AsyncIterator[httpx.AsyncClient]:
    context = certificates.trusting()
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True, verify=context, timeout=20) as client:
        yield client


async def test_the_tracker_over_http_2(https: str) -> None:
    async with http2(https) as client:
        created = await client.post("/", json={"Name": "new"})
        assert (created.http_version, created.status_code) == ("HTTP/2", 201)
        assert (await client.get(created.headers["Location"])).json()["Name"] == "new"
        statuses: list[int] = []

        async def put(number: int) -> None:
            statuses.append((await client.put("/1", content=str(number) * 100)).status_code)

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(put, number)
        assert statuses == [202] * 60
        page = (await client.get("/events", params={"account": 1, "since": "all"})).json()
        assert sorted(event["Data"] for event in page["Events"]) == sorted(str(number) * 100 for number in range(60))
        assert (await client.put("/1", content=bytes(1_000_000))).status_code == 413
        assert (await client.get("/")).json().keys() == {"Rate"}


@asynccontextmanager
async def conversation(url: str) -> AsyncIterator[Client]:
    """One connection of HTTP/2 that does not end its streams for us, as httpx does too late."""
    port = httpx.URL(url).port
    assert port is not None
    stream = secure(await trio.open_tcp_stream("localhost", port), certificates.trusting("h2"))
    client = Client(stream)
    await client.begin()
    yield client
    await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
async def test_streams_over_http_2(https: str, kind: str) -> None:
    async with conversation(https) as client:
        query = "/events?account=1&since=all"
        followers = [await client.ask("GET", query, ("accept", kind)) for _ in range(5)]
        for follower in followers:
            await client.until(lambda: b"ready" in client.body(follower))  # noqa: B023
        for number in range(20):
            status, _, _ = await client.answer(await client.ask("PUT", f"/1?data={number}"))
            assert status == 202
        for follower in followers:
            await client.until(lambda: client.body(follower).count(b'"Data"') == 20)  # noqa: B023
            lines = [line.removeprefix("data: ") for line in client.body(follower).decode().splitlines()]
            seen = [json.loads(line)["Data"] for line in lines if '"Data"' in line]
            assert seen == [str(number) for number in range(20)]
        client.h2.reset_stream(followers[0])
        assert await client.put() == 202


async def test_a_bulk_over_http_2_is_answered_while_it_comes_and_harms_no_other(https: str) -> None:
    async with conversation(https) as client:
        bulk = await client.open("POST", "/events", ("content-type", "application/x-ndjson"))
        for number in range(1, 4):
            client.h2.send_data(bulk, b'{"ID":1,"Data":"%d"}\n' % number)
            await client.flush()
            await client.until(lambda: client.body(bulk).count(b"\n") == number)  # noqa: B023
            assert (await client.answer(await client.ask("PUT", "/2?data=x")))[0] == 202
        client.h2.send_data(bulk, b'{"ID":1,"Data":"last"}', end_stream=True)
        await client.flush()
        status, headers, body = await client.answer(bulk)
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        assert [json.loads(line)["Seq"] for line in body.splitlines()] == [1, 2, 3, 4]


async def test_a_large_bulk_over_http_2(https: str) -> None:
    """More than all windows: it goes on as far as it is read."""
    item = b'{"ID":1,"Data":"%s"}\n' % (b"x" * 1000)
    async with http2(https) as client:
        answer = await client.post("/events", content=item * 5000, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200
        assert [json.loads(line)["Seq"] for line in answer.text.splitlines()] == list(range(1, 5001))


async def test_a_stream_is_told_that_the_tracker_stops(served: Http2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "SPREAD", 0)
    async with served.client() as client:
        assert await client.put() == 202
        served.app.stopping.set()
        assert await client.ended() == ErrorCodes.NO_ERROR


async def test_curl(https: str, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    certificates.CA.cert_pem.write_to_path(str(authority))
    large = tmp_path / "large"
    large.write_bytes(b"a" * 60_000)
    common = ["curl", "-sS", "--cacert", authority, "-w", "%{http_code} %{http_version}", "-o", "/dev/null"]
    for version, shown in (("--http2", "2"), ("--http1.1", "1.1")):
        for more in (["-X", "PUT", f"{https}/1?data=x"], ["-T", large, f"{https}/1"]):
            done = await trio.run_process([*common, version, *map(str, more)], capture_stdout=True)
            assert done.stdout.decode() == f"202 {shown}"
        done = await trio.run_process([*common, version, f"{https}/livez"], capture_stdout=True)
        assert done.stdout.decode() == f"200 {shown}"
