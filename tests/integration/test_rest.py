"""The REST resources, as clients see them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import httpx
import msgspec
import pytest
import redis
import structlog.testing
import trio

from shared.appending import Appended
from shared.errors import OutcomeUnknown, Unavailable
from shared.supervision import Health
from tracker.http import server
from tracker.http.app import create_app

JSON = {"Content-Type": "application/json"}
TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def check_problem(answer: httpx.Response, status: int, title: str, detail: str = "") -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", title, status)
    assert detail in problem["detail"]


@contextmanager
def subscribed(redis_url: str, *channels: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as connection, connection.pubsub() as subscription:
        subscription.subscribe(*channels)
        for _ in channels:
            assert subscription.get_message(timeout=5)["type"] == "subscribe"
        yield subscription


def published(subscription: Any) -> str:
    message = subscription.get_message(timeout=5)
    assert message is not None
    return cast(bytes, message["data"]).decode()


# Events


async def test_put_is_accepted_with_its_position(client: httpx.AsyncClient) -> None:
    answer = await client.put("/7", params={"data": "test data"})
    assert (answer.status_code, answer.content) == (202, b"")
    assert "content-type" not in answer.headers
    assert answer.headers["Content-Length"] == "0"
    epoch, shard, number = answer.headers["Event-Position"].split("-")
    assert (len(epoch), shard, number) == (12, "0", "1")
    again = await client.put("/8", content="more")
    assert again.headers["Event-Position"] == f"{epoch}-0-2"


async def test_an_event_is_published_as_the_contract_has_it(client: httpx.AsyncClient, redis_url: str) -> None:
    with subscribed(redis_url, "events:7") as events:
        for seq, sent in enumerate(("test data", 'a "quoted"\\\n\té✓😀\x00\x1b[31m'), 1):
            answer = await client.put("/7", params={"data": sent})
            event = published(events)
            position = answer.headers["Event-Position"]
            assert re.fullmatch(
                rf'{{"ID":7,"Timestamp":"{TIMESTAMP}","Data":(".*"),"Host":"here","Position":"{position}","Seq":{seq}}}',
                event,
            )
            assert msgspec.json.decode(event)["Data"] == sent
            assert not re.search("[\x00-\x1f]", event)


async def test_each_account_counts_its_own_events(client: httpx.AsyncClient, redis_url: str) -> None:
    with subscribed(redis_url, "events:1", "events:2") as events:
        for account in (1, 2, 1, 1, 2):
            await client.put(f"/{account}?data=x")
        numbers = [(event["ID"], event["Seq"]) for event in (msgspec.json.decode(published(events)) for _ in range(5))]
    assert numbers == [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)]


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ('{"a": [1, 2.50, null],\n "b": "ü"}', '{"a":[1,2.50,null],"b":"ü"}'),
        ('"text"', '"text"'),
        (" null ", "null"),
        ("12345678901234567890123456789.10", "12345678901234567890123456789.10"),
        ("{}", "{}"),
    ],
)
async def test_a_json_body_is_kept_as_a_value(client: httpx.AsyncClient, redis_url: str, body: str, data: str) -> None:
    with subscribed(redis_url, "events:7") as events:
        answer = await client.put("/7", content=body, headers={"Content-Type": "application/json; charset=utf-8"})
        assert answer.status_code == 202
        assert f'"Data":{data},"Host"' in published(events)


async def test_the_go_format_goes_to_its_channel(client: httpx.AsyncClient, redis_url: str) -> None:
    await client.put("/7?data=unheard")
    with subscribed(redis_url, "events") as events:
        await client.put("/7?data=test+data")
        assert re.fullmatch(rf'{{"ID":7,"Timestamp":"{TIMESTAMP}","Data":"test data \[here\]"}}', published(events))
        await client.put("/7", content='{"a":"b"}', headers=JSON)
        assert msgspec.json.decode(published(events))["Data"] == '{"a":"b"} [here]'


async def test_the_go_format_can_be_turned_off(start_tracker: Any, redis_url: str) -> None:
    async with start_tracker(go_channel=False) as client:
        with subscribed(redis_url, "events", "events:7") as events:
            await client.put("/7?data=x")
            assert '"Seq":1' in published(events)


async def test_put_is_refused(client: httpx.AsyncClient) -> None:
    check_problem(await client.put("/1001?data=x"), 404, "Not Found", "There is no account 1001.")
    await client.patch("/9", json={"IsActive": False})
    check_problem(await client.put("/9?data=x"), 400, "Bad Request", "Account 9 is not active.")
    await client.patch("/9", json={"IsActive": True})
    assert (await client.put("/9?data=x")).status_code == 202


# Accounts


async def test_an_account_is_made_read_and_changed(client: httpx.AsyncClient) -> None:
    made = await client.post("/", json={"Name": "Zoë", "IsActive": False})
    assert (made.status_code, made.headers["Location"]) == (201, "/1001")
    assert made.content == '{"ID":1001,"Name":"Zoë","IsActive":false}'.encode()
    assert made.headers["Content-Type"] == "application/json"
    got = await client.get("/1001")
    assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, made.content, "application/json")
    changed = await client.patch("/1001", json={"IsActive": True})
    assert (changed.status_code, changed.content) == (200, '{"ID":1001,"Name":"Zoë","IsActive":true}'.encode())
    changed = await client.patch("/1001", json={"Name": "Zoe"})
    assert changed.content == b'{"ID":1001,"Name":"Zoe","IsActive":true}'
    changed = await client.patch("/1001", json={"Name": "Z", "IsActive": False})
    assert changed.content == b'{"ID":1001,"Name":"Z","IsActive":false}'
    assert (await client.get("/1001")).content == changed.content


async def test_an_account_is_active_unless_said(client: httpx.AsyncClient) -> None:
    assert (await client.post("/", json={"Name": "n"})).json()["IsActive"] is True


async def test_the_first_accounts_are_there(client: httpx.AsyncClient) -> None:
    assert re.fullmatch(rb'{"ID":1000,"Name":"[0-9a-f]+","IsActive":true}', (await client.get("/1000")).content)
    check_problem(await client.get("/1001"), 404, "Not Found", "There is no account 1001.")
    check_problem(await client.patch("/1001", json={"Name": "n"}), 404, "Not Found", "There is no account 1001.")


async def test_the_rate_counts_what_was_accepted(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.content, answer.headers["Content-Type"]) == (b'{"Rate":0}', "application/json")
    started = trio.current_time()
    for _ in range(5):
        await client.put("/7?data=x")
    rate = (await client.get("/")).json()
    if trio.current_time() - started < 0.9:  # on a machine that is not far too slow for it
        assert rate == {"Rate": 5}


# Methods


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/", "GET HEAD OPTIONS POST"),
        ("/7", "GET HEAD OPTIONS PATCH PUT"),
        ("/events", "GET HEAD OPTIONS POST"),
        ("/livez", "GET HEAD OPTIONS"),
        ("/accounts", "GET HEAD OPTIONS"),
    ],
)
async def test_methods(client: httpx.AsyncClient, path: str, methods: str) -> None:
    options = await client.options(path)
    assert (options.status_code, options.content) == (200, b"")
    assert sorted(options.headers["Allow"].split(", ")) == methods.split()
    assert "content-type" not in options.headers
    for method in {"DELETE", "PUT", "BREW", "POST"} - set(methods.split()):
        refused = await client.request(method, path)
        check_problem(refused, 405, "Method Not Allowed")
        assert sorted(refused.headers["Allow"].split(", ")) == methods.split()


async def test_head(client: httpx.AsyncClient) -> None:
    for path in ("/", "/7", "/1001", "/abc", "/livez", "/readyz"):
        get, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


async def test_paths_that_are_none(client: httpx.AsyncClient) -> None:
    for path in ("/7/", "/7/8", "/livez/", "/favicon.ico/x"):
        check_problem(await client.get(path), 404, "Not Found")


# Operations, and servers that are away


async def test_the_probes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).content == b'{"Status":"alive"}'
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.content) == (200, b'{"Status":"ready"}')


class Failing:
    """Tracking, accounts and rates, which all fail."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def accept(self, account: int, data: bytes, key: str = "") -> Appended:
        raise self.error

    async def get(self, account: int) -> None:
        raise self.error

    async def create(self, name: str, is_active: bool) -> None:
        raise self.error

    async def update(self, account: int, name: str | None, is_active: bool | None) -> None:
        raise self.error

    async def per_second(self) -> int:
        raise self.error


