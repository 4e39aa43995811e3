"""`POST /events`: many events at once, as an array and as lines, whole and broken, fast and slow."""

from __future__ import annotations

import contextlib
import json
import math
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import httpx
import pytest
import redis
import trio
import trio.testing

from shared.appending import Appended
from shared.errors import TrackerError, Unavailable
from tests.integration.conftest import StartTracker
from tests.integration.fragile import fragile_servers
from tests.integration.test_http_server import Server, Services, hard_close, serving
from tests.integration.test_outages import until_not_ready, until_ready
from tracker.http import bulk_resource, bulk_stream, limits
from tracker.http.app import create_app
from tracker.http.bulk import LOT
from tracker.tracking import Item

LINES = "application/x-ndjson"
JSON = "application/json"
MIXED: list[tuple[bytes, int]] = [
    (b'{"ID":1,"Data":"a"}', 200),
    (b'{"ID":1001,"Data":"b"}', 404),
    (b'{"ID":5,"Data":"c"}', 400),
    (b"junk", 400),
    (b'{"ID":2,"Data":{"x": [1, 2.50]}}', 200),
    (b'{"ID":0,"Data":1}', 400),
    (b'{"ID":1}', 400),
    (b'{"ID":1,"Data":1,"Seq":4}', 400),
    (b'{"ID":99999999999999999999,"Data":1}', 404),
    (b'{"ID":1,"Data":"%b"}' % (b"x" * 65535), 413),
    (b'{"ID":1,"Data":"%b"}' % (b"x" * 65534), 200),
    (b'{"ID":1,"Data":[%b]}' % (b" " * 300_000), 413),
    (b'{"ID":1,"Data":"d"}', 200),
]
"""Items, for tests where account 5 is not active, and what becomes of them."""


def stored(redis_url: str, account: int) -> list[dict[str, Any]]:
    """An account's events, as the log has them."""
    with redis.Redis.from_url(redis_url) as client:
        return [json.loads(fields[b"event"]) for _, fields in client.xrange(f"{{events:0}}:{account}")]


def statuses(results: Sequence[dict[str, Any]]) -> list[int]:
    """Those of problems, and 200 for a Position."""
    for each in results:
        assert list(each) in (["Position", "Seq"], ["type", "title", "status", "detail"])
    return [each.get("status", 200) for each in results]


def in_lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == LINES
    assert answer.content.endswith(b"\n")
    return [json.loads(line) for line in answer.content.splitlines()]


async def post(
    client: httpx.AsyncClient, body: bytes | AsyncIterator[bytes], content_type: str = JSON, **headers: str
) -> httpx.Response:
    return await client.post("/events", content=body, headers={"Content-Type": content_type, **headers})


