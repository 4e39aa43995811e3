"""Batches, bounds and outcomes, on virtual time, with a log whose answers the test decides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from shared.appending import Appended
from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from tracker import publisher as module
from tracker.publisher import Publisher


class Log:
    """Stands in for the event log: remembers the batches, answers when it is let to, or fails as told."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.numbers: list[int] = []
        self.may_answer = trio.Event()
        self.failure: Exception | None = None

    async def append(self, batch: Sequence[Draft], number: int, way: int = 0) -> list[Appended | Unavailable]:
        self.batches.append([draft.head for draft in batch])
        self.numbers.append(number)
        with trio.move_on_after(3) as patience:
            await self.may_answer.wait()
        if patience.cancelled_caught:
            raise OutcomeUnknown("log", "no answer in time")
        if self.failure is not None:
            raise self.failure
        return [
            Unavailable("log", "spoiled") if draft.head == b"spoiled" else Appended(draft.head.decode(), 1)
            for draft in batch
        ]


class Senders:
    """Sends events at the same time and keeps what each sender got."""

    def __init__(self, publisher: Publisher, nursery: trio.Nursery) -> None:
        self._publisher = publisher
        self._nursery = nursery
        self.got: dict[str, object] = {}

    async def send(self, *names: str) -> None:
        """Start senders, in this order, and return once they wait."""
        for name in names:
            self._nursery.start_soon(self._send, name)
            await wait_all_tasks_blocked()

    async def _send(self, name: str) -> None:
        try:
            self.got[name] = (await self._publisher.commit(Draft(1, name.encode()))).position
        except (Unavailable, OutcomeUnknown) as error:
            self.got[name] = type(error)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def publisher(log: Log, nursery: trio.Nursery) -> Publisher:
    publisher = Publisher(log, queue_size=3, ways=1)  # type: ignore[arg-type]
    await nursery.start(publisher.run)
    return publisher


@pytest.fixture
def senders(publisher: Publisher, nursery: trio.Nursery) -> Senders:
    return Senders(publisher, nursery)


async def test_the_next_batch_gathers_while_one_is_under_way(senders: Senders, log: Log) -> None:
    await senders.send("a", "b", "c", "d")
    assert log.batches == [[b"a"]]
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert log.batches == [[b"a"], [b"b", b"c", b"d"]]
    assert senders.got == {name: name for name in "abcd"}


async def test_a_full_queue_refuses_at_once(senders: Senders, log: Log) -> None:
    await senders.send("a", "b", "c", "d", "e")
    assert senders.got == {"e": Unavailable}
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert senders.got == {"a": "a", "b": "b", "c": "c", "d": "d", "e": Unavailable}


async def test_a_refused_batch_fails_for_each_sender_and_the_next_goes_on(senders: Senders, log: Log) -> None:
    await senders.send("a", "b", "c")
    log.failure = Unavailable("log", "as told")
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert senders.got == {"a": Unavailable, "b": Unavailable, "c": Unavailable}
    log.failure = None
    await senders.send("d")
    assert senders.got["d"] == "d"


async def test_an_event_that_redis_would_not_take_spoils_no_other(senders: Senders, log: Log) -> None:
    log.may_answer.set()
    await senders.send("a", "spoiled", "b")
    assert senders.got == {"a": "a", "spoiled": Unavailable, "b": "b"}


async def test_a_batch_without_an_answer_is_sent_again_under_its_number(
    senders: Senders, log: Log, autojump_clock: MockClock
) -> None:
    log.may_answer.set()
    log.failure = OutcomeUnknown("log", "connection lost")
    await senders.send("a", "b")
    await trio.sleep(1)
    log.failure = Unavailable("log", "not connected")  # this time certainly not, but what of the time before?
    await trio.sleep(1)
    assert senders.got == {}
    log.failure = None
    await trio.sleep(1)
    assert senders.got == {"a": "a", "b": "b"}
    assert log.numbers == [1] * (len(log.numbers) - 1) + [2]
    assert log.batches == [[b"a"]] * (len(log.batches) - 1) + [[b"b"]]


