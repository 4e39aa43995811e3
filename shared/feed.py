"""Feed: followers of the event log, from any position on, over one subscription a process.

    async with feed.follow([1, 2, 3], since) as follower:
        async for frames in follower: ...

The log is the truth; what Redis publishes only wakes followers up. A follower is "accounts + position": it reads the
log page by page until nothing comes after its position, and from then on takes what is published. The seam has no hole
and no double: what is published queues from before each reading on, and what the reading has brought already is
skipped. Whatever disturbs this (a lost subscription, an event that is not the next of its account, a follower so slow
that its queue overflows) has one answer: forget the queue, and read the log again from where the follower is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import trio

from shared.aio import Bridge, open_bridge
from shared.errors import Refused, Unavailable
from shared.frames import EventFrame, Frame, Lagging, NoFrame, Ready, decode_event
from shared.log import EventLog, channel
from shared.position import START, Since
from shared.reading import Cursor
from shared.redis_client import ANSWER_WITHIN, call, connection_pool
from shared.subscription import ALL, Connection, Subscription, send
from shared.supervision import backoff

T = TypeVar("T")

PART = "feed"
PING_EVERY = 2.5
UNANSWERED = 3
"""After how many silent intervals of PING_EVERY the connection is given up: 7.5 to 10 s after the last sign of life."""
FOLLOWER_BYTES = 1 << 20
"""How many bytes may wait for one follower (the default of a setting)."""

_MESSAGES_AT_ONCE = 100
_READERS = 4
"""How many followers may read the log at the same time: a crowd would starve the asyncio loop."""
_FIRST_PAGE, _LARGEST_PAGE = 32, 512
_RECEIVE_BYTES = 64 * 1024
_OVERHEAD = 200
"""What an event takes in a queue beside its bytes, roughly."""
_TELL_EVERY = 1.0
"""How often a follower that lags is told by how much, in seconds."""


_Item = tuple[int, int, EventFrame]
"""An event in queues: its number in the log, what it counts there in bytes, and itself. All followers share it."""


class Feed:
    """Any number of followers on one subscription, which lives while the service `run` is up."""

    def __init__(
        self,
        url: str,
        event_log: EventLog,
        *,
        follower_bytes: int = FOLLOWER_BYTES,
        connect: Callable[[str], Connection] | None = None,
    ) -> None:
        """`event_log` must run beside the feed. `connect` makes a connection, not yet open, to `url`."""
        self.skipped = 0
        """How many messages were no events."""
        self._url = url
        self._log = event_log
        self._follower_bytes = follower_bytes
        self._connect = connect or _connection
        self._readers = trio.CapacityLimiter(_READERS)
        self._subscription = Subscription(PART)
        self._followers: dict[str, set[Follower]] = {}
        self._lagging: dict[Follower, int] = {}
        self._heard = False
        # Of the last message, since the subscription stands: what the next one has to follow on.
        self._epoch = ""
        self._number: int | None = None
        self._seqs: dict[int, int] = {}

    @property
    def followers(self) -> int:
        """How many there are."""
        return len({follower for group in self._followers.values() for follower in group})

    def behind(self) -> list[int]:
        """For each follower that was too slow and is catching up, how many events were still to come when it last read
        the log."""
        return list(self._lagging.values())

    @asynccontextmanager
    async def follow(self, accounts: Iterable[int] | None, since: Since | None = None) -> AsyncIterator[Follower]:
        """Follow these accounts (None: all) from `since` on; None: from when the block is entered.

        While Redis is away, this waits.
        """
        follower = Follower(self, None if accounts is None else set(accounts))
        try:
            await follower._begin(since)
            yield follower
        finally:
            self._lagging.pop(follower, None)
            self._leave(follower, follower._channels.copy())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: keep the subscription; ready when Redis has confirmed it.

        Raises Unavailable when Redis is away, or has been silent for 10 s although it was asked to answer, and
        Misconfigured if the URL can't be used.
        """
        connection = self._connect(self._url)
        async with open_bridge(PART) as bridge:
            try:
                await call(bridge, PART, _open, connection)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call, bridge, PART, self._pump, connection)
                    nursery.start_soon(self._watch, bridge, connection)
                    nursery.start_soon(self._subscription.keep, bridge, connection)
                    nursery.start_soon(self._confirm, task_status)
            finally:
                self._subscription.lost()
                self._begin_anew("")
                with trio.move_on_after(1, shield=True), suppress(Unavailable):
                    await call(bridge, PART, connection.disconnect)

    async def _confirm(self, task_status: trio.TaskStatus[None]) -> None:
        # There may be hundreds of thousands of channels: what counts is that Redis goes on.
        if not await self._subscription.stands(list(self._followers), ANSWER_WITHIN):
            raise Unavailable(PART, "no answer in time")
        task_status.started()

    def _begin_anew(self, epoch: str) -> None:
        """Nothing is known of what will be published next."""
        self._epoch = epoch
        self._number = None
        self._seqs.clear()
        for group in self._followers.values():
            for follower in group:
                if not epoch or follower.epoch != epoch:
                    follower._fall_behind()

    def _enter(self, follower: Follower, channels: Iterable[str]) -> None:
        for name in channels:
            if name not in self._followers:
                self._followers[name] = set()
                self._subscription.want(name)
            self._followers[name].add(follower)
            follower._channels.add(name)

    def _leave(self, follower: Follower, channels: Iterable[str]) -> None:
        for name in channels:
            follower._channels.discard(name)
            group = self._followers[name]
            group.discard(follower)
            if not group:
                del self._followers[name]
                self._subscription.want_no_more(name)
                if name == ALL:
                    self._number = None
                else:
                    self._seqs.pop(int(name.rpartition(":")[2]), None)

    async def _pump(self, connection: Connection) -> None:
        """Runs on asyncio. Hands each message to the followers' queues, which never make it wait."""
        taken = 0
        while True:
            match await connection.read_response():
                case [b"message", name, payload]:
                    self._take(name.decode(errors="replace"), payload)
                case [b"pmessage", _, name, payload]:
                    self._take(ALL, payload, of=name)
                case [b"subscribe" | b"psubscribe" | b"unsubscribe" | b"punsubscribe", name, _]:
                    self._subscription.confirmed(name.decode())
            self._heard = True
            taken += 1
            if taken % _MESSAGES_AT_ONCE == 0:
                await asyncio.sleep(0)  # a flood is for this task alone

    def _take(self, name: str, payload: bytes, of: bytes = b"") -> None:
        """Queue a message with the followers of a channel, or of all: then `of` is the message's own channel."""
        group = self._followers.get(name)
        if group is None:
            return
        try:
            frame = decode_event(payload)
            epoch, _, number_text = frame.position.split("-")
            number = int(number_text)
            if channel(frame.account_id) != (of.decode() if of else name):
                raise NoFrame
        except (NoFrame, ValueError):
            self.skipped += 1
            return
        if epoch != self._epoch:
            self._begin_anew(epoch)
        if of:
            in_order = self._number is None or number == self._number + 1
            self._number = number
        else:
            last = self._seqs.get(frame.account_id)
            in_order = last is None or frame.seq == last + 1
            self._seqs[frame.account_id] = frame.seq
        item = number, len(payload) + _OVERHEAD, frame
        for follower in group:
            follower._offer(item, in_order)

    async def _watch(self, bridge: Bridge, connection: Connection) -> None:
        """Ask for a sign of life when there is none. Counts questions, not time: a process may sleep for hours."""
        silent = 0
        while True:
            await trio.sleep(PING_EVERY)
            if self._heard:
                self._heard = False
                silent = 0
                continue
            silent += 1
            if silent == UNANSWERED:
                raise Unavailable(PART, f"no answer for {UNANSWERED * PING_EVERY:g} seconds")
            await call(bridge, PART, send, connection, ["PING"])


