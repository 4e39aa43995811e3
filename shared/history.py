"""Reading the log: the events of some accounts after a position, in order, and what of them is gone.

Functions for asyncio, over a client of redis-py; `log.py` describes the keys, and crosses over to call them. A reading
changes nothing, in Redis or here: it takes a `Cursor` and gives another one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import redis.asyncio
import redis.exceptions

from shared.account_reading import AccountReading
from shared.frames import EventFrame, Gap
from shared.index_reading import IndexReading
from shared.position import START, Position
from shared.reading import META, TIMES, Cursor, Damage, Page, ask, digits


async def newest(client: redis.asyncio.Redis) -> Position:
    """The log's last Position."""
    epoch, number = await ask(client.hmget(META, ["epoch", "position"]))
    return Position(epoch.decode(errors="replace"), 0, digits(number or b"0")) if epoch else START


async def before_time(client: redis.asyncio.Redis, millis: int) -> Position:
    """A Position such that every event that the log took since then (Unix, in ms, by Redis' clock) comes after it."""
    position = await newest(client)
    try:
        found = await ask(client.xrevrange(TIMES, max=str(max(millis, 0)), count=1))
    except redis.exceptions.ResponseError:  # it is no stream
        found = []
    number = digits(found[0][1].get(b"before", b"")) if found else 0
    return position._replace(number=min(number, position.number))


async def read(
    client: redis.asyncio.Redis,
    accounts: Collection[int] | None,
    cursor: Cursor,
    limit: int,
    max_bytes: int,
    damage: Damage,
) -> Page:
    """Read the events of some accounts (None: of all) that come after `cursor`, at most `limit` of them and no more
    than `max_bytes`, but always one."""
    last = await newest(client)
    at = cursor.position
    told: list[EventFrame | Gap] = []
    if at == START:
        cursor = Cursor(last._replace(number=0))
    elif at.epoch != last.epoch or at.number > last.number:
        cursor = Cursor(last._replace(number=0))
        told.append(Gap(reason="epoch"))
    if cursor.position.number == last.number:
        return Page(told, replace(cursor, scan=None), 0)
    parameters = (client, cursor, last, limit, max_bytes, damage)
    if accounts is None:
        page = await IndexReading(*parameters).read()
    else:
        page = await AccountReading(*parameters).read(accounts)
    return replace(page, frames=told + page.frames)


async def read_back(
    client: redis.asyncio.Redis, account: int, before: Position | None, limit: int, max_bytes: int, damage: Damage
) -> Page:
    """Read the newest events of an account before a Position (None: of all), in order."""
    last = await newest(client)
    told: list[EventFrame | Gap] = []
    if before is not None and before != START and (before.epoch != last.epoch or before.number > last.number):
        told.append(Gap(reason="epoch"))
        before = None
    end = last.number + 1 if before is None else before.number
    reading = AccountReading(client, Cursor(last._replace(number=end)), last, limit, max_bytes, damage)
    page = await reading.read_back(account)
    return replace(page, frames=told + page.frames)
