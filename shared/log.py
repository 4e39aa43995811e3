"""The event log in Redis: what got a Position is in it, once, in order.

Layout, for whoever reads the log without this module. One shard, number 0, for now; every key of a shard carries the
Redis Cluster hash tag `{events:<shard>}`, so a script finds them all in one place.

`{events:0}:meta`   hash. `epoch`: a random word made with the log; a log that lost its data gets another one.
                    `position`: how many events the log has numbered. `appended`: when, in Unix microseconds by the
                    clock of Redis, the last batch came.
`{events:0}:seq`    hash. Account ID -> Seq of its last event.
`{events:0}:<id>`   stream, the newest events of one account, under the entry ID `<position>-<seq>`; the field `event`
                    is the event's JSON as every follower gets it. Trimmed by count, expiring some time after the
                    account's last event.

A Position is the text `<epoch>-<shard>-<position>`. A batch is appended by one script (`append.lua`): it numbers each
event, stores it, and publishes it on the channel `events:<id>`; and on the channel `events`, in the format of the Go
system that this one replaces, while someone listens there.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar, cast

import msgspec
import redis.asyncio
import redis.exceptions
import trio

from shared.aio import Bridge, open_bridge
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.redis_client import ANSWER_WITHIN, RedisRefused, call, connection_pool

T = TypeVar("T")

PART = "log"
META = "{events:0}:meta"
GO_CHANNEL = "events"
"""The channel of the Go system, which carries all accounts' events in its own format."""

_SCRIPT = files("shared").joinpath("append.lua").read_text()
_PING_EVERY = 1.0


def channel(account_id: int) -> str:
    """The channel on which an account's events are published."""
    return f"events:{account_id}"


@dataclass(frozen=True)
class Appended:
    """Where an event stands in the log."""

    position: str
    seq: int


@dataclass(frozen=True)
class Counters:
    """What the log counts, at one instant of Redis' clock. Times are Unix seconds."""

    epoch: str
    position: int
    appended_at: float
    now: float


class EventLog:
    """The log, usable from any trio task while its service `run` is up."""

    def __init__(self, url: str, host: str, *, keep: int = 1000, expire: int = 7 * 86400, go_channel: bool = True):
        """Make a log that writes as `host`, keeps `keep` events an account for `expire` seconds after its last."""
        self._url = url
        self._host = msgspec.json.encode(host)
        self._keep = keep
        self._expire = expire
        self._go_channel = GO_CHANNEL if go_channel else ""
        self._bridge: Bridge | None = None
        self._redis: redis.asyncio.Redis | None = None
        self._sha = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: hold the connections to Redis; ready when Redis answers.

        Raises Unavailable when Redis is away or does not answer a ping within 3 s.
        """
        async with open_bridge(PART) as bridge:
            self._redis = redis.asyncio.Redis(connection_pool=connection_pool(self._url))
            try:
                self._sha = await _call(bridge, self._prepare)
                self._bridge = bridge
                task_status.started()
                while True:
                    await trio.sleep(_PING_EVERY)
                    await _call(bridge, self._ping)
            finally:
                self._bridge = None
                with trio.move_on_after(1, shield=True), contextlib.suppress(Unavailable):
                    await _call(bridge, self._redis.connection_pool.disconnect)

    async def append(self, batch: Sequence[Draft]) -> list[Appended]:
        """Commit a batch: number, store and publish its events. Returns where each one stands, in order.

        Raises Unavailable if certainly nothing was appended, and OutcomeUnknown if the answer was lost, or Redis
        stopped in the middle (which takes a log that others have written to).
        """
        arguments: list[bytes | str | int] = [0, secrets.token_hex(6), self._host, self._keep, self._expire]
        arguments.append(self._go_channel)
        for draft in batch:
            arguments += (draft.account_id, draft.head)
        sent = False

        async def evaluate() -> list[bytes | int]:
            nonlocal sent
            async with self._connection() as connection:
                sent = True
                try:
                    await connection.send_command("EVALSHA", self._sha, 1, META, *arguments)
                    return cast("list[bytes | int]", await connection.read_response())
                except redis.exceptions.NoScriptError:
                    await connection.send_command("EVAL", _SCRIPT, 1, META, *arguments)
                    return cast("list[bytes | int]", await connection.read_response())

        try:
            answers = await _call(self._bridge, evaluate)
        except Unavailable as error:
            answered = isinstance(error, RedisRefused) and not error.reason.startswith("PARTIAL")
            if sent and not answered:
                raise OutcomeUnknown(PART, error.reason) from error
            raise
        numbers = iter(answers)
        return [
            Appended(cast(bytes, position).decode(), cast(int, seq))
            for position, seq in zip(numbers, numbers, strict=True)
        ]

    async def counters(self) -> Counters:
        """What the log has counted so far. Raises Unavailable."""
        epoch, position, appended_at, now = await _call(self._bridge, self._read_counters)
        seconds, micros = now
        return Counters(
            epoch=(epoch or b"").decode(),
            position=int(position or 0),
            appended_at=int(appended_at or 0) / 1e6,
            now=int(seconds) + int(micros) / 1e6,
        )

    async def _prepare(self) -> str:
        return await self._client.script_load(_SCRIPT)

    async def _ping(self) -> None:
        await self._client.ping()

    async def _read_counters(self) -> tuple[bytes | None, bytes | None, bytes | None, tuple[int, int]]:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hmget(META, ["epoch", "position", "appended"])
            pipe.time()
            (epoch, position, appended_at), now = await pipe.execute()
        return epoch, position, appended_at, now

    @property
    def _client(self) -> redis.asyncio.Redis:
        assert self._redis is not None
        return self._redis

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        try:
            yield connection
        except redis.exceptions.ResponseError:
            raise
        except BaseException:
            await connection.disconnect(nowait=True)  # its answer may still come, and must not meet a later command
            raise
        finally:
            await pool.release(connection)


async def _call(bridge: Bridge | None, operation: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(operation(), ANSWER_WITHIN)

    return await call(bridge, PART, bounded)
