"""`listener events … --from ws://…`: a tracker that drops, stalls, closes, refuses and talks nonsense."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from tests.integration.listeners import SHOWN, listener

Visit = Callable[[WebSocketConnection], Awaitable[None]]


def event(seq: int, account: int = 1) -> str:
    return (
        f'{{"ID":{account},"Timestamp":"2021-02-06T17:35:30.123456Z","Data":{seq},"Host":"h",'
        f'"Position":"~odd.{seq}","Seq":{seq}}}'.replace("~", "")
    )


def shown(seq: int, account: int = 1) -> str:
    return f"{SHOWN}: [{account}]: {seq} [h]"


READY = '{"Frame":"ready","Position":"odd.ready"}'


class Tracker:
    """A stand-in that treats each visitor as the test says; `asked` are their queries."""

    def __init__(self) -> None:
        self.visits: list[Visit | Callable[[WebSocketRequest], Awaitable[None]]] = []
        self.asked: list[dict[str, list[str]]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def take(self, request: WebSocketRequest) -> None:
        parts = urlsplit(request.path)
        assert parts.path == "/events"
        self.asked.append(parse_qs(parts.query))
        visit = self.visits[min(len(self.asked), len(self.visits)) - 1]
        if isinstance(visit, Refuse):
            await visit(request)
        else:
            with suppress(ConnectionClosed):
                await visit(await request.accept())  # type: ignore[arg-type]


class Refuse:
    def __init__(self, status: int, body: bytes = b"") -> None:
        self.status = status
        self.body = body

    async def __call__(self, request: WebSocketRequest) -> None:
        await request.reject(self.status, body=self.body)


@asynccontextmanager
async def tracker(*visits: Visit | Refuse, port: int = 0) -> AsyncIterator[Tracker]:
    stand_in = Tracker()
    stand_in.visits = list(visits)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, stand_in.take, "127.0.0.1", port, None, disconnect_timeout=0.2)
        )
        stand_in.port = server.port
        yield stand_in
        nursery.cancel_scope.cancel()


async def stay(connection: WebSocketConnection) -> None:
    while True:
        await connection.get_message()


def says(*lines: str, then: Visit = stay) -> Visit:
    async def visit(connection: WebSocketConnection) -> None:
        await connection.send_message("\n".join(lines))
        await trio.sleep(0.2)  # let it be shown before what comes now
        await then(connection)

    return visit


def closes(code: int) -> Visit:
    async def visit(connection: WebSocketConnection) -> None:
        await connection.aclose(code)

    return visit


async def breaks(connection: WebSocketConnection) -> None:
    await trio.aclose_forcefully(connection._stream)


@pytest.mark.parametrize("end", [closes(1000), closes(1001), closes(1011), closes(1013), breaks])
async def test_it_comes_again_after_every_end(end: Visit) -> None:
    first = says(event(1), event(2), READY, then=end)
    second = says(event(2), event(3), '{"Frame":"bye","Reason":"shutdown","Retry":true}', then=end)
    third = says('{"Frame":"gap","ID":1,"FromSeq":2,"ToSeq":5,"Reason":"expired"}', event(6), READY)
    async with tracker(first, second, third) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        assert await program.err.next() == f"Connecting to Tracker@127.0.0.1:{stand_in.port}"
        assert await program.err.next() == "listening for events from: [1]"
        assert [await program.out.next() for _ in range(4)] == [shown(seq) for seq in (1, 2, 3, 6)]
        await program.err.wait_for("is away")
        await program.err.wait_for("is back")
        assert await program.err.wait_for("gone") == "! account 1: events 4 to 5 are gone (expired)"
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.out.rest() == []
    assert [asked.get("since") for asked in stand_in.asked] == [None, ["odd.ready"], ["odd.3"]]


async def test_a_log_that_begins_anew(tmp_path: Path) -> None:
    first = says(event(5), READY, then=closes(1001))
    second = says('{"Frame":"gap","Reason":"epoch"}', event(1), event(2), READY)
    async with tracker(first, second) as stand_in:
        state = tmp_path / "state"
        async with listener("events", "all", "--from", stand_in.url, "--state", str(state)) as program:
            assert await program.err.wait_for("epoch")
            assert [await program.out.next() for _ in range(3)] == [shown(seq) for seq in (5, 1, 2)]
            await trio.sleep(0.5)  # for what came with them
            program.process.send_signal(signal.SIGTERM)
            assert await program.ends() == 0
        assert state.read_text() == "odd.ready\n"
        async with listener("events", "all", "--from", stand_in.url, "--state", str(state)) as program:
            await program.err.wait_for("epoch")
    assert stand_in.asked[0] == {"account": ["all"]}
    assert stand_in.asked[2] == {"account": ["all"], "since": ["odd.ready"]}


async def test_what_it_says_beside_events() -> None:
    frames = [
        '{"Frame":"error","ID":9,"Detail":"There is no account 9.\\u001b"}',
        '{"Frame":"lagging","Behind":5321}',
        '{"Frame":"lagging","Behind":5000}',
        '{"Frame":"gap","ID":7,"FromSeq":12,"ToSeq":12,"Reason":"damaged"}',
        '{"Frame":"nonsense"}',
        "\x1b",
        '{"ID":"x"}',
        event(1),
        READY,
    ]
    async with tracker(says(*frames)) as stand_in, listener("events", "1", "9", "--from", stand_in.url) as program:
        await program.err.next()
        assert "Skipped a message" in await program.err.next()
        assert [await program.err.next() for _ in range(4)] == [
            "! account 9: There is no account 9.\\x1b",
            "! 5321 events behind, catching up",
            "! account 7: event 12 is gone (damaged)",
            "listening for events from: [1 9]",
        ]
        assert await program.out.next() == shown(1)


@pytest.mark.parametrize(("status", "ends"), [(400, 2), (401, 4), (403, 4), (404, 4), (200, 4), (302, 4)])
async def test_a_refusal_ends_it(status: int, ends: int) -> None:
    body = b'{"detail":"There is no account 1.","status":404}'
    async with tracker(Refuse(status, body)) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        await program.err.next()
        said = await program.err.next()
        assert str(status) in said
        assert "There is no account 1." in said
        assert await program.ends() == ends


async def test_one_that_is_not_ready_is_waited_for() -> None:
    refusals = [Refuse(503, b'{"detail":"The log is away."}'), Refuse(502), Refuse(504), Refuse(429)]
    later = Refuse(404)  # a load balancer in between; once it worked, this passes
    visits = [*refusals, says(READY, then=closes(1001)), later, says(event(1), READY)]
    async with tracker(*visits) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        assert "is away (The log is away)" in await program.err.wait_for("away")
        assert "is back" in await program.err.next()
        await program.err.wait_for("listening")
        await program.err.wait_for("away")
        await program.err.wait_for("back")
        assert await program.out.next() == shown(1)


async def test_absent_at_the_start_and_the_port_of_another_protocol() -> None:
    async with tracker(says(READY)) as stand_in:
        port = stand_in.port
    async with listener("events", "1", "--from", f"ws://127.0.0.1:{port}") as program:
        await program.err.wait_for("is away")
        for _ in range(2):
            [other] = await trio.open_tcp_listeners(port, host="127.0.0.1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, junk, [other])
                await trio.sleep(1)
                nursery.cancel_scope.cancel()
        async with tracker(says(event(1), READY), port=port):
            assert await program.out.next() == shown(1)


async def junk(stream: trio.SocketStream) -> None:
    await stream.send_all(b"SSH-2.0-OpenSSH_9\r\n\xff\xfe\r\n\r\n")
    await stream.aclose()


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 50,
        b"\x81\x02\xff\xff",
        b"\x83\x01x",
        b"\x81\xff" + b"\xff" * 20,
        b"\x88\x01x",
        b"\x81\x7f" + b"\x7f" * 8,
    ],
)
async def test_junk_in_the_stream_costs_a_connection(junk: bytes) -> None:
    async def corrupts(connection: WebSocketConnection) -> None:
        await connection._stream.send_all(junk)
        await trio.sleep(0.3)
        await breaks(connection)

    first, second = says(event(1), READY, then=corrupts), says(event(2), READY)
    async with tracker(first, second) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        assert [await program.out.next() for _ in range(2)] == [shown(1), shown(2)]
        await program.err.wait_for("is back")


async def test_one_that_stalls_is_noticed_within_10_seconds() -> None:
    async def stalls(connection: WebSocketConnection) -> None:
        connection._stream_lock.acquire_nowait()  # it answers no ping any more
        await trio.sleep_forever()

    visits = [says(READY, then=stalls), says(event(1), READY)]
    async with tracker(*visits) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        await program.err.wait_for("listening")
        since = trio.current_time()
        assert "no answer" in await program.err.next()
        assert trio.current_time() - since < 10
        assert await program.out.next() == shown(1)


async def test_a_blocked_output_is_not_held_against_the_tracker() -> None:
    async def floods(connection: WebSocketConnection) -> None:
        for start in range(1, 20_001, 500):
            await connection.send_message("\n".join(event(seq) for seq in range(start, start + 500)))
        await stay(connection)

    visits = [says(READY, then=floods)]
    async with tracker(*visits) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        await program.err.wait_for("listening")
        await trio.sleep(12)
        for seq in range(1, 20_001):
            assert await program.out.next() == shown(seq)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
        assert await program.err.rest() == []


async def test_a_large_message() -> None:
    large = event(1).replace('"Data":1', f'"Data":"{"x" * (17 << 20)}"')
    async with tracker(says(large, READY)) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        assert len(await program.out.next()) > 17 << 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_goodbye(number: int) -> None:
    closed = trio.Event()

    async def visit(connection: WebSocketConnection) -> None:
        await connection.send_message(READY)
        try:
            await stay(connection)
        finally:
            if connection.closed is not None and connection.closed.code == 1000:
                closed.set()

    async with tracker(visit) as stand_in, listener("events", "1", "--from", stand_in.url) as program:
        await program.err.wait_for("listening")
        program.process.send_signal(number)
        assert await program.ends() == 0
        with trio.fail_after(5):
            await closed.wait()
