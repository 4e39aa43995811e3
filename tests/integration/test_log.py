"""Appending to the log, on a real Redis: what is stored, what is published, and what is known when it fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import pytest
import redis
import trio

from shared import events
from shared.appending import Appended
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.log import EventLog
from shared.supervision import Health, supervise
from tests.integration.fragile import fragile_servers

NOW = 1_612_632_930_000_123_999
batches = count(1)


def draft(account: int, data: bytes = b'"x"', key: str = "") -> Draft:
    return events.draft(account, data, NOW, key)


async def append(log: EventLog, *drafts: Draft) -> list[Appended]:
    """Append drafts as one batch, which Redis must take as a whole."""
    outcomes = await log.append(drafts, next(batches))
    assert all(isinstance(outcome, Appended) for outcome in outcomes), outcomes
    return outcomes


@pytest.fixture
async def log(redis_url: str, nursery: trio.Nursery) -> AsyncIterator[EventLog]:
    log = EventLog(redis_url, 'ho"st', keep=100, expire=60)
    await nursery.start(log.run)
    yield log
    nursery.cancel_scope.cancel()


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def published(subscription: Any) -> list[tuple[str, str]]:
    messages = []
    while (message := subscription.get_message(timeout=0.5)) is not None:
        if message["type"] == "message":
            messages.append((message["channel"].decode(), message["data"].decode()))
    return messages


async def test_events_are_numbered_stored_and_published(log: EventLog, store: Any) -> None:
    with store.pubsub() as subscription:
        subscription.subscribe("events:7", "events:8")
        first = await append(log, draft(7), draft(8, b'{"a":[1]}'), draft(7))
        [second] = await append(log, draft(7))
        messages = published(subscription)
    epoch = first[0].position.split("-")[0]
    assert [where.position for where in [*first, second]] == [f"{epoch}-0-{number}" for number in (1, 2, 3, 4)]
    assert [where.seq for where in [*first, second]] == [1, 1, 2, 3]
    event = (
        '{"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":"x","Host":"ho\\"st",'
        f'"Position":"{epoch}-0-1","Seq":1}}'
    )
    assert messages[0] == ("events:7", event)
    assert [channel for channel, _ in messages] == ["events:7", "events:8", "events:7", "events:7"]
    assert json.loads(messages[1][1])["Data"] == {"a": [1]}
    stored = store.xrange("{events:0}:7")
    assert [entry for entry, _ in stored] == [b"1-1", b"3-2", b"4-3"]
    assert [fields[b"after"] for _, fields in stored] == [b"0", b"1", b"3"]
    assert store.hgetall("{events:0}:last") == {b"7": b"4-3", b"8": b"2-1"}
    assert [fields[b"event"].decode() for _, fields in stored] == [messages[n][1] for n in (0, 2, 3)]
    assert 0 < store.ttl("{events:0}:7") <= 60
    counters = await log.counters()
    assert (counters.epoch, counters.position) == (epoch, 4)
    assert 0 <= counters.now - counters.appended_at < 30


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'"test data"', 'test data [ho"st]'),
        (b'"a\\"b"', 'a"b [ho"st]'),
        (b'""', ' [ho"st]'),
        (b'{"k":"/\xc3\xa9"}', '{"k":"/é"} [ho"st]'),
        (b"12.50", '12.50 [ho"st]'),
    ],
)
async def test_the_format_of_the_go_system(log: EventLog, store: Any, data: bytes, expected: str) -> None:
    with store.pubsub() as subscription:
        subscription.subscribe("events")
        await append(log, draft(1234567, data))
        [(_, message)] = published(subscription)
    assert json.loads(message) == {"ID": 1234567, "Timestamp": "2021-02-06T17:35:30.000123Z", "Data": expected}
    assert list(json.loads(message)) == ["ID", "Timestamp", "Data"]


async def test_the_go_channel_can_be_off(redis_url: str, store: Any, nursery: trio.Nursery) -> None:
    log = EventLog(redis_url, "host", go_channel=False)
    await nursery.start(log.run)
    with store.pubsub() as subscription:
        subscription.subscribe("events")
        await append(log, draft(1))
        assert published(subscription) == []
    nursery.cancel_scope.cancel()


async def test_streams_are_trimmed(log: EventLog, store: Any) -> None:
    for _ in range(5):
        await append(log, *[draft(7)] * 200)
    assert store.xlen("{events:0}:7") == 100
    assert (await append(log, draft(7)))[0].seq == 1001


async def test_a_redis_that_lost_its_scripts_gets_it_again(log: EventLog, store: Any) -> None:
    await append(log, draft(7))
    store.script_flush()
    assert (await append(log, draft(7)))[0].seq == 2
    assert store.xlen("{events:0}:7") == 2


async def test_a_redis_that_lost_its_data_has_another_epoch(log: EventLog, store: Any) -> None:
    [before] = await append(log, draft(7))
    store.flushall()
    [after] = await append(log, draft(7))
    assert after.seq == 1
    assert before.position.split("-")[0] != after.position.split("-")[0]


async def test_what_redis_refuses_was_certainly_not_appended(log: EventLog, store: Any) -> None:
    await append(log, draft(7))
    store.config_set("maxmemory", "1")
    try:
        with pytest.raises(Unavailable, match="maxmemory"):
            await append(log, draft(7))
    finally:
        store.config_set("maxmemory", "0")
    assert store.xlen("{events:0}:7") == 1
    assert (await append(log, draft(7)))[0].seq == 2


async def test_what_is_stored_is_accepted_even_if_nobody_may_be_told(redis_url: str, store: Any) -> None:
    store.acl_setuser("quiet", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"], reset_channels=True)
    url = redis_url.replace("unix://", "unix://quiet:secret@").replace("redis://", "redis://quiet:secret@")
    log = EventLog(url, "host")
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            assert [where.seq for where in await append(log, draft(7), draft(7))] == [1, 2]
            nursery.cancel_scope.cancel()
    finally:
        store.acl_deluser("quiet")
    assert store.xlen("{events:0}:7") == 2


@pytest.mark.parametrize("spoil", ["set", "xadd"])
async def test_what_stands_in_the_way_is_put_aside(log: EventLog, store: Any, spoil: str) -> None:
    await append(log, draft(7), draft(8))
    if spoil == "set":
        store.set("{events:0}:7", "no stream")
        store.set("{events:0}:index", "no stream")
    else:
        store.xadd("{events:0}:7", {"foreign": "entry"})
        store.xadd("{events:0}:7", {"foreign": "entry"})
        store.xadd("{events:0}:index", {"foreign": "entry"})
    assert [where.seq for where in await append(log, draft(7), draft(8), draft(7))] == [2, 2, 3]
    assert log.damaged == 1
    assert 0 < store.ttl("{events:0}:7") <= 60
    assert [entry for entry, _ in store.xrange("{events:0}:7")][-2:] == [b"3-2", b"5-3"]
    assert [entry for entry, _ in store.xrange("{events:0}:index")][-3:] == [b"3-7", b"4-8", b"5-7"]
    assert [where.seq for where in await append(log, draft(7))] == [4]


async def test_a_stream_that_expired_begins_to_expire_anew(log: EventLog, store: Any) -> None:
    await append(log, draft(7))
    store.delete("{events:0}:7")
    await append(log, draft(7))
    assert 0 < store.ttl("{events:0}:7") <= 60
    store.expire("{events:0}:7", 5)
    await append(log, draft(7))
    assert 5 < store.ttl("{events:0}:7") <= 60
    assert [fields[b"after"] for _, fields in store.xrange("{events:0}:7")] == [b"1 expired", b"2"]


async def test_a_key_of_another_type_in_the_place_of_last_refuses_each_event(log: EventLog, store: Any) -> None:
    store.set("{events:0}:last", "no hash")
    outcomes = await log.append([draft(7), draft(8)], next(batches))
    assert all(isinstance(outcome, Unavailable) and "WRONGTYPE" in outcome.reason for outcome in outcomes)
    store.delete("{events:0}:last")
    assert [where.seq for where in await append(log, draft(7), draft(8))] == [1, 1]


async def test_a_batch_that_is_sent_again_is_appended_once(log: EventLog, store: Any) -> None:
    first = await log.append([draft(7), draft(8)], 1)
    assert await log.append([draft(7), draft(8)], 1) == first
    assert store.xlen("{events:0}:7") == 1
    [later] = await log.append([draft(7)], 2)
    assert isinstance(later, Appended)
    assert later.seq == 2
    with pytest.raises(Unavailable, match="STALE"):
        await log.append([draft(7), draft(8)], 1)
    assert store.xlen("{events:0}:7") == 2


async def test_two_writers_number_their_own_batches(log: EventLog, redis_url: str, nursery: trio.Nursery) -> None:
    other = EventLog(redis_url, "other")
    await nursery.start(other.run)
    assert [(await writer.append([draft(7)], 1))[0].seq for writer in (log, other)] == [1, 2]


async def test_an_idempotency_key_counts_once_for_its_account(log: EventLog, store: Any) -> None:
    first, again, other = await append(log, draft(7, key="k"), draft(7, key="k"), draft(8, key="k"))
    assert first == again
    assert (first.seq, other.seq) == (1, 1)
    [later, without] = await append(log, draft(7, b'"other"', key="k"), draft(7))
    assert later == first
    assert without.seq == 2
    assert [entry for entry, _ in store.xrange("{events:0}:index")] == [b"1-7", b"2-8", b"3-7"]
    [key] = store.keys("{events:0}:key:7:*")
    assert 590 < store.ttl(key) <= 600
    store.delete(key)
    assert (await append(log, draft(7, key="k")))[0].seq == 3


@pytest.mark.parametrize("kind", ["string", "list"])
async def test_junk_in_the_place_of_a_key_spoils_nothing(log: EventLog, store: Any, kind: str) -> None:
    await append(log, draft(7, key="k"))
    [key] = store.keys("{events:0}:key:7:*")
    store.delete(key)
    if kind == "string":
        store.set(key, "junk")
    else:
        store.rpush(key, "junk")
    assert [where.seq for where in await append(log, draft(8), draft(7, key="k"), draft(8))] == [1, 2, 2]
    assert [where.seq for where in await append(log, draft(8), draft(7))] == [3, 3]


@pytest.mark.parametrize(("field", "junk"), [("position", "x"), ("position", "9" * 5000), ("appended", "x")])
async def test_junk_in_the_meta_data_is_no_bug_of_ours(log: EventLog, store: Any, field: str, junk: str) -> None:
    await append(log, draft(7))
    store.hset("{events:0}:meta", field, junk)
    await log.counters()
    with suppress(Unavailable):
        await log.append([draft(7)], next(batches))
    store.hset("{events:0}:meta", "epoch", b"\xff")
    await log.counters()
    with suppress(Unavailable):
        await log.append([draft(7)], next(batches))


async def test_the_index_is_trimmed_and_expires(redis_url: str, store: Any, nursery: trio.Nursery) -> None:
    log = EventLog(redis_url, "host", expire=60, keep_index=100)
    await nursery.start(log.run)
    await append(log, *[draft(7)] * 400)
    assert 100 <= store.xlen("{events:0}:index") < 400
    assert 0 < store.ttl("{events:0}:index") <= 60
    [(_, fields)] = store.xrange("{events:0}:times")
    assert fields == {b"before": b"0"}
    assert 0 < store.ttl("{events:0}:times") <= 60


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/?foo=1", "redis://127.0.0.1:1/?db=x"])
async def test_a_url_that_can_not_be_used(url: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Misconfigured, match="URL of Redis"), flatten_subgroups=True):
        await EventLog(url, "host").run()


async def test_a_server_that_is_no_redis(nursery: trio.Nursery) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(100)
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    [listener] = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    with pytest.RaisesGroup(Unavailable, flatten_subgroups=True):
        await EventLog(f"redis://127.0.0.1:{port}", "host").run()
    nursery.cancel_scope.cancel()


async def test_a_log_that_never_ran_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await EventLog("redis://127.0.0.1:1", "host").append([draft(7)], 1)


async def test_an_answer_that_does_not_come_leaves_the_outcome_unknown() -> None:
    async with fragile_servers() as (_, server), trio.open_nursery() as nursery:
        await server.start()
        log = EventLog(server.url, "host")

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            try:
                await log.run(task_status=task_status)
            except* Unavailable:
                pass

        await nursery.start(run)
        await append(log, draft(7))
        server.freeze()
        try:
            with pytest.raises(OutcomeUnknown):
                await append(log, draft(7))
        finally:
            server.thaw()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_append_spoils_nothing(redis_url: str, store: Any, nursery: trio.Nursery) -> None:
    log = EventLog(redis_url, "host")
    health = Health("log", lambda part, reason: None)
    await nursery.start(supervise, log.run, health)
    for attempt in range(20):
        with trio.move_on_after(attempt * 0.0001):
            await append(log, draft(7), draft(8))
        while True:
            with suppress(Unavailable):
                [where] = await append(log, draft(9))
                break
            await trio.sleep(0.01)
        assert where.seq == attempt + 1
    assert store.xlen("{events:0}:7") == store.xlen("{events:0}:8")
    nursery.cancel_scope.cancel()
