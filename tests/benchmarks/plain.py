"""The other side: what one would write at first with the same packages.

    python -m tests.benchmarks.plain DATABASE_URL REDIS_URL

`PUT /<id>?data=…` asks PostgreSQL whether the account is active and publishes to Redis, for each request;
`/events?account=<id>` is a WebSocket that gets each event of the account in a message of its own. No log, no commit.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from datetime import UTC, datetime

import asyncpg
import hypercorn.trio
import redis.asyncio
import trio
import trio_asyncio
from hypercorn.config import Config
from quart import request, websocket
from quart_trio import QuartTrio
from trio_asyncio import aio_as_trio

WAITING = 1000
"""How many events may wait for one follower. It is not sent those beyond."""


async def main(database_url: str, redis_url: str) -> None:
    async with trio_asyncio.open_loop(), trio.open_nursery() as nursery:
        pool = await aio_as_trio(asyncpg.create_pool)(database_url)
        client = redis.asyncio.Redis.from_url(redis_url)
        followers: dict[int, set[trio.MemorySendChannel[str]]] = defaultdict(set)
        nursery.start_soon(aio_as_trio(fan_out), client, followers)
        config = Config()
        config.bind = ["127.0.0.1:0"]
        [url] = await nursery.start(hypercorn.trio.serve, make_app(pool, client, followers), config)
        print(f"Serving on {url}", file=sys.stderr, flush=True)


def make_app(
    pool: asyncpg.Pool, client: redis.asyncio.Redis, followers: dict[int, set[trio.MemorySendChannel[str]]]
) -> QuartTrio:
    app = QuartTrio(__name__)

    @app.put("/<int:account>")
    async def put(account: int) -> tuple[str, int]:
        data = request.args.get("data")
        if data is None:
            return "There is no data.", 400
        active = await aio_as_trio(pool.fetchval)("select isActive from account where id = $1", account)
        if not active:
            return "There is no such account, or it is not active.", 400
        event = {"ID": account, "Timestamp": datetime.now(UTC).isoformat(), "Data": data}
        await aio_as_trio(client.publish)(f"events:{account}", json.dumps(event, separators=(",", ":")))
        return "", 202

    @app.websocket("/events")
    async def events() -> None:
        account = int(websocket.args["account"])
        send, receive = trio.open_memory_channel[str](WAITING)
        followers[account].add(send)
        try:
            await websocket.accept()
            async for event in receive:
                await websocket.send(event)
        finally:
            followers[account].discard(send)

    return app


async def fan_out(client: redis.asyncio.Redis, followers: dict[int, set[trio.MemorySendChannel[str]]]) -> None:
    """On asyncio: one subscription for all followers, and no crossing for each message."""
    subscription = client.pubsub()
    await subscription.psubscribe("events:*")
    async for message in subscription.listen():
        if message["type"] == "pmessage":
            account = int(message["channel"].removeprefix(b"events:"))
            event = message["data"].decode()
            for follower in followers[account]:
                try:
                    follower.send_nowait(event)
                except trio.WouldBlock:
                    continue


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
