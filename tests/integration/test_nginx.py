"""The load balancer's template with a real nginx, before stand-ins that misbehave to order and before real trackers."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
import trio

from tests.integration.test_bulk import line, talk
from tests.nginx import COMPOSE, Balancer, nginx_program_or_skip

KEEPALIVE = 15
"""Seconds after which a quiet stream says something."""
ADDRESSES = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]


@pytest.fixture(scope="session")
def nginx_program() -> str:
    return nginx_program_or_skip()


@pytest.fixture
async def balancer(nginx_program: str, nursery: trio.Nursery, tmp_path: Path) -> Balancer:
    balancer = Balancer(nginx_program, tmp_path, list(ADDRESSES))
    await nursery.start(balancer.names.run)
    await nursery.start(balancer.run)
    return balancer


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Request, trio.SocketStream], Awaitable[None]]


async def accept(request: Request, stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


async def hang_up(request: Request, stream: trio.SocketStream) -> None:
    await stream.aclose()


@dataclass
class StandIn:
    """In a tracker's place: reads requests, remembers them, and answers as it is told."""

    address: str
    behave: Behaviour = accept
    got: list[Request] = field(default_factory=list)

    async def run(self, port: int, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.serve_tcp(self._connection, port, host=self.address, task_status=task_status)

    async def _connection(self, stream: trio.SocketStream) -> None:
        buffer = bytearray()
        try:
            while True:
                while (end := buffer.find(b"\r\n\r\n")) < 0:
                    if not (more := await stream.receive_some()):
                        return
                    buffer += more
                first, *lines = bytes(buffer[:end]).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                method, target, _ = first.split(" ")
                length = int(headers.get("content-length", 0))
                del buffer[: end + 4]
                while len(buffer) < length:
                    buffer += await stream.receive_some()
                request = Request(method, target, headers, bytes(buffer[:length]))
                del buffer[:length]
                self.got.append(request)
                await self.behave(request, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nginx went, or the stand-in hung up


@pytest.fixture
async def stand_ins(balancer: Balancer, nursery: trio.Nursery, client: httpx.AsyncClient) -> list[StandIn]:
    stand_ins = [StandIn(address) for address in ADDRESSES]
    for stand_in in stand_ins:
        await nursery.start(stand_in.run, balancer.tracker_port)
    await reached(client)
    for stand_in in stand_ins:
        stand_in.got.clear()
    return stand_ins


@pytest.fixture
async def client(balancer: Balancer) -> Any:
    async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as client:
        yield client


async def reached(client: httpx.AsyncClient) -> None:
    """Wait until nginx has the trackers' addresses."""
    with trio.fail_after(30):
        while True:
            if (await client.get("/1")).status_code != 503:
                return
            await trio.sleep(0.01)


def total(stand_ins: list[StandIn]) -> int:
    return sum(len(stand_in.got) for stand_in in stand_ins)


async def test_requests_go_round_robin(client: httpx.AsyncClient, stand_ins: list[StandIn]) -> None:
    for _ in range(12):
        assert (await client.put("/7", params={"data": "x"})).status_code == 202
        assert (await client.get("/7")).status_code == 202
    assert [len(stand_in.got) for stand_in in stand_ins] == [8, 8, 8]


async def test_a_tracker_gets_the_request_as_it_was(
    client: httpx.AsyncClient, balancer: Balancer, stand_ins: list[StandIn]
) -> None:
    cases: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/7", {}),
        ("PUT", "/7?data=%C3%BC%2B", {}),
        ("PUT", "/7", {"Idempotency-Key": "k"}),
        ("POST", "/", {}),
        ("PATCH", "/7", {"X-Method-Once": "DELETE"}),
        ("GET", "/7", {"X-Method-Once": "DELETE"}),
    ]
    for method, target, headers in cases:
        content = None if method == "GET" else b"some data"
        response = await client.request(method, target, headers=headers, content=content)
        assert response.status_code == 202
        (request,) = [request for stand_in in stand_ins for request in stand_in.got]
        assert (request.method, request.target, request.body) == (method, target, content or b"")
        assert request.headers["host"] == f"127.0.0.1:{balancer.port}"
        assert request.headers["x-forwarded-for"] == "127.0.0.1"
        assert request.headers["x-forwarded-proto"] == "http"
        assert "x-method-once" not in request.headers
        assert request.headers.get("idempotency-key") == headers.get("Idempotency-Key")
        for stand_in in stand_ins:
            stand_in.got.clear()


KEY = {"Idempotency-Key": "k"}
WRITES: list[tuple[str, str, dict[str, str]]] = [
    ("PUT", "/7?data=x", {}),
    ("PUT", "/7", {}),
    ("PUT", "/7", {"Idempotency-Key": ""}),
    ("PUT", "/7:k:/events", {}),
    ("POST", "/events", {}),
    ("POST", "/", KEY),
    ("POST", "/", {"Idempotency-Key": "k:/events"}),
    ("PATCH", "/7", {}),
    ("PATCH", "/7", KEY),
]


@pytest.mark.parametrize(("method", "target", "headers"), WRITES)
async def test_other_writes_are_never_sent_twice(
    client: httpx.AsyncClient, stand_ins: list[StandIn], method: str, target: str, headers: dict[str, str]
) -> None:
    for stand_in in stand_ins:
        stand_in.behave = hang_up
    content = None if "?" in target else b"data"
    response = await client.request(method, target, content=content, headers=headers)
    assert total(stand_ins) == 1
    assert response.status_code == 504
    assert "retry-after" not in response.headers
    assert response.headers["content-type"] == "application/problem+json"
    assert msgspec.json.decode(response.content)["status"] == 504


async def test_many_events_with_a_key_are_sent_again_at_most_with_it(
    client: httpx.AsyncClient, stand_ins: list[StandIn]
) -> None:
    # Its body is passed on as it comes, and is there once: a second tracker gets it only if that had not begun.
    for stand_in in stand_ins:
        stand_in.behave = hang_up
    response = await client.post("/events", content=b"data", headers=KEY)
    assert response.status_code in (503, 504)
    assert total(stand_ins) >= 1
    assert {request.headers["idempotency-key"] for stand_in in stand_ins for request in stand_in.got} == {"k"}


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/7", {}),
        ("HEAD", "/7", {}),
        ("GET", "/events?account=7", {}),
        ("PUT", "/7?data=x", KEY),
        ("PUT", "/7", KEY),
    ],
)
async def test_what_only_reads_or_has_a_key_is_sent_again(
    client: httpx.AsyncClient, stand_ins: list[StandIn], method: str, target: str, headers: dict[str, str]
) -> None:
    stand_ins[0].behave = stand_ins[1].behave = hang_up
    content = None if method in ("GET", "HEAD") or "?" in target else b"data"
    # As many as there are trackers: one of them comes to the first.
    for _ in stand_ins:
        assert (await client.request(method, target, content=content, headers=headers)).status_code == 202
    assert stand_ins[0].got
    for stand_in in stand_ins:
        for request in stand_in.got:
            assert (request.method, request.target, request.body) == (method, target, content or b"")
            assert request.headers.get("idempotency-key") == headers.get("Idempotency-Key")


