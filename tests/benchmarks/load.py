"""Load from processes of their own. What counts is what was accepted and, of a tracker, is in the log.

Every function here returns figures (their units: `samples.UNITS`), among them `client`: how much of a core the load
generator took. It raises Wrong if there was any answer but the wanted one, or if the log has not what was accepted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.benchmarks.servers import Server, Stage
from tests.faults.world import ROOT, environment

SCRIPT = Path(__file__).with_name("put.lua")
TIMEOUT = 20
"""After how many seconds a request of wrk counts as not answered."""
WARM_UP_CONNECTIONS = 128

Figures = dict[str, float]


class Wrong(Exception):
    """What was measured means nothing. The text says why."""


async def put(stage: Stage, server: Server, connections: int, seconds: int, *, accounts: int) -> Figures:
    """PUTs by wrk to random accounts, as fast as they are answered: `rate`, `p50` and `p99`.

    Each is timed from when it was sent; a connection sends its next one when it has the answer. wrk is no bottleneck:
    against an nginx that answers 202 it sends 200,000 a second, where `bare` answers 58,000 (over 32 connections, both
    on the same two cores).
    """
    # One thread: more would take the servers' core.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"--timeout={TIMEOUT}s"]
    command += ["-s", str(SCRIPT), server.url, "--", str(accounts)]
    # When its time is over, wrk leaves: requests under way are accepted, and nobody hears of it. A slow server may
    # still have those of the load before.
    used = _children()
    figures = await _load(stage, server, command, unheard=2 * connections)
    figures["client"] = (_children() - used) / seconds * 100
    errors = {name: figures.pop(name) for name in ("status", "broken", "timeout")}
    if any(errors.values()):
        raise Wrong(f"{server.name} failed at {connections} connections: {errors}")
    return figures


async def warm_up(stage: Stage, *servers: Server, seconds: int, accounts: int) -> None:
    """So that nothing of what is measured happens for the first time; `seconds` may be 0."""
    for server in servers if seconds else ():
        await put(stage, server, WARM_UP_CONNECTIONS, seconds, accounts=accounts)


async def paced(
    stage: Stage, server: Server, *, connections: int, rate: float, seconds: int, accounts: int, until: str
) -> Figures:
    """See `clients/paced.py`."""
    arguments = (server.url, connections, rate, seconds, accounts, until)
    return await _load(stage, server, _client("paced", *arguments))


async def fan_out(stage: Stage, source: Server, server: Server, *, followers: int, seconds: int) -> Figures:
    """See `clients/fan_out.py`."""
    arguments = (source.url, server.url, followers, seconds, "yes" if server.is_tracker else "no")
    return await _load(stage, source, _client("fan_out", *arguments))


async def bulk(stage: Stage, server: Server, form: str, *, connections: int, seconds: int, accounts: int) -> Figures:
    """See `clients/bulk.py`."""
    return await _load(stage, server, _client("bulk", server.url, form, connections, seconds, accounts))


@asynccontextmanager
async def idle(server: Server, transport: str, *, followers: int, accounts: int) -> AsyncIterator[None]:
    """So many followers, while inside. See `clients/idle.py`."""
    command = _client("idle", server.url, transport, followers, accounts)
    async with trio.open_nursery() as nursery:
        run = trio.run_process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = await nursery.start(lambda **task: run(command, cwd=ROOT, env=environment(), **pipes, **task))
        if not await process.stdout.receive_some():
            raise Wrong(f"Not all {followers} followers could connect.")
        yield
        await process.stdin.aclose()


async def _load(stage: Stage, server: Server, command: Sequence[str], *, unheard: int = 0) -> Figures:
    """Run a client; what it says without `accepted`. The log may have so many more events as were `unheard` of."""
    before = await stage.logged()
    done = await trio.run_process(
        command, cwd=ROOT, env=environment(), capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode:
        raise Wrong(f"{server.name}: {done.stderr.decode(errors='replace')[-2000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    accepted = figures.pop("accepted")
    if server.is_tracker:
        logged = await stage.logged() - before
        if not accepted <= logged <= accepted + unheard:
            raise Wrong(f"{server.name} accepted {accepted} events, and {logged} came to the log.")
    if not accepted:
        raise Wrong(f"{server.name} accepted nothing.")
    return figures


def _client(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"tests.benchmarks.clients.{name}", *map(str, arguments)]


def _children() -> float:
    """For how many seconds children that have ended were on a core."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
