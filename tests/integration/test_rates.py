"""The rate over several trackers on one real Redis."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any, cast

import httpx
import redis
import trio

from shared import events
from shared.log import EventLog
from tests.integration.conftest import StartTracker
from tests.integration.fragile import fragile_servers


async def rate(client: httpx.AsyncClient) -> int:
    answer = await client.get("/")
    assert list(answer.json()) == ["Rate"]
    return int(answer.json()["Rate"])


async def test_the_rate_counts_all_trackers_and_falls_to_zero(start_tracker: StartTracker, redis_url: str) -> None:
    async with start_tracker() as one, start_tracker() as two, start_tracker() as three:
        trackers = [one, two, three]
        assert [await rate(tracker) for tracker in trackers] == [0, 0, 0]
        async with trio.open_nursery() as nursery:
            for tracker in trackers:
                nursery.start_soon(partial(tracker.put, "/1", params={"data": "x"}))
        assert [await rate(tracker) for tracker in trackers] == [3, 3, 3]
        await trio.sleep(1)
        assert [await rate(tracker) for tracker in trackers] == [0, 0, 0]


async def test_the_rate_is_right_under_a_steady_load(start_tracker: StartTracker, redis_url: str) -> None:
    # The load goes straight into the log, paced by the clock: what is tested is the counting, not this machine.
    per_tick, tick = 40, 0.02
    async with start_tracker() as client, trio.open_nursery() as nursery:
        numbers = count(1)
        logs = [EventLog(redis_url, f"tracker-{number}") for number in range(3)]
        for log in logs:
            await nursery.start(log.run)
        draft = events.draft(1, b'"x"', 0)
        started = trio.current_time()
        sent = 0
        found = []

        async def load() -> None:
            nonlocal sent
            while True:
                due = int((trio.current_time() - started) / tick) * per_tick - sent
                if due > 0:
                    await logs[sent % 3].append([draft] * due, next(numbers))
                    sent += due
                await trio.sleep(tick / 4)

        nursery.start_soon(load)
        await trio.sleep(1.5)
        for _ in range(9):
            found.append(await rate(client))
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    expected = per_tick / tick
    assert abs(statistics.median(found) - expected) <= 0.02 * expected, found


# The last minutes


async def recent(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/rates")
    assert answer.status_code == 200, answer.text
    return cast(dict[str, Any], answer.json())


async def until_events_are(client: httpx.AsyncClient, count: int) -> dict[str, Any]:
    with trio.fail_after(30):
        while sum((found := await recent(client))["Seconds"]) != count:
            await trio.sleep(0.05)
    return found


async def test_the_last_minutes_of_all_trackers(start_tracker: StartTracker) -> None:
    async with start_tracker(host="a") as one, start_tracker(host="b") as two, start_tracker(host="b") as three:
        nothing = await recent(one)
        assert list(nothing) == ["Rate", "Minute", "FiveMinutes", "Trackers", "Busiest", "Seconds", "Until"]
        assert (nothing["Seconds"], nothing["Trackers"], nothing["Busiest"]) == ([0] * 300, [], [])
        for tracker, account in [(one, 7), (one, 7), (two, 7), (two, 8), (three, 9), (three, 7)]:
            assert (await tracker.put(f"/{account}", params={"data": "x"})).status_code == 202
        assert (await one.post("/events", json=[{"ID": 8, "Data": 1}, {"ID": 8, "Data": 2}])).status_code == 200
        assert (await one.put("/99999", params={"data": "x"})).status_code == 404
        found = await until_events_are(two, 8)
        async with start_tracker(host="c") as late:
            assert sum((await recent(late))["Seconds"]) == 8
    assert [(tracker["Host"], tracker["Minute"]) for tracker in found["Trackers"]] == [("a", 0.07), ("b", 0.07)]
    assert [(account["ID"], account["FiveMinutes"]) for account in found["Busiest"]] == [(7, 0.01), (8, 0.01), (9, 0.0)]
    assert (found["Minute"], found["FiveMinutes"]) == (0.13, 0.03)
    age = datetime.now(UTC) - datetime.fromisoformat(found["Until"])
    assert timedelta(0) <= age < timedelta(seconds=30)
    assert sum(found["Seconds"][-30:]) == 8


async def test_what_others_wrote_there_is_skipped(client: httpx.AsyncClient, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        for fields in ({"tally": "junk"}, {"other": "x"}, {"tally": json.dumps({"host": 1})}):
            store.xadd("{events:0}:tallies", fields)
        await client.put("/7", params={"data": "x"})
        await until_events_are(client, 1)
        assert 0 < store.ttl("{events:0}:tallies") <= 600


async def test_tallies_of_before_are_dropped(client: httpx.AsyncClient, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as store:
        now = store.time()[0]
        old = {"tally": json.dumps({"host": "old", "events": 5, "accounts": [[1, 5]]})}
        for age in (500, 400, 310, 200):
            store.xadd("{events:0}:tallies", old, id=f"{(now - age) * 1000}-1")
        assert sum((await recent(client))["Seconds"]) == 5
        await client.put("/7", params={"data": "x"})
        found = await until_events_are(client, 6)
        assert [account["ID"] for account in found["Busiest"]] == [7, 1]
        assert found["Busiest"][1] == {"ID": 1, "Minute": 0.0, "FiveMinutes": 0.02}


async def test_the_last_minutes_survive_redis(start_tracker: StartTracker) -> None:
    async with fragile_servers() as (_, own_redis):
        await own_redis.start()
        async with start_tracker(redis=own_redis.url) as client:
            await client.put("/7", params={"data": "x"})
            await until_events_are(client, 1)
            await own_redis.kill()
            with trio.fail_after(30):
                while (answer := await client.get("/rates")).status_code != 503:
                    await trio.sleep(0.05)
            assert answer.headers["Retry-After"]
            assert "log" in answer.json()["detail"]
            await own_redis.start()
            with trio.fail_after(30):
                while (await client.put("/7", params={"data": "x"})).status_code != 202:
                    await trio.sleep(0.05)
            await until_events_are(client, 2)
