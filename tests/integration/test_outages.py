"""PostgreSQL and Redis go away, freeze, and come back, while events flow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
import redis
import trio

from tests.integration.conftest import StartTracker
from tests.integration.fragile import Fragile, fragile_servers


@pytest.fixture
async def fragile() -> AsyncIterator[tuple[Fragile, Fragile]]:
    async with fragile_servers() as servers:
        yield servers


def logged(url: str, account: int) -> Counter[str]:
    """How often the log holds each datum of an account."""
    with redis.Redis.from_url(url) as client:
        entries = client.xrange(f"{{events:0}}:{account}")
    return Counter(json.loads(fields[b"event"])["Data"] for _, fields in entries)


async def until_ready(client: httpx.AsyncClient) -> None:
    with trio.fail_after(30):
        while (await client.get("/readyz")).status_code != 200:
            await trio.sleep(0.05)


async def until_not_ready(client: httpx.AsyncClient, part: str) -> None:
    """Return when this part is away, beside others or not."""
    with trio.fail_after(30):
        while (answer := await client.get("/readyz")).status_code == 200 or part not in answer.json()["detail"]:
            await trio.sleep(0.05)
    assert answer.headers["Retry-After"]


class Writer:
    """Sends numbered events to account 1 and remembers what the tracker said of each."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.statuses: dict[str, int] = {}

    async def run(self) -> None:
        number = 0
        while True:
            number += 1
            data = f"event {number}"
            with trio.CancelScope(shield=True):
                answer = await self._client.put("/1", params={"data": data})
            self.statuses[data] = answer.status_code
            await trio.sleep(0.002)

    async def until(self, status: int, count: int = 20) -> None:
        """Return when so many more events had this answer."""
        before = Counter(self.statuses.values())[status]
        with trio.fail_after(30):
            while Counter(self.statuses.values())[status] < before + count:
                await trio.sleep(0.01)

    def all_with(self, status: int) -> set[str]:
        return {data for data, said in self.statuses.items() if said == status}


async def test_redis_killed_while_events_flow(fragile: tuple[Fragile, Fragile], start_tracker: StartTracker) -> None:
    _, own_redis = fragile
    await own_redis.start()
    async with start_tracker(redis=own_redis.url) as client, trio.open_nursery() as nursery:
        writer = Writer(client)
        nursery.start_soon(writer.run)
        for _ in range(2):
            await writer.until(202)
            await own_redis.kill()
            await writer.until(503)
            await own_redis.start()
            await writer.until(202)
        nursery.cancel_scope.cancel()
    log = logged(own_redis.url, 1)
    assert set(writer.statuses.values()) <= {202, 503, 504}
    assert writer.all_with(202) <= set(log)
    assert not writer.all_with(503) & set(log)
    assert max(log.values()) == 1


async def test_redis_away_is_503_with_retry_after(
    fragile: tuple[Fragile, Fragile], start_tracker: StartTracker
) -> None:
    _, own_redis = fragile
    await own_redis.start()
    async with start_tracker(redis=own_redis.url) as client:
        await own_redis.kill()
        await until_not_ready(client, "log")
        answers = [await client.put("/1", params={"data": "x"}), await client.get("/")]
        for answer in answers:
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "2"
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert (await client.get("/1")).status_code == 200
        assert (await client.get("/livez")).status_code == 200
        await own_redis.start()
        await until_ready(client)
        assert (await client.put("/1", params={"data": "y"})).status_code == 202
    assert logged(own_redis.url, 1) == Counter(["y"])


async def test_redis_frozen(fragile: tuple[Fragile, Fragile], start_tracker: StartTracker) -> None:
    _, own_redis = fragile
    await own_redis.start()
    async with start_tracker(redis=own_redis.url, queue_size=3) as client:
        assert (await client.put("/1", params={"data": "before"})).status_code == 202
        own_redis.freeze()
        statuses: dict[str, int] = {}

        async def put(data: str) -> None:
            with trio.fail_after(5):
                statuses[data] = (await client.put("/1", params={"data": data})).status_code

        try:
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(put, f"event {number}")
        finally:
            own_redis.thaw()
        # 504 for those that were sent; none was if the one connection that was open waits for another answer.
        assert set(statuses.values()) <= {503, 504}
        await until_ready(client)
        with trio.fail_after(30):
            while (await client.put("/1", params={"data": "after"})).status_code != 202:
                await trio.sleep(0.1)
    log = logged(own_redis.url, 1)
    assert {"before", "after"} <= set(log)
    assert not {data for data, status in statuses.items() if status == 503} & set(log)
    assert max(log.values()) == 1


async def test_postgresql_away(fragile: tuple[Fragile, Fragile], start_tracker: StartTracker) -> None:
    postgres, _ = fragile
    await postgres.start()
    async with start_tracker(database=postgres.url) as client:
        assert (await client.put("/1", params={"data": "x"})).status_code == 202
        assert (await client.put("/1001", params={"data": "x"})).status_code == 404
        await postgres.kill()
        await until_not_ready(client, "database")
        assert (await client.put("/1", params={"data": "known"})).status_code == 202
        assert (await client.put("/1001", params={"data": "known to be none"})).status_code == 404
        for answer in (
            await client.put("/5000", params={"data": "not known"}),
            await client.get("/1"),
            await client.post("/", json={"Name": "new"}),
            await client.patch("/1", json={"IsActive": False}),
        ):
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "2"
        await postgres.start()
        await until_ready(client)
        assert (await client.put("/5000", params={"data": "x"})).status_code == 404
        assert (await client.get("/1")).json()["IsActive"] is True


async def test_postgresql_frozen(fragile: tuple[Fragile, Fragile], start_tracker: StartTracker) -> None:
    postgres, _ = fragile
    await postgres.start()
    async with start_tracker(database=postgres.url) as client:
        assert (await client.put("/1", params={"data": "x"})).status_code == 202
        postgres.freeze()
        try:
            with trio.fail_after(10):
                assert (await client.put("/1", params={"data": "known"})).status_code == 202
                assert (await client.put("/5000", params={"data": "not known"})).status_code == 503
                assert (await client.patch("/1", json={"Name": "x"})).status_code in (503, 504)
            await until_not_ready(client, "database")
        finally:
            postgres.thaw()
        await until_ready(client)
        assert (await client.put("/5000", params={"data": "x"})).status_code == 404


async def test_servers_come_after_the_tracker(
    fragile: tuple[Fragile, Fragile], start_tracker: StartTracker, capfd: pytest.CaptureFixture[str]
) -> None:
    postgres, own_redis = fragile
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        address = "127.0.0.1:{1}".format(*listener.socket.getsockname())
        await listener.aclose()
        ready = trio.Event()

        async def run_tracker() -> None:
            async with start_tracker(bind=address, database=postgres.url, redis=own_redis.url) as client:
                assert (await client.put("/1", params={"data": "x"})).status_code == 202
                ready.set()

        nursery.start_soon(run_tracker)
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            with trio.fail_after(20):
                while True:
                    try:
                        alive = await client.get("/livez")
                        break
                    except httpx.ConnectError:
                        await trio.sleep(0.05)
            assert alive.status_code == 200
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "database and log" in answer.json()["detail"]
            await trio.sleep(1)  # several tries
            await own_redis.start()
            await postgres.start()
            with trio.fail_after(30):
                await ready.wait()
    said = capfd.readouterr()
    assert (said.out + said.err).count("trying again") <= 3
