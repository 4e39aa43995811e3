"""The rate over several trackers on one real Redis."""

from __future__ import annotations

import statistics
from functools import partial
from itertools import count

import httpx
import trio

from shared import events
from shared.log import EventLog
from tests.integration.conftest import StartTracker


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
