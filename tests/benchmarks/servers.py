"""The processes of a benchmark: PostgreSQL and Redis of our own, and on them tracker, plain and bare."""

from __future__ import annotations

import asyncio
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil
import redis
import trio

from shared.embedded import Postgres, Redis
from shared.reading import META
from tests.faults.world import Program

START_TIMEOUT = 60
STOP_TIMEOUT = 20
POLL_EVERY = 0.002
SETTLED_AFTER = 0.05
"""For how many seconds no event comes to the log, when none is under way."""
_SERVING = re.compile(r" on (http://\S+)")


@dataclass
class Server:
    """A server under test, while it runs. `seconds`: from its start until it said that it is ready."""

    name: str
    url: str
    pid: int
    seconds: float
    is_tracker: bool = False

    @property
    def memory(self) -> int:
        """How many bytes it takes (RSS)."""
        return psutil.Process(self.pid).memory_info().rss

    @property
    def cpu(self) -> float:
        """For how many seconds it was on a core."""
        used = psutil.Process(self.pid).cpu_times()
        return used.user + used.system


class Stage:
    """A running PostgreSQL and Redis, and what starts the rest on them."""

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        self.directory = directory
        self._nursery = nursery
        self._postgres = Postgres(directory)
        self._redis = Redis(directory)
        self._numbers = count(1)

    async def start(self) -> None:
        async with trio.open_nursery() as starting:
            starting.start_soon(self._nursery.start, self._postgres.run)
            starting.start_soon(self._nursery.start, self._redis.run)

    async def clear(self) -> None:
        """Forget all events, while nobody is connected: each measure begins with an empty log."""

        def flush() -> None:
            with redis.Redis.from_url(self._redis.url) as client:
                client.flushall()

        await trio.to_thread.run_sync(flush)

    async def logged(self) -> int:
        """How many events the log has had since it was cleared, once no more come: there may be some under way."""

        def position() -> int:
            with redis.Redis.from_url(self._redis.url) as client:
                return int(client.hget(META, "position") or 0)

        last, now = -1, await trio.to_thread.run_sync(position)
        while last != now:
            await trio.sleep(SETTLED_AFTER)
            last, now = now, await trio.to_thread.run_sync(position)
        return now

    async def make_database(self, accounts: int) -> str:
        """The URL of a database with so many accounts, 1 to `accounts`, made if there is none yet."""
        name = f"accounts_{accounts}"
        url = urlunsplit(urlsplit(self._postgres.url)._replace(path=f"/{name}"))

        async def make() -> None:
            connection = await asyncpg.connect(self._postgres.url)
            try:
                if await connection.fetchval("select 1 from pg_database where datname = $1", name):
                    return
                await connection.execute(f"create database {name}")
            finally:
                await connection.close()
            connection = await asyncpg.connect(url)
            try:  # the table as the Go system made it: the tracker takes it over
                await connection.execute(
                    "create table account"
                    " (id serial primary key, name varchar(255) not null, isActive boolean default true)"
                )
                await connection.execute(
                    "insert into account (name) select md5(n::text) from generate_series(1, $1::int) as n", accounts
                )
                await connection.execute("vacuum analyze account")
            finally:
                await connection.close()

        await trio.to_thread.run_sync(asyncio.run, make())
        return url

    @asynccontextmanager
    async def tracker(
        self, *options: str, accounts: int, name: str = "tracker", module: str = "tracker"
    ) -> AsyncIterator[Server]:
        """A tracker with these options, started by `python -m module`."""
        database = await self.make_database(accounts)
        servers = ("--database", database, "--redis", self._redis.url)
        command = [module, "--bind", "127.0.0.1:0", *servers, *options]
        async with self.run(name, command) as server:
            yield replace(server, is_tracker=True)

    @asynccontextmanager
    async def plain(self, *, accounts: int) -> AsyncIterator[Server]:
        command = ["tests.benchmarks.plain", await self.make_database(accounts), self._redis.url]
        async with self.run("plain", command) as server:
            yield server

    @asynccontextmanager
    async def bare(self) -> AsyncIterator[Server]:
        async with self.run("bare", ["tests.benchmarks.bare"]) as server:
            yield server

    @asynccontextmanager
    async def run(self, name: str, command: Sequence[str], ready: re.Pattern[str] = _SERVING) -> AsyncIterator[Server]:
        """Start `python -m command`; it is ready when its stderr says so. `ready` may name its URL."""
        log = self.directory / f"{name}-{next(self._numbers)}.log"
        program = Program(self._nursery, command, log)
        started = trio.current_time()
        process = await program.start()
        try:
            with trio.fail_after(START_TIMEOUT):
                while not (found := ready.search(log.read_text())):
                    if process.poll() is not None:
                        raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
                    await trio.sleep(POLL_EVERY)
            seconds = trio.current_time() - started
            yield Server(name, found[1] if ready.groups else "", process.pid, seconds)
            if complaints := program.complaints():
                raise RuntimeError("\n".join(complaints))
        finally:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(STOP_TIMEOUT):
                    await program.end(signal.SIGTERM)
                if program.process is not None:
                    await program.end(signal.SIGKILL)


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """A stage in a directory of its own; nothing is left of it after."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name:
        async with trio.open_nursery() as nursery:
            stage = Stage(nursery, Path(name))
            await stage.start()
            yield stage
            nursery.cancel_scope.cancel()