def check_problem(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    for word in words:
        assert word in problem["detail"]


class Talk:
    """A client that sends lines and reads answers at the same time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.status = 0
        self.results: list[dict[str, Any]] = []
        self.keepalives = 0
        self.complete = False
        """Whether the answer has come to its own end."""
        self._h11 = h11.Connection(h11.CLIENT)
        self._text = b""

    async def begin(self, *headers: tuple[str, str]) -> None:
        given = {"Host": "t", "Content-Type": LINES, "Transfer-Encoding": "chunked", **dict(headers)}
        await self._send(h11.Request(method="POST", target="/events", headers=list(given.items())))

    async def send(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def answered(self, number: float) -> list[dict[str, Any]]:
        """The results so far, when there are so many, or all have come."""
        with trio.fail_after(20):
            while len(self.results) < number and not self.complete:
                await self._read()
        return self.results

    async def to_the_end(self) -> list[dict[str, Any]]:
        """All that come until the answer ends, or its connection."""
        try:
            return await self.answered(math.inf)
        except (EOFError, trio.BrokenResourceError):
            return self.results

    async def answered_something(self) -> None:
        with trio.fail_after(20):
            await self._read()

    async def _send(self, event: Any) -> None:
        data = self._h11.send(event)
        assert data is not None
        if data:
            await self.stream.send_all(data)

    async def _read(self) -> None:
        event = self._h11.next_event()
        while event is h11.NEED_DATA:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._h11.receive_data(bytes(data))
            event = self._h11.next_event()
        if isinstance(event, (h11.Response, h11.InformationalResponse)):
            self.status = event.status_code
        elif isinstance(event, h11.Data):
            *lines, self._text = (self._text + bytes(event.data)).split(b"\n")
            self.keepalives += lines.count(b"")
            self.results += [json.loads(line) for line in lines if line]
        elif isinstance(event, h11.EndOfMessage):
            assert self._text == b""
            self.complete = True


@asynccontextmanager
async def talk(client: httpx.AsyncClient | int, *headers: tuple[str, str]) -> AsyncIterator[Talk]:
    port = client if isinstance(client, int) else client.base_url.port
    assert port is not None
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        talk = Talk(stream)
        await talk.begin(*headers)
        yield talk


def line(account: int, data: object) -> bytes:
    return json.dumps({"ID": account, "Data": data}).encode() + b"\n"


# What becomes of items


@pytest.mark.parametrize("form", [JSON, LINES])
async def test_each_item_is_decided_on_its_own(client: httpx.AsyncClient, redis_url: str, form: str) -> None:
    await client.patch("/5", json={"IsActive": False})
    items = [item for item, _ in MIXED]
    body = b"[" + b",".join(items) + b"]" if form == JSON else b"\n".join(items)
    answer = await post(client, body, form)
    assert answer.status_code == 200
    results = answer.json() if form == JSON else in_lines(answer)
    assert statuses(results) == [status for _, status in MIXED]
    assert "There is no account 1001." in results[1]["detail"]
    assert "unknown field `Seq`" in results[7]["detail"]
    events = stored(redis_url, 1)
    assert [event["Data"] for event in events] == ["a", "x" * 65534, "d"]
    assert [(event["Position"], event["Seq"]) for event in events] == [
        (results[place]["Position"], results[place]["Seq"]) for place in (0, 10, 12)
    ]
    [other] = stored(redis_url, 2)
    assert (other["Position"], other["Seq"], other["Host"]) == (results[4]["Position"], 1, "here")
    with redis.Redis.from_url(redis_url) as log:
        [(_, fields)] = log.xrange("{events:0}:2")
    assert b'"Data":{"x":[1,2.50]},' in fields[b"event"]


async def test_an_array_of_as_many_as_may_be(client: httpx.AsyncClient, redis_url: str) -> None:
    items = [{"ID": number % 10 + 1, "Data": number} for number in range(bulk_resource.MAX_ITEMS)]
    answer = await post(client, json.dumps(items).encode())
    assert answer.status_code == 200
    results = answer.json()
    assert [int(result["Position"].rpartition("-")[2]) for result in results] == list(range(1, len(items) + 1))
    assert [event["Data"] for event in stored(redis_url, 1)] == list(range(0, len(items), 10))
    assert (await client.get("/")).json()["Rate"] > 0

    items.append(items[0])
    check_problem(await post(client, json.dumps(items).encode()), 413, "10000 items", "None of them")
    assert len(stored(redis_url, 1)) == 1000


async def test_arrays_that_are_too_large(client: httpx.AsyncClient, redis_url: str) -> None:
    item = b'{"ID":1,"Data":"%b"}' % (b"x" * 60_000)
    most = bulk_resource.MAX_BYTES // (len(item) + 1)
    body = b"[" + b",".join([item] * most) + b"]"
    fits = body + b" " * (bulk_resource.MAX_BYTES - len(body))
    assert statuses((await post(client, fits)).json()) == [200] * most

    async def chunks() -> AsyncIterator[bytes]:
        for begin in range(0, len(fits) + 1, 1 << 16):
            yield (fits + b" ")[begin : begin + (1 << 16)]

    for too_large in (fits + b" ", chunks()):
        check_problem(await post(client, too_large), 413, f"{bulk_resource.MAX_BYTES} bytes", "None of it")
    assert len(stored(redis_url, 1)) == most


@pytest.mark.parametrize(
    ("body", "accepted", "says"),
    [
        (b'[{"ID":1,"Data":1},{"ID":1,"Data":2},{"ID":1,"Data":3', 2, "no end"),
        (b'[{"ID":1,"Data":1},{"ID":1,"Data":2},{"ID":1,"Data":"3}]', 2, "a string has no end (byte 52)"),
        (b'[{"ID":1,"Data":1}}, {"ID":1,"Data":2}]', 0, "closes nothing"),
        (b'[{"ID":1,"Data":1}] [{"ID":1,"Data":2}]', 1, "behind the array (byte 20)"),
        (b'{"ID":1,"Data":1}\n{"ID":1,"Data":2}\n', 0, "an array begins with ["),
    ],
)
async def test_a_broken_array(client: httpx.AsyncClient, redis_url: str, body: bytes, accepted: int, says: str) -> None:
    answer = await post(client, body)
    if accepted:
        assert answer.status_code == 200
        results = answer.json()
        assert statuses(results) == [200] * accepted + [400]
        assert says in results[-1]["detail"]
        assert f"The items before it, {accepted}, are answered" in results[-1]["detail"]
    else:
        check_problem(answer, 400, says)
    assert [event["Data"] for event in stored(redis_url, 1)] == list(range(1, accepted + 1))


@pytest.mark.parametrize("form", [JSON, LINES])
async def test_the_same_key_is_the_same_events(client: httpx.AsyncClient, redis_url: str, form: str) -> None:
    items = [line(number % 5 + 1, number)[:-1] for number in range(2500)]
    items[7] = b"junk"
    body = b"[" + b",".join(items) + b"]" if form == JSON else b"\n".join(items)
    key = {"Idempotency-Key": "k"}
    first, second = [(await post(client, body, form, **key)).content for _ in range(2)]
    assert first == second
    assert [event["Data"] for event in stored(redis_url, 1)] == list(range(0, 2500, 5))
    assert (await post(client, body, form, **{"Idempotency-Key": "other"})).content != first
    await client.put("/1?data=x", headers=key)
    assert stored(redis_url, 1)[-1]["Data"] == "x"


# What is no bulk


async def test_what_is_refused_as_a_whole(client: httpx.AsyncClient, redis_url: str) -> None:
    good = b'{"ID":1,"Data":1}'
    for given in ("text/plain", "application/x-www-form-urlencoded", "application/json-seq", "x"):
        check_problem(await post(client, good, given), 415, repr(given), JSON, LINES)
    check_problem(await client.post("/events", content=good), 415, "of no type")
    check_problem(await post(client, good, LINES, **{"Content-Encoding": "gzip"}), 415, "Content-Encoding")
    for form in (JSON, LINES):
        check_problem(await post(client, good, form, **{"Idempotency-Key": "x" * 256}), 400, "Idempotency-Key")
        for empty in (b"", b" \n\r\n"):
            check_problem(await post(client, empty, form), 400, "empty", '{"ID":1,"Data":…}')
    assert (await post(client, b"[]")).json() == []
    assert stored(redis_url, 1) == []


@pytest.mark.parametrize("given", ["Application/X-NDJSON; charset=utf-8", "application/jsonl"])
async def test_other_names_of_lines(client: httpx.AsyncClient, given: str) -> None:
    assert statuses(in_lines(await post(client, line(1, "x"), given))) == [200]


# Lines as they come


@pytest.mark.parametrize("size", [1, 7, 70_000])
async def test_lines_in_pieces(client: httpx.AsyncClient, size: int) -> None:
    """Each in a chunk of its own."""
    await client.patch("/5", json={"IsActive": False})
    body = b"\n\r\n".join(item for item, _ in MIXED if size > 1 or len(item) < 1000)

    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), size):
            yield body[begin : begin + size]

    expected = [status for item, status in MIXED if size > 1 or len(item) < 1000]
    assert statuses(in_lines(await post(client, pieces(), LINES))) == expected


async def test_lines_are_answered_while_they_come(client: httpx.AsyncClient, redis_url: str) -> None:
    async with talk(client) as stream:
        for number in range(1, 6):
            await stream.send(line(1, number) + b'{"ID":1,')
            assert len(await stream.answered(number)) == number
            assert len(stored(redis_url, 1)) == number
            await stream.send(b'"Data":0}' if number == 5 else b'"Data\n')
            if number < 5:
                stream.results.remove((await stream.answered(number + 1))[-1])
        await stream.end()
        assert statuses(await stream.to_the_end()) == [200] * 6
        assert stream.complete


async def test_a_length_and_a_client_that_waits_to_be_asked(client: httpx.AsyncClient) -> None:
    body = line(1, "x") * 3
    for form in (body, b"[" + b",".join(body.splitlines()) + b"]"):
        content_type = JSON if form.startswith(b"[") else LINES
        async with await trio.open_tcp_stream("127.0.0.1", client.base_url.port or 0) as stream:
            await stream.send_all(
                b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Type: %b\r\nContent-Length: %d\r\n"
                b"Expect: 100-continue\r\n\r\n" % (content_type.encode(), len(form))
            )
            with trio.fail_after(5):
                assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 100 Continue\r\n")
            await stream.send_all(form)
            said = b""
            with trio.fail_after(5):
                while said.count(b'"Seq"') < 3:
                    said += bytes(await stream.receive_some())
            assert said.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_connection_goes_on_after_a_bulk(client: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=client.base_url, limits=httpx.Limits(max_connections=1)) as one:
        for form, body in ((JSON, b"[" + line(1, "x") + b"]"), (LINES, line(1, "x") * 2), (JSON, b"[]")):
            assert (await post(one, body, form)).status_code == 200


@pytest.mark.parametrize("enough", [1, 1500, 4000])
@pytest.mark.parametrize("how", ["reset", "half a request"])
async def test_a_broken_connection(client: httpx.AsyncClient, redis_url: str, how: str, enough: int) -> None:
    """What was answered is in the log, and of what was not answered a lot at most."""
    async with talk(client) as stream:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(1_000_000):
                    await stream.send(b"".join(line(place + 1, number) for place in range(100)))

            nursery.start_soon(send)
            await stream.answered(enough)
            nursery.cancel_scope.cancel()
        if how == "reset":
            hard_close(stream.stream)
        else:
            await stream.stream.send_eof()
            await stream.to_the_end()
            assert not stream.complete
    await settled(redis_url)
    known = {event["Position"] for account in range(1, 101) for event in stored(redis_url, account)}
    answered = {result["Position"] for result in stream.results}
    assert answered <= known
    if how != "reset":  # else some answers were on their way
        assert len(known - answered) <= LOT


async def settled(redis_url: str) -> None:
    """Wait until nothing comes to the log any more."""
    with redis.Redis.from_url(redis_url) as log:
        before, now = b"", log.hget("{events:0}:meta", "position")
        while before != now:
            await trio.sleep(0.2)
            before, now = now, log.hget("{events:0}:meta", "position")


async def test_bytes_that_are_no_http_in_the_middle(client: httpx.AsyncClient, redis_url: str) -> None:
    async with talk(client) as stream:
        await stream.send(line(1, "x"))
        await stream.answered(1)
        await stream.stream.send_all(b"no chunk\r\n")
        assert statuses(await stream.to_the_end()) == [200]
        assert not stream.complete
    assert len(stored(redis_url, 1)) == 1


# Outages


async def test_redis_goes_and_comes_back(start_tracker: StartTracker) -> None:
    async with fragile_servers() as (_, own_redis):
        await own_redis.start()
        async with start_tracker(redis=own_redis.url) as client, talk(client) as stream:
            await stream.send(line(1, 1))
            await stream.answered(1)
            await own_redis.kill()
            await until_not_ready(client, "log")
            await stream.send(line(1, 2) + b"junk\n")
            assert statuses(await stream.answered(3)) == [200, 503, 400]
            answer = await post(client, b"[" + line(1, 3) + b"," + line(2, 3) + b"]")
            check_problem(answer, 503, "log")
            assert answer.headers["Retry-After"]
            assert statuses((await post(client, b"[" + line(1, 3) + b",1]")).json()) == [503, 400]
            many = b"[" + b",".join([line(1, 3)] * 5000) + b",1]"
            assert statuses((await post(client, many)).json()) == [503] * 5000 + [400]

            await own_redis.start()
            await until_ready(client)
            await stream.send(line(1, 4))
            await stream.end()
            results = await stream.to_the_end()
            assert statuses(results) == [200, 503, 400, 200]
            events = {event["Position"]: event["Data"] for event in stored(own_redis.url, 1)}
            assert [events[result["Position"]] for result in results if "Seq" in result] == [1, 4]


async def test_a_frozen_redis(start_tracker: StartTracker) -> None:
    async with fragile_servers() as (_, own_redis):
        await own_redis.start()
        async with start_tracker(redis=own_redis.url) as client:
            own_redis.freeze()
            answer = await post(client, b"[" + line(1, 1) + b"]")
            check_problem(answer, 504, "Idempotency-Key")
            own_redis.thaw()


async def test_postgresql_goes(start_tracker: StartTracker) -> None:
    async with fragile_servers() as (own_postgres, _):
        await own_postgres.start()
        async with start_tracker(database=own_postgres.url) as client:
            assert statuses((await post(client, b"[" + line(1, 1) + b"]")).json()) == [200]
            await own_postgres.kill()
            await until_not_ready(client, "database")
            results = (await post(client, b"[" + line(1, 1) + b"," + line(1_000_000, 1) + b"]")).json()
            assert statuses(results) == [200, 503]
            assert "database" in results[1]["detail"]


# Over services that are none: what waits for what


class Gated(Services):
    """Takes all items, while `gate` is set, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.lots: list[list[Item]] = []
        self.begun = 0
        self.away = False

    async def accept_many(self, items: Sequence[Item]) -> list[Appended | TrackerError]:
        self.waiting.set()
        self.begun += len(items)
        if self.away:
            return [Unavailable("log", "as told")] * len(items)
        await self.gate.wait()
        await trio.lowlevel.checkpoint()
        self.lots.append(list(items))
        return [Appended(f"e-0-{item.account_id}", item.account_id) for item in items]

    @property
    def taken(self) -> int:
        return sum(map(len, self.lots))


class Served(Server):
    services: Gated


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    services = Gated()
    anything: Any = services
    app = create_app(
        anything, anything, anything, anything, [], anything, anything, max_data=64 * 1024, max_followers=10
    )
    async with serving(app, services, Served) as served:
        yield served
        if not app.stopping.is_set():
            await served.well()
        await served.settled()


async def test_a_lot_is_committed_and_another_gathered_and_no_more_is_read(served: Served) -> None:
    served.services.gate = trio.Event()
    chunk = b"".join(line(number + 1, "x" * 100) for number in range(1000))
    sent = 0

    async with talk(served.port) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            nonlocal sent
            for _ in range(400):
                await stream.send(chunk)
                sent += 1

        nursery.start_soon(send)
        await served.services.waiting.wait()
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert sent < 300  # the rest waits in the client: buffers of the system hold what was sent
        assert served.services.begun <= LOT
        served.services.gate.set()
        results = await stream.answered(400_000)
    assert [result["Seq"] for result in results] == [*range(1, 1001)] * 400
    assert max(map(len, served.services.lots)) == LOT


async def test_a_client_that_does_not_read_its_answers_has_to_wait(served: Served) -> None:
    chunk = b"".join(line(number + 1, 1) for number in range(1000))
    sent = 0
    with trio.socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.connect(("127.0.0.1", served.port))
        stream = Talk(trio.SocketStream(client))
        await stream.begin()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                nonlocal sent
                for _ in range(400):
                    await stream.send(chunk)
                    sent += 1

            nursery.start_soon(send)
            await served.services.waiting.wait()
            await trio.testing.wait_all_tasks_blocked(0.2)
            taken = served.services.taken
            assert sent < 399
            assert taken < 300_000
            results = await stream.answered(400_000)
        await stream.end()
        assert len(await stream.to_the_end()) == 400_000
    assert [result["Seq"] for result in results] == [*range(1, 1001)] * 400


async def test_large_items_make_small_lots(served: Served) -> None:
    served.services.gate = trio.Event()
    async with talk(served.port) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.send, line(1, "x" * 60_000) * 100)
        await trio.testing.wait_all_tasks_blocked(0.1)
        served.services.gate.set()
        await stream.answered(100)
    assert max(sum(len(item.data) for item in lot) for lot in served.services.lots) < 1.5 * (1 << 20)


