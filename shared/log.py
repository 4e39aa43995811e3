"""The event log in Redis: what got a Position is in it, once, in order.

Layout, for whoever reads the log without this module. One shard, number 0, for now; every key of a shard carries the
Redis Cluster hash tag `{events:<shard>}`, so a script finds them all in one place. A number is an event's place in the
shard: 1, 2, 3 …, all accounts counted together.

`{events:0}:meta`   hash. `epoch`: a random word of 12 hexadecimal digits, made with the log; a log that lost its data
                    gets another one. `position`: the number of the last event. `appended`: when the last event came, in
                    Unix microseconds by the clock of Redis. `ticked`: when `times` was last written, in milliseconds.
`{events:0}:<id>`   stream, the newest events of one account, under the entry ID `<number>-<seq>`. Field `event`: the
                    event's JSON as every follower gets it. Field `after`: the number of the account's event before this
                    one, 0 if there was none, with ` expired` behind it if the stream had expired meanwhile. Trimmed by
                    count (exactly), expiring some time after the account's last event.
`{events:0}:last`   hash. Account ID -> the entry ID of its last event, kept when the stream itself has expired.
`{events:0}:index`  stream, the newest events of all accounts in order, under the entry ID `<number>-<account ID>`; the
                    field `seq` is the event's Seq. Trimmed by count (roughly), expiring as the streams do.
`{events:0}:times`  stream, at most one entry a second, under the ID `<Unix milliseconds>-0` by the clock of Redis; the
                    field `before` is the number of the last event that had come by then.
`{events:0}:batch:<sender>`      what the sender's last batch was and got for an answer, for 10 minutes.
`{events:0}:key:<id>:<digest>`   `<number> <seq>` of the event that had this idempotency key, for 10 minutes. The digest
                    is BLAKE2b of the key, 16 bytes in hexadecimal.
`<key>:damaged`     what stood in the place of one of these streams, and was none.

A Position is the text `<epoch>-<shard>-<number>`; `start-0-0` is before the first event of any log. Seq is the event's
number within its account, without holes, and goes on when events are trimmed or expire.

A batch is appended by one script (`append.lua`), so nothing comes between: it numbers each event, stores it, and
publishes it on the channel `events:<id>`; and on the channel `events`, in the format of the Go system that this one
replaces, while someone listens there. A batch that is sent again gets the answer that it got the first time, and one
that arrives after a later batch of the same sender is refused; so an append that got no answer can be repeated. An
event whose idempotency key the account had within 10 minutes is not stored again, but gets the same Position and Seq.

A log that lost its end (a Redis without `appendfsync always`, or restored from an older copy) gets another epoch, too,
as soon as a writer that has seen more appends to it: else Positions would be given twice. The events that it still has
keep the Positions that they were given.

An entry of the streams that is no event of this log (foreign, damaged) is skipped by readers and counted; if it stands
in the way of an append, it is removed, or its key renamed. Junk in `meta`, or a key of another type in the place of
`last`, makes appends fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TypeVar, TypeVarTuple

import redis.asyncio
import trio

from shared import history, tallying
from shared.aio import Bridge, open_bridge
from shared.appending import Appended, Appender
from shared.errors import Unavailable
from shared.events import Draft
from shared.frames import EventFrame
from shared.position import START, Position, Since
from shared.reading import META, Cursor, Page, digits, number_of
from shared.redis_client import ANSWER_WITHIN, call, connection_pool

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PART = "log"
WAYS = 2
"""How many batches may be under way at once, each on a connection of its own."""
GO_CHANNEL = "events"
"""The channel of the Go system, which carries all accounts' events in its own format."""
READ_BYTES = 1 << 20
"""How many bytes of events one reading returns, at most, unless a single one is larger."""
_PING_EVERY = 1.0
_READ_WITHIN = 60.0
"""For how many seconds one reading may go through the index; each answer of Redis must come within ANSWER_WITHIN."""
_CLOCKS_DIFFER = 10.0
"""How many seconds may lie between an event's Timestamp and its place in `times`: it waits for the log for 4.5 s at
most, and the clocks of trackers and Redis differ."""
_REPORTED = 1000
"""How many damaged entries are remembered as reported already."""