class Follower:
    """Some accounts, and a position in the log. One task at a time takes its frames."""

    def __init__(self, feed: Feed, accounts: set[int] | None) -> None:
        self.accounts = accounts
        """None: all."""
        self._feed = feed
        self._channels: set[str] = set()
        self._to_follow: set[int] = set()
        self._cursor = Cursor(START)  # all up to here was returned
        self._queue: deque[_Item] = deque()
        self._bytes = 0
        self._wake = trio.Event()
        self._live = False
        self._lost = False  # something that was published since the queue began
        self._too_slow = False
        self._announce = True  # that it is live, once it is
        self._told_at = -_TELL_EVERY
        self._page_size = _FIRST_PAGE

    @property
    def epoch(self) -> str:
        """The epoch of the log in which this follower is."""
        return self._cursor.position.epoch

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> list[Frame]:
        return await self.receive()

    async def receive(self) -> list[Frame]:
        """Return the next frames, at least one, once there are some: about 64 KiB of events at most, or a single one.

        When cancelled, it takes none away. While Redis is away, it waits.
        """
        if self._queue or not self._live:
            await trio.lowlevel.checkpoint()
        while True:
            if not self._live or self._to_follow:
                frames = await self._catch_up()
            elif self._queue:
                frames = self._take_queued()
            else:
                await self._wake.wait()
                self._wake = trio.Event()
                continue
            if frames:
                return frames

    def follow(self, accounts: Iterable[int]) -> None:
        """Follow these accounts, too, from the next Ready frame on, which comes once everything before it was sent.

        Raises Refused for a follower of all.
        """
        if self.accounts is None:
            raise Refused("This stream follows all accounts already.")
        self._to_follow |= set(accounts)
        self._announce = True
        self._live = False
        self._wake.set()

    def unfollow(self, accounts: Iterable[int]) -> None:
        """Follow these accounts no longer. Raises Refused for a follower of all."""
        if self.accounts is None:
            raise Refused("This stream follows all accounts: it can't leave some out.")
        gone = set(accounts)
        self._to_follow -= gone
        self.accounts -= gone
        self._feed._leave(self, self._channels & set(map(channel, gone)))
        self._queue = deque(item for item in self._queue if item[2].account_id not in gone)
        self._bytes = sum(size for _, size, _ in self._queue)

    async def _begin(self, since: Since | None) -> None:
        self._feed._enter(self, [ALL] if self.accounts is None else map(channel, self.accounts))
        accounts = None if self.accounts is None else list(self.accounts)
        self._cursor = Cursor(await self._ask_log(lambda: self._feed._log.begin(since, accounts)))

    async def _catch_up(self) -> list[Frame]:
        """Read a page. If it was the last one, this follower is live."""
        joining = set(self._to_follow)
        self._feed._enter(self, map(channel, joining))
        accounts = None if self.accounts is None else list(self.accounts)
        page = await self._ask_log(
            lambda: self._feed._log.read(accounts, self._cursor, limit=self._page_size, max_bytes=_RECEIVE_BYTES)
        )
        self._cursor = page.cursor
        frames: list[Frame] = [*page.frames]
        self._page_size = min(max(2 * len(frames), _FIRST_PAGE), _LARGEST_PAGE)
        if self._too_slow:
            self._feed._lagging[self] = page.behind
        if page.behind or self._lost:
            if self._too_slow and trio.current_time() >= self._told_at + _TELL_EVERY:
                self._told_at = trio.current_time()
                self._announce = True
                frames.append(Lagging(page.behind))
            return frames
        self._live = True
        self._too_slow = False
        self._feed._lagging.pop(self, None)
        self._cursor = Cursor(page.position)  # its Seqs will not be kept up to date
        if self.accounts is not None:
            # Not those that were left meanwhile, even if they are to be followed again: their channel was left, too.
            joined = {account for account in joining & self._to_follow if channel(account) in self._channels}
            self.accounts |= joined
            self._to_follow -= joined
        if self._announce and not self._to_follow:
            self._announce = False
            frames.append(Ready(str(page.position)))
        return frames

    async def _ask_log(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the log until it answers, each time with the subscription up and an empty queue."""
        for delay in backoff():
            await self._feed._subscription.stands(self._channels)
            async with self._feed._readers:
                await self._feed._subscription.stands(self._channels)  # it may have been lost while this waited
                self._forget()
                self._lost = False
                with suppress(Unavailable):
                    return await ask()
            await trio.sleep(delay)
        raise AssertionError("backoff() never ends")

    def _take_queued(self) -> list[Frame]:
        frames: list[Frame] = []
        taken = 0
        reached = self._cursor.position.number
        queue = self._queue
        while queue and taken < _RECEIVE_BYTES:
            number, size, frame = queue.popleft()
            taken += size
            if number > reached:
                reached = number
                frames.append(frame)
        self._bytes -= taken
        self._cursor = Cursor(self._cursor.position._replace(number=reached))
        return frames

    def _offer(self, item: _Item, in_order: bool) -> None:
        """Queue what was published. Called for each event and follower: nothing else is."""
        if not in_order:
            self._fall_behind()
        self._bytes += item[1]
        if self._bytes > self._feed._follower_bytes:
            self._too_slow = True
            self._fall_behind()
        if not self._lost:
            if not self._queue:
                self._wake.set()
            self._queue.append(item)

    def _fall_behind(self) -> None:
        """Forget what is queued, and read the log again from where this follower is."""
        self._forget()
        self._lost = True
        self._live = False
        self._wake.set()

    def _forget(self) -> None:
        self._queue.clear()
        self._bytes = 0


async def _open(connection: Connection) -> None:
    async with asyncio.timeout(ANSWER_WITHIN):
        await connection.connect()


def _connection(url: str) -> Connection:
    """A bare connection of redis-py: its PubSub connects anew by itself, and nobody would learn of the loss.

    Without a timeout of its own, because quiet is normal; the feed bounds what must be answered.
    """
    connection: Connection = connection_pool(url, answer_within=None).make_connection()
    return connection
