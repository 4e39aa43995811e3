"""Reading the log on a real Redis: order, pages, and what is said of events that are gone."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import redis
import trio

from shared import events
from shared.frames import EventFrame, Gap
from shared.log import EventLog
from shared.position import START, Position
from shared.reading import Cursor

KEEP = 10
batches = count(1)


@pytest.fixture
async def log(redis_url: str, nursery: trio.Nursery) -> AsyncIterator[EventLog]:
    complaints: list[str] = []
    log = EventLog(redis_url, "host", keep=KEEP, expire=60, on_damage=complaints.append)
    await nursery.start(log.run)
    yield log
    assert len(complaints) == log.damaged
    nursery.cancel_scope.cancel()


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


async def append(log: EventLog, *accounts: int, now_ns: int | None = None) -> None:
    await log.append([events.draft(account, b'"x"', now_ns or time.time_ns()) for account in accounts], next(batches))


def shown(frames: Collection[EventFrame | Gap]) -> list[tuple[Any, ...]]:
    """Events as (account, Seq), gaps as (account, from, to, reason)."""
    return [
        (frame.account_id, frame.seq)
        if isinstance(frame, EventFrame)
        else (frame.account_id, frame.from_seq, frame.to_seq, frame.reason)
        for frame in frames
    ]


async def read_all(
    log: EventLog, accounts: Collection[int] | None, after: Position | Cursor, *, limit: int = 500
) -> list[tuple[Any, ...]]:
    """All pages from there on, which must end, come closer each time, and not exceed the limit."""
    frames: list[EventFrame | Gap] = []
    cursor = Cursor(after) if isinstance(after, Position) else after
    for _ in range(1000):
        page = await log.read(accounts, cursor, limit=limit)
        assert sum(isinstance(frame, EventFrame) for frame in page.frames) <= limit
        frames += page.frames
        cursor = page.cursor
        if page.behind == 0:
            return shown(frames)
    raise AssertionError("no end")


def position(log_position: Position, number: int) -> Position:
    return log_position._replace(number=number)


async def test_an_empty_log(log: EventLog) -> None:
    assert await log.begin(None, [7]) == START
    page = await log.read([7], START)
    assert (page.frames, page.position, page.behind) == ([], START, 0)
    assert (await log.read(None, START)).frames == []


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
async def test_accounts_are_read_in_order(log: EventLog, limit: int) -> None:
    await append(log, 7, 8, 9, 7, 7)
    await append(log, 8, 9, 7)
    assert await read_all(log, [7, 8], START, limit=limit) == [(7, 1), (8, 1), (7, 2), (7, 3), (8, 2), (7, 4)]
    assert await read_all(log, None, START, limit=limit) == [
        (7, 1), (8, 1), (9, 1), (7, 2), (7, 3), (8, 2), (9, 2), (7, 4),
    ]  # fmt: skip
    newest = await log.begin(None, None)
    assert newest.number == 8
    assert await read_all(log, [7, 9], position(newest, 4), limit=limit) == [(7, 3), (9, 2), (7, 4)]
    assert await read_all(log, [7, 9], newest, limit=limit) == []
    assert await read_all(log, [], START, limit=limit) == []
    page = await log.read([9], START)
    assert (page.position, page.behind) == (newest, 0)


async def test_behind_counts_the_events_of_these_accounts(log: EventLog) -> None:
    await append(log, *[7, 8, 9] * 10)
    assert [(await log.read(accounts, START, limit=4)).behind for accounts in ([7], [7, 8], None)] == [6, 17, 26]


async def test_large_events_make_short_pages(log: EventLog) -> None:
    data = b'"' + b"x" * 1000 + b'"'
    await log.append([events.draft(account, data, 1) for account in (7, 8) * 5], next(batches))
    for accounts in ([7, 8], None):
        cursor = Cursor(START)
        sizes = []
        while True:
            page = await log.read(accounts, cursor, max_bytes=3500)
            cursor = page.cursor
            sizes.append(len(page.frames))
            if page.behind == 0:
                break
        assert sizes == [3, 3, 3, 1]
        assert len((await log.read(accounts, START, max_bytes=1)).frames) == 1


async def test_what_was_trimmed_is_told_exactly(log: EventLog) -> None:
    await append(log, 8, *[7] * 5)  # 1, 2 to 6
    await append(log, *[9, 7] * 10)  # 7 to 26
    newest = await log.begin(None, None)
    rest = [(7, seq) for seq in range(6, 16)]
    assert await read_all(log, [7, 8], START) == [(7, 1, 5, "trimmed"), (8, 1), *rest]
    assert await read_all(log, [7, 8], START, limit=1) == [(7, 1, 5, "trimmed"), (8, 1), *rest]
    assert await read_all(log, [7, 8], position(newest, 1)) == [(7, 1, 5, "trimmed"), *rest]
    assert await read_all(log, [7, 8], position(newest, 4)) == [(7, 4, 5, "trimmed"), *rest]
    assert await read_all(log, [7, 8], position(newest, 6)) == rest
    assert await read_all(log, None, position(newest, 4)) == [
        (7, 4, 5, "trimmed"),
        *[item for seq in range(1, 11) for item in ((9, seq), (7, seq + 5))],
    ]


@pytest.mark.parametrize("limit", [2, 500])
async def test_followers_of_all_hear_of_a_gap_once(log: EventLog, limit: int) -> None:
    await append(log, *[7, 8] * 20)
    found = await read_all(log, None, START, limit=limit)
    assert [item for item in found if len(item) == 4] == [(7, 1, 10, "trimmed"), (8, 1, 10, "trimmed")]
    assert [item for item in found if len(item) == 2] == [
        item for seq in range(11, 21) for item in ((7, seq), (8, seq))
    ]


async def test_an_account_that_expired(log: EventLog, store: Any) -> None:
    await append(log, 7, 7, 8, 7)  # 1 2 3 4
    newest = await log.begin(None, None)
    store.delete("{events:0}:7")
    for accounts in ([7, 8], None):
        assert await read_all(log, accounts, START) == [(7, 1, 3, "expired"), (8, 1)]
        assert await read_all(log, accounts, position(newest, 1)) == [(7, 2, 3, "expired"), (8, 1)]
        assert await read_all(log, accounts, newest) == []
    await append(log, 8, 7)
    for accounts in ([7, 8], None):
        assert await read_all(log, accounts, newest) == [(8, 2), (7, 4)]
    assert await read_all(log, [7], position(newest, 2)) == [(7, 3, 3, "expired"), (7, 4)]
    assert await read_all(log, [7], position(newest, 3)) == [(7, 3, 3, "expired"), (7, 4)]


async def test_what_is_known_of_a_follower_beats_the_index(log: EventLog, store: Any) -> None:
    await append(log, *[7] * 30)
    newest = await log.begin(None, None)
    store.delete("{events:0}:index")
    assert (await read_all(log, [7], position(newest, 5)))[0] == (7, 1, 20, "trimmed")  # all that is certain
    assert (await read_all(log, [7], Cursor(position(newest, 5), {7: 5})))[0] == (7, 6, 20, "trimmed")


async def test_followers_of_all_from_before_the_index(log: EventLog, store: Any) -> None:
    await append(log, *[7, 8] * 12, *[9] * 2, 7)
    newest = await log.begin(None, None)
    store.xtrim("{events:0}:index", minid="21-0", approximate=False)
    found = await read_all(log, None, position(newest, 10))
    assert sorted(found[:2]) == [(7, 6, 10, "trimmed"), (8, 6, 10, "trimmed")]
    assert found[2:] == [(7, 11), (8, 11), (7, 12), (8, 12), (9, 1), (9, 2), (7, 13)]
    assert (await read_all(log, None, START))[:2] == [(None, None, None, "trimmed"), (7, 11)]
    store.delete("{events:0}:index")
    assert sorted(await read_all(log, None, position(newest, 24))) == [(7, 13, 13, "trimmed"), (9, 1, 2, "trimmed")]


async def test_many_accounts_from_before_the_index(log: EventLog, store: Any) -> None:
    await append(log, *range(1, 2001))
    newest = await log.begin(None, None)
    store.delete("{events:0}:index")
    found = await read_all(log, None, position(newest, 500))
    assert sorted(set(found)) == [(account, 1, 1, "trimmed") for account in range(501, 2001)]


@pytest.mark.parametrize("accounts", [[7], None])
async def test_another_epoch_is_told_and_read_from_the_start(
    log: EventLog, store: Any, accounts: list[int] | None
) -> None:
    await append(log, 7, 7)
    before = await log.begin(None, None)
    store.flushall()
    page = await log.read(accounts, before)
    assert shown(page.frames) == [(None, None, None, "epoch")]
    assert page.position == START
    assert (await log.read(accounts, START)).frames == []
    await append(log, 7)
    assert await read_all(log, accounts, START) == [(7, 1)]
    assert await read_all(log, accounts, before) == [(None, None, None, "epoch"), (7, 1)]


async def test_a_log_that_lost_its_end_is_another_log(log: EventLog) -> None:
    await append(log, 7)
    newest = await log.begin(None, None)
    assert await read_all(log, [7], position(newest, 5)) == [(None, None, None, "epoch"), (7, 1)]


@pytest.mark.parametrize("accounts", [[7, 8], None])
async def test_damaged_and_foreign_entries_are_skipped(log: EventLog, store: Any, accounts: list[int] | None) -> None:
    await append(log, 7, 8)
    store.xadd("{events:0}:7", {"foreign": "entry"}, id="1-5")
    store.xadd("{events:0}:7", {"event": '{"ID":7}', "after": "x"}, id="1-6")
    store.xadd("{events:0}:7", {"event": b"\xff{", "after": "1"}, id="1-7")
    store.xadd("{events:0}:index", {"foreign": "entry"}, id="2-9")
    await append(log, 7)
    assert await read_all(log, accounts, START) == [(7, 1), (8, 1), (7, 2)]
    assert log.damaged == (4 if accounts is None else 3)
    await read_all(log, accounts, START)
    assert log.damaged == (4 if accounts is None else 3)


async def test_an_event_that_was_damaged_is_a_gap(log: EventLog, store: Any) -> None:
    await append(log, 7, 7, 7, 8, 7, 7)
    store.xdel("{events:0}:7", "2-2")
    store.xdel("{events:0}:7", "6-5")
    assert await read_all(log, [7, 8], START) == [
        (7, 1), (7, 2, 2, "damaged"), (7, 3), (8, 1), (7, 4), (7, 5, 5, "damaged"),
    ]  # fmt: skip
    store.xdel("{events:0}:7", "1-1", "3-3", "5-4")
    assert await read_all(log, [7, 8], START) == [(7, 1, 5, "expired"), (8, 1)]


async def test_nothing_but_foreign_entries(log: EventLog, store: Any) -> None:
    await append(log, 7)
    for number in range(50):
        store.xadd("{events:0}:7", {"foreign": "entry"}, id=f"1-{number + 2}")
    await append(log, 8)
    assert await read_all(log, [7, 8], START, limit=8) == [(7, 1), (8, 1)]


async def test_a_key_that_is_no_stream(log: EventLog, store: Any) -> None:
    await append(log, 7, 8)
    store.set("{events:0}:7", "no stream")
    assert await read_all(log, [7, 8], START) == [(7, 1, 1, "expired"), (8, 1)]
    assert await read_all(log, None, START) == [(7, 1, 1, "expired"), (8, 1)]


async def test_junk_in_the_hash_of_last_events(log: EventLog, store: Any) -> None:
    await append(log, 7, 8, 7)
    store.hset("{events:0}:last", mapping={"7": "junk", "8": "9" * 5000 + "-1"})
    for accounts in ([7, 8], None):
        assert await read_all(log, accounts, START) == [(7, 1), (8, 1), (7, 2)]
    await append(log, 7)
    assert await read_all(log, [7], START) == [(7, 1), (7, 2), (7, 3)]


async def test_followers_of_all_hear_of_everything_that_is_missing(log: EventLog, store: Any) -> None:
    await append(log, *[7] * 12, 8)
    store.xdel("{events:0}:7", "6-6")
    store.xdel("{events:0}:index", "9-7")
    found = await read_all(log, None, START)
    assert [item for item in found if len(item) == 4] == [
        (7, 1, 2, "trimmed"),
        (7, 6, 6, "damaged"),
        (None, None, None, "damaged"),
    ]
    newest = await log.begin(None, None)
    store.xtrim("{events:0}:index", minid="11-0", approximate=False)
    store.delete("{events:0}:7")
    assert await read_all(log, None, position(newest, 4)) == [(7, 1, 12, "trimmed"), (8, 1)]


@pytest.mark.parametrize("accounts", [[7, 8], None])
async def test_a_log_that_lost_its_end_and_went_on(
    log: EventLog, redis_url: str, store: Any, nursery: trio.Nursery, accounts: list[int] | None
) -> None:
    """Restored from an older copy: what has been seen since must not be given again under the same Positions."""
    await append(log, 7, 8)
    copy = {key: store.dump(key) for key in store.keys("{events:0}:*")}
    await append(log, *[7, 8] * 5)
    follower = await log.begin(None, None)
    store.flushall()
    for key, value in copy.items():
        store.restore(key, 0, value)
    stranger = EventLog(redis_url, "stranger", keep=KEEP)
    await nursery.start(stranger.run)
    await append(log, 7)
    await append(stranger, *[8] * 20)
    after = await log.begin(None, None)
    assert after.epoch != follower.epoch
    assert (await read_all(log, accounts, follower))[:2] == [(None, None, None, "epoch"), (8, 1, 11, "trimmed")]
    assert [item for item in await read_all(log, accounts, follower) if item[0] == 7] == [(7, 1), (7, 2)]


async def test_a_time_whose_record_is_spoiled(log: EventLog, store: Any) -> None:
    await append(log, 7)
    store.set("{events:0}:times", "no stream")
    assert await read_all(log, [7], await log.begin(datetime.now(UTC) - timedelta(hours=1), [7])) == [(7, 1)]


async def test_since_a_time(log: EventLog, store: Any) -> None:
    now = datetime.now(UTC)
    for age in (3600, 600, 60, 5):
        accepted = int((now - timedelta(seconds=age)).timestamp()) * 10**9
        await append(log, 7, 8, now_ns=accepted)
    for age, expected in ((7200, 1), (3000, 2), (601, 2), (300, 3), (30, 4), (0, 5), (-600, 5)):
        since = now - timedelta(seconds=age)
        for accounts in ([7], None):
            read = await read_all(log, accounts, await log.begin(since, accounts))
            assert [item for item in read if item[0] == 7] == [(7, seq) for seq in range(expected, 5)]


async def test_since_a_time_uses_the_log_of_times(log: EventLog, store: Any) -> None:
    await append(log, *[7] * 5)
    await trio.sleep(1.1)
    await append(log, 7)
    times = store.xrange("{events:0}:times")
    assert [fields for _, fields in times] == [{b"before": b"0"}, {b"before": b"5"}]
    [_, (at, _)] = times
    newest = await log.begin(None, None)
    begin = datetime.fromtimestamp((int(at.split(b"-")[0]) + 10_001) / 1000, UTC)
    assert (await log.begin(begin, [7])).number == 6
    store.xtrim("{events:0}:7", maxlen=1, approximate=False)
    # what is gone lies after that place, so it is told
    assert await read_all(log, [7], await log.begin(datetime.fromtimestamp(0, UTC), [7])) == [
        (7, 1, 5, "trimmed"),
        (7, 6),
    ]
    assert newest.number == 6


@pytest.mark.parametrize("seed", range(5))
async def test_any_page_size_gives_the_same(log: EventLog, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        await append(log, *chance.choices(range(1, 8), weights=[50, 10, 5, 3, 2, 1, 1], k=chance.randint(1, 40)))
    newest = await log.begin(None, None)
    for _ in range(10):
        after = position(newest, chance.randint(0, newest.number))
        accounts = chance.sample(range(1, 9), chance.randint(1, 8))
        whole = await read_all(log, accounts, after)
        assert await read_all(log, accounts, after, limit=chance.randint(1, 10)) == whole
        events_of_all = [item for item in await read_all(log, None, after) if item[0] in accounts]
        assert [item for item in events_of_all if len(item) == 2] == [item for item in whole if len(item) == 2]
        assert sorted(item for item in events_of_all if len(item) == 4) == sorted(
            item for item in whole if len(item) == 4
        )


# Back


async def read_all_back(log: EventLog, account: int, *, limit: int) -> list[tuple[Any, ...]]:
    """All pages, the newest first, put in order again."""
    found: list[tuple[Any, ...]] = []
    before = None
    for _ in range(100):
        page = await log.read_back(account, before, limit=limit)
        found = shown(page.frames) + found
        before = page.position
        if page.behind == 0:
            assert shown((await log.read_back(account, before, limit=limit)).frames) == []
            return found
    raise AssertionError("no end")


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
async def test_an_account_is_read_back(log: EventLog, limit: int) -> None:
    assert await read_all_back(log, 7, limit=limit) == []
    await append(log, 7, 8, 9, 7, 7)
    await append(log, 8, 9, 7)
    assert await read_all_back(log, 7, limit=limit) == [(7, 1), (7, 2), (7, 3), (7, 4)]
    assert await read_all_back(log, 1, limit=limit) == []
    newest = await log.begin(None, None)
    page = await log.read_back(7, position(newest, 5), limit=1)
    assert (shown(page.frames), page.position, page.behind) == ([(7, 2)], position(newest, 4), 1)
    page = await log.read_back(9, position(newest, 3))
    assert (page.frames, page.behind) == ([], 0)
    assert (await log.read_back(7, START)).frames == []


async def test_reading_back_tells_what_is_gone_on_the_last_page(log: EventLog, store: Any) -> None:
    await append(log, *[7] * 12)
    store.xtrim("{events:0}:7", maxlen=3, approximate=False)
    page = await log.read_back(7, None, limit=2)
    assert (shown(page.frames), page.behind) == ([(7, 11), (7, 12)], 1)
    page = await log.read_back(7, page.position, limit=2)
    assert (shown(page.frames), page.behind) == ([(7, 1, 9, "trimmed"), (7, 10)], 0)
    store.delete("{events:0}:7")
    assert shown((await log.read_back(7, None)).frames) == [(7, 1, 12, "expired")]
    await append(log, 7)
    assert shown((await log.read_back(7, None)).frames) == [(7, 1, 12, "expired"), (7, 13)]


async def test_reading_back_skips_damage_and_tells_it(log: EventLog, store: Any) -> None:
    await append(log, *[7] * 4)
    entries = store.xrange("{events:0}:7")
    store.xdel("{events:0}:7", entries[1][0])
    assert shown((await log.read_back(7, None)).frames) == [(7, 1), (7, 2, 2, "damaged"), (7, 3), (7, 4)]
    assert shown((await log.read_back(7, None, limit=2)).frames) == [(7, 3), (7, 4)]
    store.xadd("{events:0}:7", {"event": "junk", "after": "0"}, id="5-5")
    store.hset("{events:0}:last", "7", "5-5")
    store.hset("{events:0}:meta", "position", "5")
    assert shown((await log.read_back(7, None, limit=3)).frames) == [(7, 3), (7, 4), (7, 5, 5, "damaged")]
    assert log.damaged == 1


async def test_reading_back_from_another_log_begins_with_the_newest(log: EventLog) -> None:
    await append(log, 7)
    newest = await log.begin(None, None)
    for elsewhere in (Position("000000000000", 0, 1), position(newest, 99)):
        assert shown((await log.read_back(7, elsewhere)).frames) == [(None, None, None, "epoch"), (7, 1)]


async def test_large_events_make_short_pages_back(log: EventLog) -> None:
    data = b'"' + b"x" * 1000 + b'"'
    await log.append([events.draft(7, data, 1) for _ in range(5)], next(batches))
    page = await log.read_back(7, None, max_bytes=2500)
    assert (shown(page.frames), page.behind) == ([(7, 4), (7, 5)], 3)
    assert len((await log.read_back(7, None, max_bytes=1)).frames) == 1
