"""Breaks one thing under load, repairs it, and says what became of every event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import trio

from tests.faults.faults import COLD_ACCOUNT, Fault, Stage
from tests.faults.followers import NDJSON, SSE, Follower, Listener, Poller, WebSocket
from tests.faults.records import Place, Record
from tests.faults.verdict import Verdict, judge, read_log
from tests.faults.world import World, open_world
from tests.faults.writers import ACCOUNTS, Sent, Writers

RECOVERY_TIMEOUT = 40
END_TIMEOUT = 20
PROBE_EVERY = 0.05
SOME = frozenset([*ACCOUNTS[: len(ACCOUNTS) // 2], COLD_ACCOUNT])
ALL = frozenset([*ACCOUNTS, COLD_ACCOUNT])


@dataclass(frozen=True)
class Form:
    """How long it takes: `seconds` of load, `long` or short faults; and how many workers each tracker has."""

    seconds: float
    long: bool
    workers: int = 1


SHORT = Form(4, long=False)


@dataclass
class Row:
    """What came of a fault. `seconds`: until it was as before, None if it never was."""

    fault: Fault
    accepted: int
    refused: int
    unknown: int
    seconds: float | None
    verdict: Verdict
    answers: dict[str, int]
    connections: dict[str, int]


async def run(fault: Fault, form: Form) -> Row:
    """One fault, in a world of its own."""
    workers = max(form.workers, fault.workers)
    async with open_world(linked=fault.linked, workers=workers) as world, _followed(world) as stage:
        records = [follower.record for follower in (*stage.followers, stage.listener)]
        writers = Writers(world.url)
        complaints: list[str] = []
        seconds = None
        with trio.move_on_after(form.seconds + fault.hold + RECOVERY_TIMEOUT + 30) as whole:
            async with trio.open_nursery() as load:
                load.start_soon(writers.run)
                started = trio.current_time()
                await trio.sleep(min(form.seconds / 4, 3))
                await fault.breaks(stage)
                await trio.sleep(fault.hold if form.long else fault.short_hold)
                await fault.repairs(stage)
                repaired = trio.current_time()
                recovered = await _see_everywhere(writers, records, fault.probe, "probe", complaints)
                seconds = None if recovered is None else recovered - repaired
                await trio.sleep(max(started + form.seconds - trio.current_time(), 1))
                writers.stop()
        if whole.cancelled_caught:
            complaints.append("the writers never came to an end")
        await _see_everywhere(writers, records, fault.probe, "end", complaints)
        complaints += await _state_of(world)
        stage.listener.finish()
        log = await trio.to_thread.run_sync(read_log, world.redis.url)
    verdict = judge(log, writers, records, emptied=fault.emptied)
    verdict.otherwise += complaints
    return Row(
        fault,
        accepted=writers.count("accepted"),
        refused=writers.answers["503"] + writers.answers["no connection"],
        unknown=sum(writers.answers.values()) - sum(writers.answers[said] for said in ("202", "503", "no connection")),
        seconds=seconds,
        verdict=verdict,
        answers=dict(writers.answers),
        connections={record.name: record.connections for record in records},
    )


@asynccontextmanager
async def _followed(world: World) -> AsyncIterator[Stage]:
    """Followers of every kind, each from the log's beginning."""
    directory, url = world.directory, world.url
    async with trio.open_nursery() as nursery:
        followers: list[Follower] = [
            WebSocket(Record("WebSocket"), url),
            SSE(Record("SSE", SOME), url),
            NDJSON(Record("NDJSON"), url),
            Poller(Record("poller"), url),
        ]
        listener = Listener(nursery, Record("listener", ALL), await world.way_to_redis("listener"), directory)
        for follower in (*followers, listener):
            nursery.start_soon(follower.run)
        with trio.fail_after(RECOVERY_TIMEOUT):
            for follower in (*followers, listener):
                await follower.record.ready.wait()
        yield Stage(world, followers, listener)
        nursery.cancel_scope.cancel()


async def _see_everywhere(
    writers: Writers, records: Sequence[Record], account: int, name: str, complaints: list[str]
) -> float | None:
    """Send events until one is accepted, and return when the last follower was shown it; None if that never was."""
    place: Place | None = None
    missing = {record.name for record in records}
    with trio.move_on_after(RECOVERY_TIMEOUT):
        async with httpx.AsyncClient(base_url=writers.url, timeout=30) as client:
            while place is None:
                data = f"{name}-{len(writers.sent)}"
                sent = writers.sent[data] = Sent(account)
                await writers.put(client, sent, data, {})
                if sent.outcome == "accepted":
                    place = Place.of(sent.position)
                else:
                    await trio.sleep(PROBE_EVERY)
        shown = [sent.at]
        for record in records:
            shown.append(await record.until(place))
            missing.remove(record.name)
        return max(shown)
    what = "was accepted" if place is None else f"came to {', '.join(sorted(missing))}"
    complaints.append(f"no event `{name}` {what} within {RECOVERY_TIMEOUT} s")
    return None


async def _state_of(world: World) -> list[str]:
    """What is wrong with the programs at the end."""
    found = [complaint for tracker in world.trackers for complaint in tracker.complaints()]
    try:
        with trio.fail_after(END_TIMEOUT):
            await world.ready()
    except trio.TooSlowError:
        found.append(f"not every tracker is ready {END_TIMEOUT} s after the end")
    return found
