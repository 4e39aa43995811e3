"""What /metrics says after things have happened."""

from __future__ import annotations

from contextlib import aclosing

import httpx
import pytest
import trio
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.conftest import StartTracker
from tests.integration.fragile import fragile_servers
from tests.integration.websockets import websocket


async def read(client: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = (await client.get("/metrics")).text
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def websocket_url(client: httpx.AsyncClient, query: str) -> str:
    return f"{client.base_url}/events?{query}".replace("http://", "ws://")


class Change:
    """How much metrics rose since this was made: counters are those of the whole process, in which other tests ran."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._before: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    async def begin(self) -> Change:
        self._before = await read(self._client)
        return self

    async def of(self, name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return (await read(self._client)).get(key, 0) - self._before.get(key, 0)

    async def comes_to(self, value: float, name: str, **labels: str) -> None:
        with trio.fail_after(5):
            while await self.of(name, **labels) != value:
                await trio.sleep(0.02)


@pytest.fixture
async def change(client: httpx.AsyncClient) -> Change:
    return await Change(client).begin()


async def test_events_are_counted_as_accepted_or_refused_with_the_reason(
    client: httpx.AsyncClient, change: Change
) -> None:
    await client.patch("/5", json={"IsActive": False})
    for _ in range(3):
        assert (await client.put("/1?data=x")).status_code == 202
    assert (await client.put("/1001?data=x")).status_code == 404
    assert (await client.put("/5?data=x")).status_code == 400
    assert (await client.put("/1")).status_code == 400
    assert (await client.put("/x?data=x")).status_code == 400
    assert (await client.put("/1", content=b"x" * 70_000)).status_code == 413
    lines = b'{"ID":1,"Data":1}\n{"ID":1001,"Data":1}\n{"ID":2,"Data":1}\njunk\n'
    bulk = await client.post("/events", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert bulk.status_code == 200
    assert await change.of("tracker_events_accepted_total") == 5
    for reason, count in {"no_such_account": 2, "not_active": 1, "bad_request": 3, "too_large": 1}.items():
        assert await change.of("tracker_events_refused_total", reason=reason) == count, reason
    assert await change.of("tracker_batch_events_sum") == 5
    assert await change.of("tracker_batch_events_count") == 4
    assert await change.of("tracker_append_seconds_count") == await change.of("tracker_batch_events_count")
    assert await change.of("tracker_append_seconds_sum") > 0


async def test_requests_are_counted_by_route_and_status(client: httpx.AsyncClient, change: Change) -> None:
    await client.put("/1?data=x")
    await client.put("/1001?data=x")
    await client.put("/2?data=x", headers={"X-Not-Plain": "1", "Transfer-Encoding": "chunked"})
    await client.get("/1")
    await client.get("/events?account=1")
    await client.request("BREW", "/1")
    await client.request("STEEP", "/no/such")
    for method, route, status, count in [
        ("PUT", "/<id>", "202", 2),
        ("PUT", "/<id>", "404", 1),
        ("GET", "/<id>", "200", 1),
        ("GET", "/events", "200", 1),
        ("other", "none", "405", 1),
        ("other", "none", "404", 1),
    ]:
        given = {"method": method, "route": route, "status": status}
        assert await change.of("tracker_http_requests_total", **given) == count, given


async def test_streams_are_counted_by_transport(client: httpx.AsyncClient, change: Change) -> None:
    async def stream(accept: str) -> None:
        asking = client.stream("GET", "/events?account=1&since=all", headers={"Accept": accept})
        async with asking as answer, aclosing(answer.aiter_bytes()) as pieces:
            async for _ in pieces:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream, "text/event-stream")
        nursery.start_soon(stream, "application/x-ndjson")
        async with websocket(websocket_url(client, "account=1&since=all")) as socket:
            for transport in ("websocket", "sse", "ndjson"):
                await change.comes_to(1, "tracker_followers", transport=transport)
                await change.comes_to(1, "tracker_stream_frames_total", transport=transport)  # ready
            await client.put("/1?data=x")
            while '"Data"' not in await socket.get_message():
                pass
            for transport in ("websocket", "sse", "ndjson"):
                await change.comes_to(2, "tracker_stream_frames_total", transport=transport)
                assert await change.of("tracker_stream_bytes_total", transport=transport) > 150
        nursery.cancel_scope.cancel()
    for transport in ("websocket", "sse", "ndjson"):
        await change.comes_to(0, "tracker_followers", transport=transport)
    given = {"method": "WEBSOCKET", "route": "/events", "status": "101"}
    assert await change.of("tracker_http_requests_total", **given) == 1


async def test_gaps_are_counted_by_reason(start_tracker: StartTracker) -> None:
    async with start_tracker(keep_events=2) as client:
        change = await Change(client).begin()
        first = (await client.put("/1?data=x")).headers["Event-Position"]
        for _ in range(4):
            await client.put("/1?data=x")
        async with websocket(websocket_url(client, f"account=1&since={first}")) as socket:
            while '"gap"' not in await socket.get_message():
                pass
        await change.comes_to(1, "tracker_stream_gaps_total", reason="trimmed")


async def test_connections(client: httpx.AsyncClient, change: Change) -> None:
    port = client.base_url.port
    assert port is not None
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
    await streams[0].send_all(b"PUT /1?data=x HTTP/1.1\r\nHost: t\r\n\r\n")
    await change.comes_to(3, "tracker_connections")
    assert await change.of("tracker_connections_accepted_total") == 3
    for stream in streams:
        await stream.aclose()
    await change.comes_to(0, "tracker_connections")


async def test_services_that_were_started_again(start_tracker: StartTracker) -> None:
    async with fragile_servers() as (_, redis):
        await redis.start()
        async with start_tracker(redis=redis.url) as client:
            change = await Change(client).begin()
            await redis.kill()
            await change.comes_to(-1, "tracker_service_up", service="log")
            assert (await client.put("/1?data=x")).status_code == 503
            assert await change.of("tracker_events_refused_total", reason="unavailable") == 1
            await redis.start()
            await change.comes_to(0, "tracker_service_up", service="log")
            assert await change.of("tracker_service_restarts_total", service="log") >= 1
            assert await change.of("tracker_service_restarts_total", service="database") == 0


async def test_the_rate_and_the_queue(client: httpx.AsyncClient) -> None:
    async def rate() -> float:
        return (await read(client))["tracker_rate_events_per_second", frozenset()]

    with trio.fail_after(10):
        while await rate() != 0:  # what the tracker of another test has left
            await trio.sleep(0.05)
        while await rate() == 0:
            await client.put("/1?data=x")
    assert (await read(client))["tracker_queue_events", frozenset()] == 0


async def test_both_formats_can_be_read_by_their_own_parsers(client: httpx.AsyncClient) -> None:
    await client.put("/1?data=x")
    plain = await client.get("/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert any(family.name == "tracker_events_accepted" for family in text_string_to_metric_families(plain.text))
    headers = {"Accept": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
    answer = await client.get("/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(answer.text)}
    assert families["tracker_events_accepted"].type == "counter"
    ours = [family for name, family in families.items() if name.startswith("tracker_")]
    labels = {label for family in ours for sample in family.samples for label in sample.labels}
    assert labels <= {"method", "route", "status", "reason", "transport", "service", "le"}