@asynccontextmanager
async def serving(error: Exception, *healths: Health) -> AsyncIterator[httpx.AsyncClient]:
    anything: Any = Failing(error)
    app = create_app(anything, anything, anything, anything, healths, anything, anything, max_data=100, max_followers=1)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, app, listeners)
        port = listeners[0].socket.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
        app.stopping.set()


async def everything(client: httpx.AsyncClient) -> list[httpx.Response]:
    return [
        await client.get("/"),
        await client.get("/7"),
        await client.post("/", json={"Name": "n"}),
        await client.patch("/7", json={"Name": "n"}),
        await client.put("/7?data=x"),
    ]


async def test_what_was_certainly_not_done_is_a_503() -> None:
    async with serving(Unavailable("log", "secret reason")) as client:
        for answer in await everything(client):
            check_problem(answer, 503, "Service Unavailable", "The log is not available right now. Nothing was done")
            assert int(answer.headers["Retry-After"]) >= 1
            assert "secret" not in answer.text


async def test_what_may_have_been_done_is_a_504() -> None:
    async with serving(OutcomeUnknown("log", "secret reason")) as client:
        for answer in await everything(client):
            check_problem(answer, 504, "Gateway Timeout", "It may have been done or not")
            assert "Retry-After" not in answer.headers
            assert "secret" not in answer.text


async def test_a_fault_is_a_500_that_tells_nothing() -> None:
    async with serving(ZeroDivisionError("secret")) as client:
        with structlog.testing.capture_logs() as logged:
            answers = await everything(client)
        assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["request failed"] * 5
        for answer in answers:
            check_problem(answer, 500, "Internal Server Error")
            assert "secret" not in answer.text


async def test_not_ready_says_which_part() -> None:
    database, log = Health("database", lambda *_: None), Health("log", lambda *_: None)
    async with serving(ZeroDivisionError(), database, log) as client:
        check_problem(await client.get("/readyz"), 503, "Service Unavailable", "Not ready: database and log.")
        assert (await client.get("/livez")).status_code == 200
        database.came_up()
        answer = await client.get("/readyz")
        check_problem(answer, 503, "Service Unavailable", "Not ready: log.")
        assert "Retry-After" in answer.headers
        log.came_up()
        assert (await client.get("/readyz")).status_code == 200
