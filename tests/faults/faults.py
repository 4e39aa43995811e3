"""The table of faults: what is broken, for how long, and how it is repaired."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from tests.faults.followers import Follower, Listener
from tests.faults.world import World, workers_of


@dataclass
class Stage:
    """What there is to break."""

    world: World
    followers: list[Follower]
    listener: Listener


Act = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One thing that breaks. It stays broken for `hold` seconds, in the short form `short_hold`."""

    name: str
    title: str
    breaks: Act
    repairs: Act
    hold: float
    short_hold: float
    workers: int = 1
    """How many each tracker must have, at least."""
    linked: bool = False
    """Whether there is a network between everyone and Redis, to be broken."""
    emptied: bool = False
    """Whether the log is lost, so that followers must be told."""
    probe: int = 1
    """The account of the event that proves the recovery."""


async def _redis_killed(stage: Stage) -> None:
    await stage.world.redis.kill()


async def _redis_started(stage: Stage) -> None:
    await stage.world.redis.start()


async def _redis_emptied(stage: Stage) -> None:
    await stage.world.empty_redis()


async def _redis_frozen(stage: Stage) -> None:
    stage.world.redis.freeze()


async def _redis_thawed(stage: Stage) -> None:
    stage.world.redis.thaw()


async def _postgres_killed(stage: Stage) -> None:
    await stage.world.postgres.kill()


async def _postgres_started(stage: Stage) -> None:
    await stage.world.postgres.start()


async def _tracker_killed(stage: Stage) -> None:
    await stage.world.trackers[0].end(signal.SIGKILL)


async def _tracker_stopped(stage: Stage) -> None:
    with trio.fail_after(15):
        await stage.world.trackers[0].end(signal.SIGTERM)


async def _worker_killed(stage: Stage) -> None:
    tracker = stage.world.trackers[0].process
    assert tracker is not None
    workers_of(tracker)[0].kill()


async def _tracker_started(stage: Stage) -> None:
    await stage.world.trackers[0].start()


async def _nginx_stopped(stage: Stage) -> None:
    await stage.world.stop_nginx()


async def _nginx_started(stage: Stage) -> None:
    await stage.world.start_nginx()


async def _network_cut(stage: Stage) -> None:
    for name in ("127.0.0.2", "listener"):
        stage.world.links[name].cut()


async def _network_stalled(stage: Stage) -> None:
    for link in stage.world.links.values():
        link.stall()


async def _answers_held(stage: Stage) -> None:
    for link in stage.world.links.values():
        link.mute()


async def _answers_lost(stage: Stage) -> None:
    """What Redis had done by then has no answer, and is asked for again."""
    for link in stage.world.links.values():
        link.cut()
        link.repair()


async def _network_repaired(stage: Stage) -> None:
    for link in stage.world.links.values():
        link.repair()


async def _listener_killed(stage: Stage) -> None:
    await stage.listener.drop()


async def _listener_started(stage: Stage) -> None:
    await stage.listener.resume()


async def _followers_dropped(stage: Stage) -> None:
    for follower in stage.followers:
        await follower.drop()


async def _followers_resumed(stage: Stage) -> None:
    for follower in stage.followers:
        await follower.resume()


async def _nothing(stage: Stage) -> None:
    pass


COLD_ACCOUNT = 900
"""No tracker has it in its cache: it is accepted only while PostgreSQL answers."""

FAULTS = (
    Fault("nothing", "nothing", _nothing, _nothing, 1, 0.5),
    Fault("redis-killed", "Redis: kill -9, restart", _redis_killed, _redis_started, 5, 2),
    Fault("redis-frozen", "Redis: frozen (SIGSTOP)", _redis_frozen, _redis_thawed, 15, 7),
    Fault("redis-emptied", "Redis: kill -9, restart without data", _redis_emptied, _redis_started, 3, 1, emptied=True),
    Fault(
        "postgres-killed",
        "PostgreSQL: kill -9, restart",
        _postgres_killed,
        _postgres_started,
        hold=10,
        short_hold=4,
        probe=COLD_ACCOUNT,
    ),
    Fault("tracker-killed", "one tracker: kill -9, restart", _tracker_killed, _tracker_started, 5, 1),
    Fault("tracker-stopped", "one tracker: SIGTERM, restart", _tracker_stopped, _tracker_started, 5, 1),
    Fault("worker-killed", "one worker of a tracker: kill -9", _worker_killed, _nothing, 5, 1, workers=2),
    Fault("nginx-restarted", "nginx: stop as by Docker, restart", _nginx_stopped, _nginx_started, 2, 0.5),
    Fault(
        "network-cut",
        "network to Redis: cut for one tracker and the listener",
        _network_cut,
        _network_repaired,
        hold=10,
        short_hold=4,
        linked=True,
    ),
    Fault(
        "network-stalled",
        "network to Redis: stalled for all, then delivered",
        _network_stalled,
        _network_repaired,
        hold=15,
        short_hold=7,
        linked=True,
    ),
    Fault(
        "answers-lost",
        "network to Redis: answers held, then lost with the connections",
        _answers_held,
        _answers_lost,
        hold=1,
        short_hold=1,
        linked=True,
    ),
    Fault("listener-killed", "listener: kill -9, restart with --state", _listener_killed, _listener_started, 5, 2),
    Fault(
        "followers-dropped",
        "WebSocket, SSE, NDJSON, poller: dropped, resumed",
        _followers_dropped,
        _followers_resumed,
        hold=5,
        short_hold=2,
    ),
)