async def test_who_reads_no_answer_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_TIMEOUT", 0.2)
    async with talk(served.port) as stream:
        with trio.fail_after(20), contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send(line(1, 1) * 10_000)


async def test_the_stop_of_the_tracker(served: Served) -> None:
    served.services.gate = trio.Event()
    async with talk(served.port) as stream, talk(served.port) as idle, talk(served.port) as half:
        await half.send(b'{"ID":1,')
        await stream.send(line(1, 1))
        await served.services.waiting.wait()
        await stream.send(line(2, 2) * 10)
        await trio.testing.wait_all_tasks_blocked(0.05)
        served.app.stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        served.services.gate.set()
        results = await stream.to_the_end()
        assert statuses(results) == [200, 503]
        assert "stops" in results[-1]["detail"]
        for other in (idle, half):
            assert statuses(await other.to_the_end()) == [503]
            assert other.complete
        assert stream.complete
    assert served.services.taken == 1
    with trio.fail_after(5):
        await served.finished.wait()


async def test_all_that_came_whole_before_the_stop_is_answered(served: Served) -> None:
    served.services.gate = trio.Event()
    async with talk(served.port) as stream:
        await stream.send(line(1, 1))
        await served.services.waiting.wait()
        await stream.send(line(2, 2) * 10)
        await stream.end()
        await trio.testing.wait_all_tasks_blocked(0.05)
        served.app.stopping.set()
        await trio.testing.wait_all_tasks_blocked(0.05)
        served.services.gate.set()
        assert statuses(await stream.to_the_end()) == [200] * 11
        assert stream.complete


