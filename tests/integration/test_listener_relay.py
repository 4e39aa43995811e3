"""`listener events … --serve HOST:PORT`: what it receives, for browsers that are slow, gone, strange or come back."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from tests.integration.listeners import Program, append, event, listener
from tests.integration.websockets import websocket


@asynccontextmanager
async def relay(redis_url: str, *arguments: str) -> AsyncIterator[tuple[Program, str]]:
    """A listener that relays, and its URL."""
    async with listener(*(arguments or ["events", "all"]), "--from", redis_url, "--serve", "127.0.0.1:0") as program:
        url = (await program.err.wait_for("relaying on ")).removeprefix("relaying on ")
        await program.err.wait_for("listening")
        yield program, url


class Browser:
    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._frames: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(20):
            while not self._frames:
                message = await self.connection.get_message()
                assert len(message) <= 80_000
                self._frames = [json.loads(line) for line in message.split("\n")]  # type: ignore[arg-type]
        return self._frames.pop(0)

    async def wait_for(self, kind: str) -> dict[str, Any]:
        while (frame := await self.next()).get("Frame") != kind:
            pass
        return frame


@asynccontextmanager
async def browser(url: str, **options: Any) -> AsyncIterator[Browser]:
    async with websocket(url, **options) as connection:
        yield Browser(connection)


async def test_what_comes_is_relayed(redis_url: str) -> None:
    async with relay(redis_url) as (program, url):
        async with browser(url) as one, browser(url + "?account=2") as two:
            assert (await one.next())["Frame"] == "ready"
            assert (await two.next())["Frame"] == "ready"
            where = await append(redis_url, *(event(number, number % 2 + 1) for number in range(10)))
            got = [await one.next() for _ in range(10)]
            assert [frame["Data"] for frame in got] == list(range(10))
            assert [frame["Position"] for frame in got] == [at.position for at in where]
            assert [(await two.next())["Data"] for _ in range(5)] == [1, 3, 5, 7, 9]
            assert program.process.stdout is not None
        assert len([await program.out.next() for _ in range(10)]) == 10


async def test_a_browser_resumes(redis_url: str) -> None:
    async with relay(redis_url) as (program, url):
        async with browser(url) as first:
            position = (await first.next())["Position"]
        where = await append(redis_url, *(event(number) for number in range(10)))
        await program.out.wait_for("]: 9 [")
        for since, expected in [
            (position, list(range(10))),
            ("all", list(range(10))),
            (where[6].position, [7, 8, 9]),
            (where[9].position, []),
        ]:
            async with browser(f"{url}?since={since}") as again:
                assert [(await again.next())["Data"] for _ in expected] == expected
                assert await again.next() == {"Frame": "ready", "Position": where[9].position}
        async with browser(f"{url}?since=unknown-0-7") as stranger:
            assert await stranger.next() == {"Frame": "gap", "Reason": "trimmed"}
            assert [(await stranger.next())["Data"] for _ in range(10)] == list(range(10))


async def test_a_slow_browser_is_told_exactly_what_it_missed_and_slows_nobody(redis_url: str) -> None:
    data = "x" * 10_000
    async with (
        relay(redis_url, "events", "1", "2") as (program, url),
        browser(url + "?account=1", max_message_size=1 << 20) as slow,
        browser(url) as quick,
    ):
        await slow.next()
        await quick.wait_for("ready")
        for start in range(0, 2000, 50):
            await append(redis_url, *(event(data, number % 2 + 1) for number in range(start, start + 50)))
            for _ in range(50):
                await program.out.next()
                assert "Frame" not in await quick.next()
        seqs: list[int] = []
        kinds: list[str] = []
        while len(seqs) < 1000:
            frame = await slow.next()
            kinds.append(frame.get("Frame", "event"))
            if kinds[-1] == "gap":
                assert (frame["ID"], frame["Reason"]) == (1, "trimmed")
                seqs += range(frame["FromSeq"], frame["ToSeq"] + 1)
            elif kinds[-1] == "event":
                seqs.append(frame["Seq"])
        assert seqs == list(range(1, 1001))
        assert "gap" in kinds
        assert "lagging" in kinds
        assert (await slow.next())["Frame"] == "ready"


async def test_one_that_is_gone_and_those_who_say_nothing_cost_nothing(redis_url: str) -> None:
    async with relay(redis_url) as (program, url):
        port = int(url.removesuffix("/events").rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vanish, url)
            nursery.start_soon(vanish, url)
        await append(redis_url, *[event("x" * 60_000)] * 100)
        for _ in range(100):
            await program.out.next()
        async with browser(url) as other:
            await other.wait_for("ready")
            await append(redis_url, event("after"))
            assert (await other.next())["Data"] == "after"
        for connection in silent:
            connection.settimeout(15)
            assert await trio.to_thread.run_sync(connection.recv, 1) == b""  # given up after 10 s
            connection.close()


async def vanish(url: str) -> None:
    async with browser(url) as gone:
        await gone.wait_for("ready")
        await trio.aclose_forcefully(gone.connection._stream)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""),
        (b"\x00" * 100_000, b""),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", b""),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", b""),
        (b"POST /events HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 400"),
        (b"GET /events HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET " + b"x" * 200_000, b""),
    ],
)
async def test_junk_ends_its_own_connection(redis_url: str, sent: bytes, answered: bytes) -> None:
    async with relay(redis_url) as (program, url), browser(url) as other:
        await other.wait_for("ready")
        port = int(url.removesuffix("/events").rpartition(":")[2])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            await stream.send_all(sent)
            with trio.fail_after(15):
                assert (await stream.receive_some()).startswith(answered)
        except trio.BrokenResourceError:
            assert not answered
        finally:
            await trio.aclose_forcefully(stream)
        await append(redis_url, event("after"))
        assert (await other.next())["Data"] == "after"
        await program.out.wait_for("after")


@pytest.mark.parametrize(
    "junk", [b"\xff" * 20, b"\x81\x85abcd" + b"\xff" * 5, b"\x81\x05hello", b"\x83\x80abcd", b"\x88\x80abcd"]
)
async def test_junk_after_the_handshake_ends_its_own_connection(redis_url: str, junk: bytes) -> None:
    async with relay(redis_url) as (program, url), browser(url) as other:
        await other.wait_for("ready")
        async with browser(url) as bad:
            await bad.wait_for("ready")
            await bad.connection._stream.send_all(junk)
            with trio.fail_after(10), pytest.raises(ConnectionClosed):
                await bad.next()
        await append(redis_url, event("after"))
        assert (await other.next())["Data"] == "after"
        await program.out.wait_for("after")


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        ("http://evil.example", "", 403),
        ("null", "", 403),
        ("http://127.0.0.1:1", "", 403),
        ("OWN", "", 101),
        ("http://a.example", "http://b.example, http://a.example/", 101),
        ("http://a.example.evil", "http://a.example", 403),
        ("http://evil.example", "*", 101),
    ],
)
async def test_origins(redis_url: str, origin: str, allowed: str, status: int) -> None:
    async with relay(redis_url, "events", "all", "--allow-origin", allowed) as (_, url):
        if origin == "OWN":
            origin = url.replace("ws:", "http:").removesuffix("/events")
        try:
            async with browser(url, extra_headers=[(b"Origin", origin.encode())]) as page:
                await page.wait_for("ready")
                got = 101
        except ConnectionRejected as error:
            got = error.status_code
        assert got == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/elsewhere", 404),
        ("/events?account=x", 400),
        ("/events?account=0", 400),
        ("/events?acount=1", 400),
        ("/events?since=" + "x" * 300, 400),
        ("/events?account=9", 404),
    ],
)
async def test_bad_requests(redis_url: str, path: str, status: int) -> None:
    async with relay(redis_url, "events", "1", "2") as (_, url):
        with pytest.raises(ConnectionRejected) as refused:
            async with browser(url.removesuffix("/events") + path):
                pass
        assert refused.value.status_code == status
        assert json.loads(refused.value.body or b"")["status"] == status


async def test_an_account_that_it_does_not_follow(redis_url: str) -> None:
    async with relay(redis_url, "events", "1", "2") as (_, url), browser(url + "?account=1&account=9") as page:
        frame = {"Frame": "error", "ID": 9, "Detail": "This relay does not follow account 9."}
        assert await page.next() == frame
        assert (await page.next())["Frame"] == "ready"


async def test_too_many(redis_url: str) -> None:
    async with relay(redis_url) as (_, url), trio.open_nursery() as nursery:
        for _ in range(100):
            await (await nursery.start(hold, url)).wait_for("ready")
        async with browser(url) as last:
            assert await last.next() == {"Frame": "bye", "Reason": "too many clients", "Retry": True}
            with pytest.raises(ConnectionClosed) as closed:
                await last.next()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1013
        nursery.cancel_scope.cancel()


async def hold(url: str, *, task_status: trio.TaskStatus[Browser]) -> None:
    async with browser(url) as one:
        task_status.started(one)
        await trio.sleep_forever()


async def test_the_end_is_told(redis_url: str) -> None:
    async with relay(redis_url) as (program, url), browser(url) as page:
        await page.wait_for("ready")
        program.process.send_signal(signal.SIGTERM)
        assert await page.next() == {"Frame": "bye", "Reason": "shutdown", "Retry": True}
        with pytest.raises(ConnectionClosed) as closed:
            await page.next()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1001
        assert await program.ends() == 0


async def test_a_browser_that_does_not_read_does_not_keep_it(redis_url: str) -> None:
    async with relay(redis_url) as (program, url), browser(url) as page:
        await page.wait_for("ready")
        await append(redis_url, *[event("x" * 60_000)] * 300)
        for _ in range(300):
            await program.out.next()
        program.process.send_signal(signal.SIGTERM)
        with trio.fail_after(5):
            assert await program.ends() == 0


async def test_an_address_that_is_taken(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with listener("events", "1", "--from", redis_url, "--serve", address) as program:
            await program.err.wait_for(f"--serve {address} can't be used")
            assert await program.ends() == 2


async def test_a_listener_follows_a_relay(redis_url: str) -> None:
    async with relay(redis_url) as (_, url), listener("events", "1", "--from", url) as second:
        await second.err.wait_for("listening for events from: [1]")
        await append(redis_url, event("far"), event("other", 2), event("away"))
        await second.out.wait_for('"far"')
        assert '"away"' in await second.out.next()