async def test_a_write_with_a_key_that_nobody_answers_is_504(
    client: httpx.AsyncClient, stand_ins: list[StandIn]
) -> None:
    for stand_in in stand_ins:
        stand_in.behave = hang_up
    response = await client.put("/7", content=b"data", headers=KEY)
    assert [len(stand_in.got) for stand_in in stand_ins] == [1, 1, 1]
    assert response.status_code == 504
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(("method", "target"), [("GET", "/7"), ("PUT", "/7?data=x"), ("POST", "/")])
async def test_a_tracker_that_is_gone_costs_nobody_a_request(
    balancer: Balancer, nursery: trio.Nursery, client: httpx.AsyncClient, method: str, target: str
) -> None:
    first, second, third = (StandIn(address) for address in ADDRESSES)
    await nursery.start(third.run, balancer.tracker_port)
    async with trio.open_nursery() as doomed:
        for stand_in in (first, second):
            await doomed.start(stand_in.run, balancer.tracker_port)
        await reached(client)
        doomed.cancel_scope.cancel()
    third.got.clear()
    for _ in range(30):
        assert (await client.request(method, target)).status_code == 202
    assert len(third.got) == 30


@pytest.mark.parametrize(("method", "target"), [("GET", "/7"), ("PUT", "/7?data=x"), ("POST", "/")])
async def test_no_tracker_at_all_is_certainly_not_accepted(client: httpx.AsyncClient, method: str, target: str) -> None:
    response = await client.request(method, target)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-type"] == "application/problem+json"
    assert msgspec.json.decode(response.content)["status"] == 503