def channel(account_id: int) -> str:
    """The channel on which an account's events are published."""
    return f"events:{account_id}"


@dataclass(frozen=True)
class Counters:
    """What the log counts, at one instant of Redis' clock. Times are Unix seconds."""

    epoch: str
    position: int
    appended_at: float
    now: float


class EventLog:
    """The log, usable from any trio task while its service `run` is up."""

    def __init__(
        self,
        url: str,
        host: str,
        *,
        keep: int = 1000,
        expire: int = 7 * 86400,
        keep_index: int = 1_000_000,
        go_channel: bool = True,
        appends: bool = True,
        on_damage: Callable[[str], object] = lambda text: None,
    ):
        """Make a log that writes as `host`, keeps `keep` events an account for `expire` seconds after its last, and
        knows the order of the newest `keep_index` events of all accounts. With `appends` off it is only read.

        `on_damage` is told once of each entry that is no event. `damaged` counts them.
        """
        self.damaged = 0
        self._url = url
        self._appends = appends
        self._appenders = [
            Appender(
                url,
                PART,
                host,
                keep=keep,
                expire=expire,
                keep_index=keep_index,
                go_channel=GO_CHANNEL if go_channel else "",
            )
            for _ in range(WAYS)
        ]
        self._on_damage = on_damage
        self._seen = START  # the furthest Position: a log that has not come so far has lost its end
        self._bridge: Bridge | None = None
        self._redis: redis.asyncio.Redis | None = None
        self._reported: dict[str, None] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: hold the connections to Redis, WAYS of ours for appending and redis-py's for all else; ready when
        Redis answers on all.

        Raises Unavailable when Redis is away or does not answer a ping within 3 s, on any of them.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_client)
            if self._appends:
                for appender in self._appenders:
                    await nursery.start(appender.run)
            task_status.started()

    async def _run_client(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with open_bridge(PART) as bridge:
            self._redis = redis.asyncio.Redis(connection_pool=connection_pool(self._url))
            try:
                await _call(bridge, self._ping)
                self._bridge = bridge
                task_status.started()
                while True:
                    await trio.sleep(_PING_EVERY)
                    await _call(bridge, self._ping)
            finally:
                self._bridge = None
                with trio.move_on_after(1, shield=True), contextlib.suppress(Unavailable):
                    await _call(bridge, self._redis.connection_pool.disconnect)

    async def append(self, batch: Sequence[Draft], number: int, way: int = 0) -> list[Appended | Unavailable]:
        """Commit a batch: number, store and publish its events. Returns where each one stands, in order, or why it is
        certainly not there.

        Each of the WAYS takes a batch at a time, and `number` ascends from batch to batch on each; a batch that is sent
        again under its number, on the same way, is appended once.

        Raises Unavailable if certainly nothing was appended by this call, and OutcomeUnknown if no answer came.
        """
        answer = await self._appenders[way].append(batch, number, self._seen)
        if answer.repaired != 0:
            self._damage(
                f"{answer.repaired!r} times a foreign entry or key stood in the way of batch {number}, and was removed"
            )
        self._see(answer.furthest)
        return answer.outcomes

    async def begin(self, since: Since | None, accounts: Collection[int] | None) -> Position:
        """Return the Position to read these accounts (None: all) after: for a time, the one before the first event
        accepted at that time or later; for None, the newest one. Raises Unavailable."""
        if isinstance(since, Position):
            return since
        if since is None:
            return await _call(self._bridge, history.newest, self._client)
        millis = int((since.timestamp() - _CLOCKS_DIFFER) * 1000)
        cursor = Cursor(await _call(self._bridge, history.before_time, self._client, millis))
        wanted = since.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds").encode() + b"Z"
        while True:
            page = await self.read(accounts, cursor)
            for frame in page.frames:
                if not isinstance(frame, EventFrame) or _timestamp(frame.line) >= wanted:
                    return cursor.position
                cursor = Cursor(cursor.position._replace(number=number_of(frame)))
            cursor = page.cursor
            if page.behind == 0:
                return cursor.position

    async def read(
        self,
        accounts: Collection[int] | None,
        after: Position | Cursor,
        *,
        limit: int = 500,
        max_bytes: int = READ_BYTES,
    ) -> Page:
        """Return the next events of these accounts (None: of all) after a place in the log, and what of them is gone.

        At most `limit` events, which have more than `max_bytes` only if it is a single one. Raises Unavailable.
        """
        cursor = Cursor(after) if isinstance(after, Position) else after
        return await _call(
            self._bridge,
            history.read,
            self._client,
            accounts,
            cursor,
            limit,
            max_bytes,
            self._damage,
            within=_READ_WITHIN,
        )

    async def read_back(
        self, account: int, before: Position | None, *, limit: int = 500, max_bytes: int = READ_BYTES
    ) -> Page:
        """Return the newest events of an account before a Position (None: the newest of all), in order, and what of
        them is gone. The page's own Position is what to give as `before` for older ones, `behind` how many the log
        has of those. Raises Unavailable."""
        return await _call(
            self._bridge, history.read_back, self._client, account, before, limit, max_bytes, self._damage
        )

    async def tally(self, entry: bytes, keep: float) -> None:
        """Put what a writer has to say of the last second where `tallies` finds it, for all, for `keep` seconds. Raises
        Unavailable; then it may be there nevertheless."""
        await _call(self._bridge, tallying.write, self._client, entry, keep)

    async def tallies(self, after: str) -> tuple[float, list[tuple[str, bytes]]]:
        """Return Redis' clock, and the tallies after that one ("0": all), the oldest first: what each is called, which
        begins with when it came (Unix ms), and what it says. Raises Unavailable."""
        return await _call(self._bridge, tallying.read, self._client, after)

    async def counters(self) -> Counters:
        """What the log has counted so far. Raises Unavailable."""
        epoch, position, appended_at, now = await _call(self._bridge, self._read_counters)
        seconds, micros = now
        counters = Counters(
            epoch=(epoch or b"").decode(errors="replace"),
            position=digits(position or b""),
            appended_at=digits(appended_at or b"") / 1e6,
            now=int(seconds) + int(micros) / 1e6,
        )
        self._see(Position(counters.epoch, 0, counters.position))
        return counters

    async def _ping(self) -> None:
        await self._client.ping()

    async def _read_counters(self) -> tuple[bytes | None, bytes | None, bytes | None, tuple[int, int]]:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hmget(META, ["epoch", "position", "appended"])
            pipe.time()
            (epoch, position, appended_at), now = await pipe.execute()
        return epoch, position, appended_at, now

    def _see(self, position: Position) -> None:
        if position.epoch != self._seen.epoch or position.number > self._seen.number:
            self._seen = position

    def _damage(self, text: str) -> None:
        if text not in self._reported:
            self.damaged += 1
            self._on_damage(text)
            self._reported[text] = None
            if len(self._reported) > _REPORTED:
                del self._reported[next(iter(self._reported))]

    @property
    def _client(self) -> redis.asyncio.Redis:
        if self._redis is None:
            raise Unavailable(PART, "not connected")
        return self._redis


def _timestamp(line: bytes) -> bytes:
    """When an event was accepted: text whose order is that of time."""
    begin = line.index(b'"Timestamp":"') + len(b'"Timestamp":"')
    return line[begin : line.index(b'"', begin)]


async def _call(
    bridge: Bridge | None, operation: Callable[[*Ts], Awaitable[T]], *args: *Ts, within: float = ANSWER_WITHIN
) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(within):  # not wait_for: its task can end after the loop, with nobody to hear of it
            return await operation(*args)

    return await call(bridge, PART, bounded)
