"""Streams of whole trackers, on real servers."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import trio

from tests.integration.conftest import StartTracker
from tests.integration.test_process import tracker
from tests.integration.test_streams import KINDS, Socket, Stream
from tests.integration.websockets import websocket


@contextlib.asynccontextmanager
async def stream(url: Any, query: str, accept: str, **headers: str) -> AsyncIterator[Stream]:
    parts = urlsplit(str(url))
    assert parts.port
    async with await trio.open_tcp_stream("127.0.0.1", parts.port) as connection:
        found = Stream(connection)
        await found.ask(query, accept, headers)
        yield found


async def test_every_way_shows_the_same_events_from_every_tracker(start_tracker: StartTracker) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(start_tracker(host=host)) for host in ("a", "b")]
        streams: list[Stream | Socket] = []
        for accept in KINDS:
            streams.append(await stack.enter_async_context(stream(first.base_url, "account=1&account=2", accept)))
            streams.append(await stack.enter_async_context(stream(second.base_url, "account=all", accept)))
        for client, query in ((first, "account=1&account=2"), (second, "account=all")):
            port = urlsplit(str(client.base_url)).port
            assert port
            streams.append(Socket(await stack.enter_async_context(websocket(f"ws://127.0.0.1:{port}/events?{query}"))))
        for each in streams:
            assert (await each.frames(1))[0]["Frame"] == "ready"
        positions = []
        for number in range(60):
            client = first if number % 2 else second
            answer = await client.put(f"/{1 + number % 3 % 2}", json={"number": number})
            positions.append(answer.headers["Event-Position"])
        for each in streams:
            frames = await each.frames(60)
            assert [frame["Data"]["number"] for frame in frames] == list(range(60))
            assert [frame["Position"] for frame in frames] == positions

        async with stream(first.base_url, "account=all", KINDS[0], **{"Last-Event-ID": positions[29]}) as resumed:
            frames = await resumed.frames(31)
            assert [frame.get("Position") for frame in frames] == [*positions[30:], positions[-1]]
            assert frames[-1]["Frame"] == "ready"
        seen: list[dict[str, Any]] = []
        query = "/events?account=all&limit=7"
        while query:
            page = await second.get(query)
            seen += page.json()["Events"]
            query = page.links.get("next", {}).get("url", "")
        assert [frame["Position"] for frame in seen] == positions
        for position in ("0123456789ab-0-5", positions[0].rpartition("-")[0] + "-99999"):
            page = (await first.get("/events", params={"account": "all", "since": position})).json()
            assert page["Gaps"][0]["Reason"] == "epoch"
        missing = await first.get("/events?account=99999999&account=1")
        assert missing.json()["Errors"][0]["ID"] == 99999999
        assert (await first.get("/events?account=99999999")).status_code == 404


async def test_a_bad_log_shows_no_bad_streams(start_tracker: StartTracker, redis_url: str) -> None:
    async with start_tracker() as client, stream(client.base_url, "account=1", KINDS[1]) as following:
        await following.frames(1)
        with redis.Redis.from_url(redis_url) as store:
            for junk in (b"junk", b"\xff\xfe", b'{"Frame":"bye","Reason":"x","Retry":true}', b"[" * 5000, b'{"ID":1}'):
                store.publish("events:1", junk)
        await client.put("/1?data=x")
        assert [frame.get("Data") for frame in await following.frames(1)] == ["x"]


@pytest.mark.parametrize("reading", [True, False])
async def test_a_process_with_many_streams_stops_soon(database_url: str, redis_url: str, reading: bool) -> None:
    ended: list[int] = []

    async def follow(port: int, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        if number % 2:
            async with websocket(f"ws://127.0.0.1:{port}/events?account=all") as client:
                await Socket(client).frames(1)
                task_status.started()
                with trio.fail_after(30):
                    frames, code = await Socket(client).closed()
                assert frames[-1] == {"Frame": "bye", "Reason": "shutdown", "Retry": True}
                ended.append(code)
        else:
            async with stream(f"http://127.0.0.1:{port}", "account=all", KINDS[number // 2 % 2]) as client:
                await client.frames(1)
                task_status.started()
                assert (await client.rest())[-1]["Frame"] == "bye"
                ended.append(0)

    async with tracker("--database", database_url, "--redis", redis_url) as running:
        port = urlsplit(await running.url()).port
        assert port
        async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
            for number in range(100):
                await nursery.start(follow, port, number)
            if not reading:
                idle = await stack.enter_async_context(stream(f"http://127.0.0.1:{port}", "account=1", KINDS[1]))
                await idle.frames(1)
            running.process.send_signal(signal.SIGTERM)
            started = trio.current_time()
            with trio.fail_after(30):
                assert await running.process.wait() == 0
            assert trio.current_time() - started < 8
    assert sorted(ended) == [0] * 50 + [1001] * 50
    assert json.dumps(running.said.decode()).count("Traceback") == 0
