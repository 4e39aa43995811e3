"""Tallies: what each writer of the log committed in a second, kept for some minutes for all trackers to read.

Functions for asyncio, over a client of redis-py. They are a stream of their own beside the log: who reads them wants to
know how busy the trackers are, not what happened.
"""

from __future__ import annotations

import redis.asyncio

from shared.reading import ask

TALLIES = "{events:0}:tallies"

_MOST = 100_000
"""How many there may be, however many write them: five minutes of 300 processes."""
_EXPIRE = 600
_AT_ONCE = 1000


async def write(client: redis.asyncio.Redis, entry: bytes, keep: float) -> None:
    """Add a tally; drop those that are older than `keep` seconds."""
    seconds, _ = await ask(client.time())
    async with client.pipeline(transaction=True) as pipe:
        pipe.xadd(TALLIES, {b"tally": entry}, maxlen=_MOST)
        pipe.xtrim(TALLIES, minid=str(int((seconds - keep) * 1000)), approximate=True)
        pipe.expire(TALLIES, _EXPIRE)
        await pipe.execute()


async def read(client: redis.asyncio.Redis, after: str) -> tuple[float, list[tuple[str, bytes]]]:
    """Redis' clock, and the tallies after that one."""
    found: list[tuple[str, bytes]] = []
    while True:
        page = await ask(client.xrange(TALLIES, min=f"({after}", count=_AT_ONCE))
        for name, fields in page:
            after = name.decode()
            found.append((after, fields.get(b"tally", b"")))
        if len(page) < _AT_ONCE:
            seconds, micros = await ask(client.time())
            return seconds + micros / 1e6, found