async def test_a_trackers_own_answers_pass_untouched(client: httpx.AsyncClient, stand_ins: list[StandIn]) -> None:
    async def refuse(request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 3\r\nX-Own: 1\r\n\r\nown")

    for stand_in in stand_ins:
        stand_in.behave = refuse
    for method in ("PUT", "GET"):
        response = await client.request(method, "/7")
        assert (response.status_code, response.text, response.headers["x-own"]) == (504, "own", "1")
    assert total(stand_ins) == 2


async def test_limits_and_what_nginx_tells_of_itself(
    client: httpx.AsyncClient, balancer: Balancer, stand_ins: list[StandIn]
) -> None:
    target = "/7?data=" + "%F0%9F%98%80" * (64 * 1024 // 4)  # longer than httpx lets a URL be
    async with await trio.open_tcp_stream("127.0.0.1", balancer.port) as stream:
        await stream.send_all(f"PUT {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = b"".join([part async for part in stream])
    assert head.startswith(b"HTTP/1.1 202 ")
    assert b"\r\nServer: nginx\r\n" in head
    assert [request.target for stand_in in stand_ins for request in stand_in.got] == [target]
    assert (await client.put("/7", content=b"x" * (8 << 20))).status_code == 202
    response = await client.put("/7", content=b"x" * (10 << 20))
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert total(stand_ins) == 2


async def test_streams_are_not_held_back(client: httpx.AsyncClient, stand_ins: list[StandIn]) -> None:
    read = trio.Event()

    async def drip(request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n1\n")
        await read.wait()
        await stream.send_all(b"2\n")
        await stream.aclose()

    for stand_in in stand_ins:
        stand_in.behave = drip
    with trio.fail_after(10):
        async with client.stream("GET", "/events?account=all") as response:
            lines = []
            async for line in response.aiter_lines():
                lines.append(line)
                read.set()  # only then the second is sent
            assert lines == ["1", "2"]


async def test_a_stream_that_has_begun_is_not_begun_again(client: httpx.AsyncClient, stand_ins: list[StandIn]) -> None:
    async def break_off(request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n")
        await stream.aclose()

    for stand_in in stand_ins:
        stand_in.behave = break_off
    lines: list[str] = []

    async def follow() -> None:
        async with client.stream("GET", "/events?account=all") as response:
            async for line in response.aiter_lines():
                lines.append(line)  # noqa: PERF401 - what came before the error counts

    with trio.fail_after(10), pytest.raises(httpx.RemoteProtocolError):
        await follow()
    assert lines == ["1"]
    assert total(stand_ins) == 1


async def test_a_quiet_stream_may_miss_some_keepalives() -> None:
    (patience,) = re.findall(r"proxy_read_timeout (\d+)s;", (COMPOSE / "nginx.conf.template").read_text())
    assert int(patience) >= 4 * KEEPALIVE


async def test_websockets_pass(balancer: Balancer, stand_ins: list[StandIn]) -> None:
    async def echo(request: Request, stream: trio.SocketStream) -> None:
        assert (request.headers["connection"], request.headers["upgrade"]) == ("upgrade", "websocket")
        assert (request.headers["host"], request.headers["origin"]) == ("x:8080", "http://x:8080")  # must agree
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello"
        )
        await stream.send_all(await stream.receive_some())

    for stand_in in stand_ins:
        stand_in.behave = echo
    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", balancer.port) as stream:
            await stream.send_all(
                b"GET /events?account=1 HTTP/1.1\r\nHost: x:8080\r\nOrigin: http://x:8080\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            got = b""
            while not got.endswith(b"hello"):
                got += await stream.receive_some()
            assert got.startswith(b"HTTP/1.1 101 ")
            await stream.send_all(b"echo")
            assert await stream.receive_some() == b"echo"


async def test_scaling_is_noticed_while_running(
    client: httpx.AsyncClient, balancer: Balancer, stand_ins: list[StandIn]
) -> None:
    async def until(wanted: list[StandIn]) -> None:
        with trio.fail_after(20):
            while True:
                for stand_in in stand_ins:
                    stand_in.got.clear()
                for _ in ADDRESSES:
                    assert (await client.put("/7", content=b"x")).status_code == 202
                if [stand_in for stand_in in stand_ins if stand_in.got] == wanted:
                    return

    balancer.names.addresses[:] = ADDRESSES[:1]
    await until(stand_ins[:1])
    balancer.names.addresses[:] = ADDRESSES
    await until(stand_ins)
    balancer.names.addresses.clear()
    await balancer.names.failed.wait()
    balancer.names.addresses[:] = ADDRESSES[1:]
    await until(stand_ins[1:])


class Watch:
    """Every event that the trackers publish on `events:<id>`."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._pubsub.psubscribe("events:*")
        self._pubsub.get_message(timeout=10)  # the subscription itself
        self.hosts: dict[str, list[str]] = defaultdict(list)

    def catch_up(self) -> None:
        """Read what was published until now."""
        end = uuid.uuid4().hex
        self._redis.publish("events:end", end)
        while True:
            message = self._pubsub.get_message(timeout=10)
            if message is None:
                continue
            if message["channel"] == b"events:end":
                assert message["data"] == end.encode()
                return
            event = msgspec.json.decode(message["data"])
            self.hosts[event["Data"]].append(event["Host"])

    def close(self) -> None:
        self._pubsub.close()
        self._redis.close()


@pytest.fixture
def watch(redis_url: str) -> Iterator[Watch]:
    watch = Watch(redis_url)
    yield watch
    watch.close()


@pytest.mark.parametrize("key", [None, "k"])
async def test_lines_are_answered_while_more_are_sent(
    balancer: Balancer,
    nursery: trio.Nursery,
    database_url: str,
    redis_url: str,
    client: httpx.AsyncClient,
    key: str | None,
) -> None:
    """With a key or without: that makes two ways through nginx."""
    trackers = Trackers(nursery, database_url, redis_url, balancer.tracker_port)
    await trackers.start(ADDRESSES[0])
    await reached(client)
    sent = 0
    async with talk(balancer.port, *([("Idempotency-Key", key)] if key else [])) as stream:
        for number in range(1, 4):
            await stream.send(line(1, number))
            assert len(await stream.answered(number)) == number
        while sent < 12 << 20:  # more than nginx lets any other body have
            lines = line(1, "x" * 60_000) * 10
            await stream.send(lines)
            sent += len(lines)
            number += 10
            await stream.answered(number)
        await stream.end()
        assert {result.get("status", 200) for result in await stream.to_the_end()} == {200}
        assert (len(stream.results), stream.complete) == (number, True)


@dataclass
class Trackers:
    """Real trackers, each a process at an address of its own, all at one port."""

    nursery: trio.Nursery
    database_url: str
    redis_url: str
    port: int

    async def start(self, address: str) -> trio.Process:
        options = {
            "--bind": f"{address}:{self.port}",
            "--database": self.database_url,
            "--redis": self.redis_url,
            "--host": address,
        }
        command = [sys.executable, "-m", "tracker", "serve", *(part for option in options.items() for part in option)]
        run = partial(trio.run_process, command, check=False, stderr=subprocess.PIPE)
        process: trio.Process = await self.nursery.start(run)
        with trio.fail_after(60):
            await self.nursery.start(self._read, process)
        return process

    @staticmethod
    async def _read(process: trio.Process, *, task_status: trio.TaskStatus[None]) -> None:
        """Read what it says, `started()` with its ready line."""
        assert process.stderr is not None
        said, ready = b"", False
        async for more in process.stderr:
            said += more
            if not ready and b"Tracking on http://" in said:
                ready = True
                task_status.started()
        assert ready, said.decode()


async def test_trackers_behind_nginx_fail_and_come_back(
    client: httpx.AsyncClient,
    balancer: Balancer,
    nursery: trio.Nursery,
    database_url: str,
    redis_url: str,
    watch: Watch,
) -> None:
    trackers = Trackers(nursery, database_url, redis_url, balancer.tracker_port)
    balancer.names.addresses[:] = ADDRESSES[:2]
    processes: dict[str, trio.Process] = {}

    async def start(address: str) -> None:
        processes[address] = await trackers.start(address)

    async def put() -> tuple[str, httpx.Response]:
        data = uuid.uuid4().hex
        return data, await client.put("/1", params={"data": data})

    async def spread(requests: int) -> Counter[str]:
        sent = [await put() for _ in range(requests)]
        assert {response.status_code for _, response in sent} == {202}
        await trio.to_thread.run_sync(watch.catch_up)
        assert {len(watch.hosts[data]) for data, _ in sent} == {1}
        return Counter(watch.hosts[data][0] for data, _ in sent)

    async def until_these_take_part(addresses: list[str]) -> None:
        with trio.fail_after(30):
            while set(await spread(3)) != set(addresses):
                pass

    async with trio.open_nursery() as starting:
        for address in ADDRESSES:
            starting.start_soon(start, address)
    await reached(client)

    await until_these_take_part(ADDRESSES[:2])
    assert await spread(20) == dict.fromkeys(ADDRESSES[:2], 10)
    balancer.names.addresses.append(ADDRESSES[2])
    await until_these_take_part(ADDRESSES)
    assert await spread(30) == dict.fromkeys(ADDRESSES, 10)

    gets: Counter[int] = Counter()
    puts: dict[str, int] = {}
    warm, killed = trio.Event(), trio.Event()

    async def load() -> None:
        done_since = 0
        while done_since < 20:
            done_since += killed.is_set()
            gets[(await client.get("/1")).status_code] += 1
            data, response = await put()
            puts[data] = response.status_code
            if len(puts) >= 100:
                warm.set()

    victim = ADDRESSES[1]
    with trio.fail_after(60):
        async with trio.open_nursery() as loading:
            for _ in range(8):
                loading.start_soon(load)
            await warm.wait()
            processes[victim].kill()
            await processes[victim].wait()
            killed.set()
    await trio.to_thread.run_sync(watch.catch_up)

    # What the victim had got is carried out or not: 504 says so. What it had not got went to another.
    assert set(gets) == {200}
    assert set(puts.values()) <= {202, 504}
    assert sum(status == 504 for status in puts.values()) <= 8  # no more were under way
    for data, status in puts.items():
        assert len(watch.hosts[data]) == 1 if status == 202 else len(watch.hosts[data]) <= 1

    await start(victim)
    await until_these_take_part(ADDRESSES)
    assert await spread(30) == dict.fromkeys(ADDRESSES, 10)
