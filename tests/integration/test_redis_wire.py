"""Our own connection to Redis, on a real Redis: the ways to get there, and what is known when it fails.

Where Redis itself would have to be at fault, something else answers in its place.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import trio
import trio.testing
import trustme

from shared import redis_wire
from shared.errors import OutcomeUnknown, Unavailable
from shared.redis_client import RedisRefused
from shared.redis_wire import RedisWire, open_wire
from shared.supervision import Health, supervise
from tests.integration.fragile import fragile_servers

PART = "log"
Handler = Callable[[Any], Awaitable[None]]
open_to_test = partial(open_wire, part=PART)


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_wire, "ANSWER_WITHIN", 0.3)
    monkeypatch.setattr(redis_wire, "_PING_EVERY", 0.2)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """A TCP port where this handler answers, each connection until it ends."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await handler(stream)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def leads_to(url: str, tls: ssl.SSLContext | None = None) -> Handler:
    """A way to the Redis of a URL, by TCP or TLS."""

    async def handle(client: Any) -> None:
        target = urlsplit(url)
        if target.scheme == "unix":
            server = await trio.open_unix_socket(target.path)
        else:
            server = await trio.open_tcp_stream(target.hostname or "", target.port or 6379)
        client = trio.SSLStream(client, tls, server_side=True) if tls else client
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, server, client, nursery.cancel_scope)
            await pass_on(client, server, nursery.cancel_scope)

    async def pass_on(source: Any, sink: Any, both: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await source.receive_some(65536):
                await sink.send_all(data)
        both.cancel()

    return handle


def says(*answers: bytes, then_close: bool = False) -> Handler:
    """Something that has an answer to each command, and at last none."""

    async def handle(client: Any) -> None:
        for answer in answers:
            if not await client.receive_some(65536):
                return
            await client.send_all(answer)
        while not then_close and await client.receive_some(65536):
            pass

    return handle


async def stands(wire: RedisWire) -> bool:
    """Whether it takes further commands."""
    try:
        return bool(await wire.ask("PING") == b"PONG")
    except Unavailable:
        return False


@asynccontextmanager
async def tls_port(redis_url: str, tmp_path: Path, name: str = "127.0.0.1") -> AsyncIterator[int]:
    """Redis by TLS, with a certificate for that name by the authority in ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    async with serving(leads_to(redis_url, context)) as port:
        yield port


async def round_trip(url: str) -> None:
    large = bytes(range(256)) * 1000
    async with open_to_test(url) as wire:
        assert await wire.call("ECHO", large) == large


async def test_by_a_unix_socket_or_whatever_the_tests_were_given(redis_url: str) -> None:
    await round_trip(redis_url)


async def test_by_tcp(redis_url: str) -> None:
    async with serving(leads_to(redis_url)) as port:
        await round_trip(f"redis://127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_by_tls(redis_url: str, tmp_path: Path, host: str) -> None:
    async with tls_port(redis_url, tmp_path, host) as port:
        await round_trip(f"rediss://{host}:{port}?ssl_ca_certs={tmp_path}/ca.pem&ssl_check_hostname=true")


@pytest.mark.parametrize(
    ("name", "query", "reason"),
    [
        ("127.0.0.1", "", "not trusted"),
        ("redis.example", "?ssl_ca_certs={}/ca.pem&ssl_check_hostname=true", "not trusted"),
        ("127.0.0.1", "?ssl_ca_certs={}/missing.pem", "can't be read"),
    ],
)
async def test_tls_with_whom_is_not_trusted(redis_url: str, tmp_path: Path, name: str, query: str, reason: str) -> None:
    async with tls_port(redis_url, tmp_path, name) as port:
        with pytest.raises(Unavailable, match=reason):
            await round_trip(f"rediss://127.0.0.1:{port}{query.format(tmp_path)}")


async def test_tls_with_who_speaks_none(redis_url: str) -> None:
    async with serving(says(b"-ERR what is that?\r\n")) as port:
        with pytest.raises(Unavailable):
            await round_trip(f"rediss://127.0.0.1:{port}")


@pytest.mark.usefixtures("impatient")
async def test_tls_with_who_says_nothing() -> None:
    async with serving(says()) as port:
        with trio.fail_after(10), pytest.raises(Unavailable, match="no answer in time"):
            await round_trip(f"rediss://127.0.0.1:{port}")


async def test_nobody_is_there(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and does not listen
        taken.bind(("127.0.0.1", 0))
        for url in (f"redis://127.0.0.1:{taken.getsockname()[1]}", f"unix://{tmp_path}/redis.sock"):
            with pytest.raises(Unavailable):
                await round_trip(url)


def with_login(url: str, login: str) -> str:
    return url.replace("://", f"://{login}@", 1)


async def test_password(redis_url: str, store: Any) -> None:
    store.config_set("requirepass", "s@crét/")
    try:
        await round_trip(with_login(redis_url, ":s%40cr%C3%A9t%2F"))
        with pytest.raises(RedisRefused, match="WRONGPASS"):
            await round_trip(with_login(redis_url, ":secret"))
        async with open_to_test(redis_url) as wire:
            with pytest.raises(RedisRefused, match="NOAUTH"):
                await wire.call("PING")
    finally:
        store.config_set("requirepass", "")


async def test_user(redis_url: str, store: Any) -> None:
    store.acl_setuser("writer", enabled=True, passwords=["+secret"], commands=["+echo", "+acl|whoami"])
    try:
        await round_trip(with_login(redis_url, "writer:secret"))
        async with open_to_test(with_login(redis_url, "writer:secret")) as wire:
            assert await wire.call("ACL", "WHOAMI") == b"writer"
            with pytest.raises(RedisRefused, match="NOPERM"):
                await wire.call("SET", "a", "b")
        with pytest.raises(RedisRefused, match="WRONGPASS"):
            await round_trip(with_login(redis_url, "writer:other"))
    finally:
        store.acl_deluser("writer")


async def test_database(redis_url: str) -> None:
    async with open_to_test(f"{redis_url}?db=3") as wire:
        await wire.call("SET", "where", "there")
    with redis.Redis.from_url(redis_url, db=3) as third:
        assert third.get("where") == b"there"
    with pytest.raises(RedisRefused, match="out of range"):
        await round_trip(f"{redis_url}?db=100000")


async def test_answers_of_all_kinds(redis_url: str) -> None:
    async with open_to_test(redis_url) as wire:
        assert await wire.call("INCRBY", "number", 2**40) == 2**40
        assert await wire.call("GET", "none") is None
        assert await wire.call("EVAL", "return {1, {'a', {}}, false}", 0) == [1, [b"a", []], None]
        with pytest.raises(RedisRefused, match="WRONGTYPE"):
            await wire.call("LPUSH", "number", 1)
        assert await stands(wire)


async def test_commands_of_several_tasks_get_their_own_answers(redis_url: str) -> None:
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        answers[number] = await wire.call("ECHO", number)

    async with open_to_test(redis_url) as wire:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, number)
        assert answers == {number: b"%d" % number for number in range(100)}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"!?\r\n", "none of a Redis"),
        (b"$5\r\nshort", "no answer in time"),
        (b"*2\r\n:1\r\n", "no answer in time"),
        (b"$2000000\r\n" + b"x" * 1_999_999, "it has no end"),
        (b"+OK\r\n+OK\r\n", "more of it than was asked"),
        (b"+OK\r\n$", "more of it than was asked"),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_who_answers_no_sense_is_asked_nothing_more(answer: bytes, reason: str) -> None:
    async with serving(says(answer, b"+PONG\r\n")) as port, open_to_test(f"redis://127.0.0.1:{port}") as wire:
        with trio.fail_after(10), pytest.raises(OutcomeUnknown, match=reason):
            await wire.call("SET", "a", "b")
        with pytest.raises(Unavailable, match=reason):
            await wire.call("PING")
        with pytest.raises(Unavailable, match=reason):
            await wire.keep()


async def test_an_answer_that_ends_in_the_middle() -> None:
    handler = says(b"$5\r\nsho", then_close=True)
    async with serving(handler) as port, open_to_test(f"redis://127.0.0.1:{port}") as wire:
        with pytest.raises(OutcomeUnknown, match="closed the connection"):
            await wire.call("SET", "a", "b")
        assert not await stands(wire)


async def test_a_cancelled_callers_answer_meets_no_later_command(
    redis_url: str, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_wire, "_PING_EVERY", 60)  # it is no ping that tells
    async with open_to_test(redis_url) as wire:
        with trio.move_on_after(0.1) as scope:
            await wire.call("BLPOP", "list", 0)
        assert scope.cancelled_caught
        store.rpush("list", "late")
        with pytest.raises(Unavailable):
            await wire.call("ECHO", "mine")
        with trio.fail_after(10), pytest.raises(Unavailable):
            await wire.keep()


async def test_who_is_cancelled_while_another_has_the_turn_spoils_nothing(redis_url: str, store: Any) -> None:
    answers: list[Any] = []

    async def ask(*command: str | int) -> None:
        answers.append(await wire.call(*command))

    async with open_to_test(redis_url) as wire, trio.open_nursery() as nursery:
        nursery.start_soon(ask, "BLPOP", "list", 0)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.move_on_after(0.05) as scope:
            await ask("RPUSH", "other", 1)
        assert scope.cancelled_caught
        store.rpush("list", "here")
    assert answers == [[b"list", b"here"]]
    assert not store.exists("other")
    async with open_to_test(redis_url) as wire:
        assert await stands(wire)


@pytest.mark.usefixtures("impatient")
async def test_behind_a_command_without_answer_none_is_sent(redis_url: str, store: Any) -> None:
    async def wait_in_vain() -> None:
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await wire.call("BLPOP", "list", 0)

    async with open_to_test(redis_url) as wire, trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(Unavailable):
            await wire.call("RPUSH", "list", 1)
    assert not store.exists("list")


@pytest.mark.parametrize(
    ("pong", "reason"), [(b"+PANG\r\n", "do not fit"), (b"-LOADING\r\n", "LOADING"), (b"", "no answer in time")]
)
@pytest.mark.usefixtures("impatient")
async def test_pings_tell_while_nothing_is_asked(pong: bytes, reason: str) -> None:
    handler = says(b"+PONG\r\n", b"+PONG\r\n", pong, *[b"+PONG\r\n"] * 50)
    async with serving(handler) as port, open_to_test(f"redis://127.0.0.1:{port}") as wire:
        with trio.fail_after(5), pytest.raises(Unavailable, match=reason):
            await wire.keep()


@pytest.mark.usefixtures("impatient")
async def test_a_killed_and_a_frozen_redis() -> None:
    wires: list[RedisWire] = []
    reports: list[str | None] = []

    async def hold(*, task_status: trio.TaskStatus[None]) -> None:
        async with open_to_test(server.url) as wire:
            wires.append(wire)
            task_status.started()
            await wire.keep()

    async with fragile_servers() as (_, server), trio.open_nursery() as nursery:
        await server.start()
        health = Health(PART, lambda _, reason: reports.append(reason))
        await nursery.start(supervise, hold, health)

        await server.kill()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            await wires[0].call("PING")
        await server.start()
        with trio.fail_after(30):
            while len(wires) < 2:
                await trio.sleep(0.01)
        assert await stands(wires[1])

        server.freeze()
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await wires[1].call("SET", "sent", "before it froze")
        server.thaw()
        with trio.fail_after(30):
            while len(wires) < 3:
                await trio.sleep(0.01)
        assert await wires[2].call("GET", "sent") == b"before it froze"  # as OutcomeUnknown says: perhaps it is
        assert not await stands(wires[1])
        assert None in reports
        nursery.cancel_scope.cancel()


async def test_a_connection_that_is_cancelled_is_closed(redis_url: str, store: Any) -> None:
    before = len(store.client_list())
    with trio.CancelScope() as scope:
        async with open_to_test(redis_url):
            assert len(store.client_list()) == before + 1
            scope.cancel()
            await trio.sleep(math.inf)
    with trio.fail_after(5):
        while len(store.client_list()) > before:
            await trio.sleep(0.01)