async def test_a_silent_log_is_answered_for_within_5_seconds(
    senders: Senders, log: Log, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    await senders.send("a", "b")
    with trio.fail_after(60):
        while len(senders.got) < 2:
            await trio.sleep(0.1)
    assert trio.current_time() - started <= 5
    assert senders.got == {"a": OutcomeUnknown, "b": Unavailable}
    log.may_answer.set()
    await trio.sleep(5)
    await senders.send("c")
    assert senders.got["c"] == "c"
    assert log.batches == [[b"a"], [b"a"], [b"c"]]
    assert log.numbers == [1, 1, 2]


async def test_what_is_refused_is_not_sent_later(
    senders: Senders, log: Log, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    await senders.send("a", "b", "c")
    await trio.sleep(2)
    assert senders.got == {"a": OutcomeUnknown, "b": Unavailable, "c": Unavailable}
    log.may_answer.set()
    await senders.send("d")
    await wait_all_tasks_blocked()
    await trio.sleep(5)
    assert log.batches == [[b"a"], [b"d"]]


async def test_a_cancelled_sender_takes_back_what_is_still_waiting(
    publisher: Publisher, senders: Senders, log: Log, nursery: trio.Nursery
) -> None:
    await senders.send("a")
    with trio.CancelScope() as scope:
        scope.cancel()
        await publisher.commit(Draft(1, b"cancelled"))
    log.may_answer.set()
    await senders.send("b")
    assert log.batches == [[b"a"], [b"b"]]


async def test_batches_are_bounded(log: Log, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 2)
    monkeypatch.setattr(module, "_BATCH_BYTES", 10)
    publisher = Publisher(log, queue_size=10, ways=1)  # type: ignore[arg-type]
    senders = Senders(publisher, nursery)
    await senders.send("a", "b", "c", "0123456789", "d")
    log.may_answer.set()
    await nursery.start(publisher.run)
    await wait_all_tasks_blocked()
    assert log.batches == [[b"a", b"b"], [b"c", b"0123456789"], [b"d"]]


class Lots:
    """Sends lots of events and keeps the outcomes of each."""

    def __init__(self, publisher: Publisher, nursery: trio.Nursery) -> None:
        self._publisher = publisher
        self._nursery = nursery
        self.got: dict[str, list[object]] = {}

    async def send(self, *lots: str) -> None:
        """Start the senders of these lots, of an event for each letter, and return once they wait."""
        for lot in lots:
            self._nursery.start_soon(self._send, lot)
            await wait_all_tasks_blocked()

    async def _send(self, lot: str) -> None:
        outcomes = await self._publisher.commit_many([Draft(1, letter.encode()) for letter in lot])
        self.got[lot] = [
            outcome.position if isinstance(outcome, Appended) else (type(outcome), outcome.reason)
            for outcome in outcomes
        ]


@pytest.fixture
def lots(publisher: Publisher, nursery: trio.Nursery) -> Lots:
    return Lots(publisher, nursery)


async def test_many_are_committed_in_their_order_with_an_outcome_each(lots: Lots, log: Log) -> None:
    log.may_answer.set()
    await lots.send("abc", "")
    assert log.batches == [[b"a", b"b", b"c"]]
    assert lots.got == {"abc": ["a", "b", "c"], "": []}


async def test_a_spoiled_event_among_many_spoils_no_other(publisher: Publisher, log: Log) -> None:
    log.may_answer.set()
    good, spoiled, also_good = await publisher.commit_many([Draft(1, head) for head in (b"a", b"spoiled", b"b")])
    assert (good, also_good) == (Appended("a", 1), Appended("b", 1))
    assert isinstance(spoiled, Unavailable)


async def test_many_wait_for_room_where_a_single_one_is_refused(
    senders: Senders, lots: Lots, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 4)
    await senders.send("0", "1", "2", "3", "refused")
    await lots.send("abcdef", "gh")
    assert senders.got == {"refused": Unavailable}
    assert log.batches == [[b"0"]]
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert lots.got == {"abcdef": list("abcdef"), "gh": list("gh")}
    assert log.batches == [[b"0"], [b"1", b"2", b"a", b"b"], [b"3", b"c", b"d", b"e"], [b"f", b"g", b"h"]]
    assert senders.got == {name: name for name in "0123"} | {"refused": Unavailable}


async def test_many_are_answered_for_within_5_seconds(
    lots: Lots, log: Log, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 2)
    started = trio.current_time()
    await lots.send("abcde", "fg")
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert log.batches == [[b"a", b"b"], [b"c", b"d"], [b"e", b"f"], [b"g"]]
    assert lots.got == {"abcde": list("abcde"), "fg": list("fg")}

    log.batches.clear()
    log.may_answer = trio.Event()
    await lots.send("hijkl", "mn")
    with trio.fail_after(60):
        while len(lots.got) < 4:
            await trio.sleep(0.1)
    assert trio.current_time() - started <= 5
    unknown = (OutcomeUnknown, "no answer in time")
    refused = (Unavailable, "too slow for the events that are waiting")
    assert lots.got["hijkl"] == [unknown] * 2 + [refused] * 3
    assert lots.got["mn"] == [refused] * 2
    log.may_answer.set()
    await trio.sleep(5)
    await lots.send("o")
    assert log.batches == [[b"h", b"i"], [b"h", b"i"], [b"o"]]


async def test_what_is_answered_before_the_log_falls_silent_is_known(
    lots: Lots, log: Log, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 2)
    await lots.send("abcde")
    log.may_answer.set()
    log.may_answer = trio.Event()
    await trio.sleep(6)
    unknown = (OutcomeUnknown, "no answer in time")
    assert lots.got["abcde"] == ["a", "b", unknown, unknown, (Unavailable, "too slow for the events that are waiting")]


async def test_a_refused_batch_fails_for_its_events_and_the_rest_of_many_goes_on(
    lots: Lots, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 2)
    await lots.send("abc")
    log.failure = Unavailable("log", "as told")
    answer, log.may_answer = log.may_answer, trio.Event()
    answer.set()
    await wait_all_tasks_blocked()
    log.failure = None
    log.may_answer.set()
    await wait_all_tasks_blocked()
    assert lots.got == {"abc": [(Unavailable, "as told"), (Unavailable, "as told"), "c"]}


async def test_a_cancelled_sender_of_many_takes_back_what_is_still_waiting(
    publisher: Publisher, lots: Lots, log: Log, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 2)
    with trio.CancelScope() as scope:

        async def cancel() -> None:
            await wait_all_tasks_blocked()
            scope.cancel()

        nursery.start_soon(cancel)
        await publisher.commit_many([Draft(1, b"a"), Draft(1, b"b"), Draft(1, b"cancelled")])
    assert scope.cancelled_caught
    log.may_answer.set()
    await lots.send("d")
    assert log.batches == [[b"a", b"b"], [b"d"]]


class Ways:
    """Stands in for a log with two ways, each of whose calls is answered when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, bytes]] = []
        self.under_way: dict[int, trio.Event] = {}
        self.silent: set[int] = set()

    async def append(self, batch: Sequence[Draft], number: int, way: int) -> list[Appended | Unavailable]:
        assert way not in self.under_way
        self.calls.append((way, number, b"".join(draft.head for draft in batch)))
        self.under_way[way] = trio.Event()
        try:
            await self.under_way[way].wait()
        finally:
            del self.under_way[way]
        if way in self.silent:
            raise OutcomeUnknown("log", "connection lost")
        return [Appended(draft.head.decode(), 1) for draft in batch]

    async def answer(self, way: int) -> None:
        self.under_way[way].set()
        await wait_all_tasks_blocked()


@pytest.fixture
async def two(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> tuple[Ways, Senders, Lots]:
    monkeypatch.setattr(module, "_BATCH_EVENTS", 4)
    log = Ways()
    publisher = Publisher(log, queue_size=10, ways=2)  # type: ignore[arg-type]
    await nursery.start(publisher.run)
    await wait_all_tasks_blocked()
    return log, Senders(publisher, nursery), Lots(publisher, nursery)


async def test_two_batches_are_under_way_and_the_next_one_gathers(two: tuple[Ways, Senders, Lots]) -> None:
    log, senders, _ = two
    await senders.send("a", "b", "c", "d")
    by_way = {heads: way for way, _, heads in log.calls}
    assert set(by_way) == {b"a", b"b"}
    assert set(by_way.values()) == {0, 1}
    await log.answer(by_way[b"b"])
    assert senders.got == {"b": "b"}
    assert log.calls[2:] == [(by_way[b"b"], 2, b"cd")]
    await log.answer(by_way[b"b"])
    await log.answer(by_way[b"a"])
    assert senders.got == {name: name for name in "abcd"}


async def test_who_comes_together_goes_together(two: tuple[Ways, Senders, Lots], nursery: trio.Nursery) -> None:
    log, senders, _ = two
    for name in "abcdef":
        nursery.start_soon(senders.send, name)
    await wait_all_tasks_blocked()
    assert [len(heads) for _, _, heads in log.calls] == [4, 2]


async def test_a_lot_goes_one_way_in_its_order_while_others_go_the_other(two: tuple[Ways, Senders, Lots]) -> None:
    log, senders, lots = two
    await lots.send("abcdefghij")
    [(way, _, heads)] = log.calls
    assert heads == b"abcd"
    await senders.send("x")
    assert log.calls[1:] == [(1 - way, 1, b"x")]
    await log.answer(1 - way)
    assert len(log.calls) == 2  # what is left of the lot waits for its begin
    await log.answer(way)
    [(next_way, _, heads)] = log.calls[2:]
    assert heads == b"efgh"
    await log.answer(next_way)
    await log.answer(log.calls[3][0])
    assert lots.got == {"abcdefghij": list("abcdefghij")}


async def test_a_way_without_answers_repeats_its_batch_and_the_other_goes_on(
    two: tuple[Ways, Senders, Lots], autojump_clock: MockClock
) -> None:
    log, senders, _ = two
    await senders.send("a")
    [(lost, _, _)] = log.calls
    log.silent.add(lost)
    await log.answer(lost)
    for name in "bcd":
        await senders.send(name)
        await log.answer(1 - lost)
    assert senders.got == {name: name for name in "bcd"}
    log.silent.clear()
    await trio.sleep(module._RETRY_EVERY)
    await wait_all_tasks_blocked()
    await log.answer(lost)
    assert senders.got["a"] == "a"
    assert log.calls == [
        (lost, 1, b"a"),
        (1 - lost, 1, b"b"),
        (1 - lost, 2, b"c"),
        (1 - lost, 3, b"d"),
        (lost, 1, b"a"),
    ]