async def test_a_client_that_closes_its_side_gets_its_answers(served: Served) -> None:
    async with talk(served.port) as stream:
        await stream.send(line(1, 1))
        await stream.answered(1)
        served.services.gate = trio.Event()
        await stream.send(line(2, 2) * 3000)
        await stream.end()
        await stream.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.1)
        served.services.gate.set()
        assert statuses(await stream.to_the_end()) == [200] * 3001
        assert stream.complete


async def test_a_client_that_leaves_while_its_items_wait(served: Served) -> None:
    served.services.gate = trio.Event()
    async with talk(served.port) as stream:
        await stream.send(line(1, 1))
        await served.services.waiting.wait()
    served.services.gate.set()
    await served.settled()
    assert served.services.lots == []


async def test_quiet_streams(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_stream, "KEEPALIVE", 0.02)
    monkeypatch.setattr(bulk_resource, "KEEPALIVE", 0.02)
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.4)
    async with talk(served.port) as stream:
        for _ in range(5):
            before = stream.keepalives
            while stream.keepalives < before + 5:
                await stream.answered_something()
            await stream.send(b"\n")
        results = await stream.to_the_end()
        assert statuses(results) == [408]
        assert "empty line" in results[0]["detail"]
        assert (stream.status, stream.complete) == (200, True)


