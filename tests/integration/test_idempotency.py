"""`Idempotency-Key`: the same request again is the same event."""

from __future__ import annotations

import json

import httpx
import pytest
import redis
import trio

from tests.integration.conftest import StartTracker


def stored(redis_url: str, account: int) -> list[str]:
    with redis.Redis.from_url(redis_url) as client:
        entries = client.xrange(f"{{events:0}}:{account}")
    return [json.loads(fields[b"event"])["Data"] for _, fields in entries]


async def test_the_same_key_is_the_same_event(client: httpx.AsyncClient, redis_url: str) -> None:
    async def put(account: int, data: str, key: str | None = None) -> str:
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await client.put(f"/{account}", params={"data": data}, headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
        return answer.headers["Event-Position"]

    first = await put(1, "a", "key")
    assert await put(1, "a", "key") == first
    assert await put(1, "not looked at", "key") == first
    assert await put(1, "b", "Key") != first
    assert await put(2, "c", "key") != first
    assert await put(1, "a") != first
    assert stored(redis_url, 1) == ["a", "b", "a"]
    assert stored(redis_url, 2) == ["c"]


async def test_over_several_trackers_at_the_same_time(start_tracker: StartTracker, redis_url: str) -> None:
    positions: list[str] = []
    async with start_tracker(host="a") as one, start_tracker(host="b") as other:

        async def put(client: httpx.AsyncClient) -> None:
            answer = await client.put("/1", params={"data": "x"}, headers={"Idempotency-Key": "k"})
            positions.append(answer.headers["Event-Position"])

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(put, one)
                nursery.start_soon(put, other)
    assert len(positions) == 40
    assert len(set(positions)) == 1
    assert stored(redis_url, 1) == ["x"]


async def test_what_was_refused_is_not_remembered(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert (await client.put("/1", headers=headers)).status_code == 400
    await client.patch("/1", json={"IsActive": False})
    assert (await client.put("/1", params={"data": "x"}, headers=headers)).status_code == 400
    await client.patch("/1", json={"IsActive": True})
    assert (await client.put("/1", params={"data": "x"}, headers=headers)).status_code == 202


@pytest.mark.parametrize("keys", [[b""], [b"x" * 256], [b"a", b"b"], [b"\xff"], [b"a\tb"]])
async def test_bad_keys(client: httpx.AsyncClient, redis_url: str, keys: list[bytes]) -> None:
    answer = await client.put("/1", params={"data": "x"}, headers=[(b"Idempotency-Key", key) for key in keys])
    assert answer.status_code == 400
    assert "1 to 255 visible ASCII" in answer.json()["detail"]
    assert stored(redis_url, 1) == []