async def test_an_array_has_to_come_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BULK_TIMEOUT", 0.2)
    async with talk(served.port, ("Content-Type", JSON)) as stream:
        await stream.send(b"[")
        await stream.answered_something()
        assert stream.status == 408


async def test_places(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BULK_TIMEOUT", 0.3)
    base_url = f"http://127.0.0.1:{served.port}"
    async with httpx.AsyncClient(base_url=base_url) as client, trio.open_nursery() as nursery:
        for _ in range(bulk_resource.STREAMS):
            await nursery.start(hold, served.port)
        check_problem(await post(client, line(1, 1), LINES), 503, "streams")
        served.services.gate = trio.Event()
        for _ in range(bulk_resource.ARRAYS):
            nursery.start_soon(post, client, b"[" + line(1, 1) + b"]")
        await trio.testing.wait_all_tasks_blocked(0.05)
        check_problem(await post(client, b"[" + line(1, 1) + b"]"), 503, "bulks")
        served.services.gate.set()
        nursery.cancel_scope.cancel()


async def test_places_are_given_back(served: Served) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        for _ in range(bulk_resource.ARRAYS + 1):
            assert (await post(client, b"[" + line(1, 1) + b"]")).status_code == 200
        for _ in range(bulk_resource.STREAMS + 1):
            assert (await post(client, line(1, 1), LINES)).status_code == 200


async def test_if_a_lot_of_an_array_does_not_get_in_the_others_are_not_tried(served: Served) -> None:
    served.services.away = True
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}") as client:
        body = b"[" + b",".join([line(1, 1)] * 5000)
        check_problem(await post(client, body + b"]"), 503, "log")
        assert statuses((await post(client, body + b",1]")).json()) == [503] * 5000 + [400]
    assert served.services.begun == 2 * LOT


async def test_the_stop_with_a_client_that_sends_as_much_as_it_can(served: Served) -> None:
    served.services.gate = trio.Event()
    async with talk(served.port) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await stream.send(line(1, "x" * 1000) * 1000)

        nursery.start_soon(send)
        await served.services.waiting.wait()
        await trio.testing.wait_all_tasks_blocked(0.1)
        served.app.stopping.set()
        served.services.gate.set()
        results = await stream.to_the_end()
        assert stream.complete
        nursery.cancel_scope.cancel()
    assert statuses(results) == [200] * served.services.taken + [503]
    with trio.fail_after(5):
        await served.finished.wait()


async def hold(port: int, *, task_status: trio.TaskStatus[None]) -> None:
    async with talk(port) as stream:
        await stream.send(line(1, 1))
        await stream.answered(1)
        task_status.started()
        await trio.sleep_forever()
