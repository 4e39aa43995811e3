"""The world of a fault: PostgreSQL, Redis, three trackers, and nginx before them, each a process that can be broken."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import httpx
import psutil
import trio

from shared.embedded import Postgres, Redis
from tests.faults.network import Link
from tests.integration.fragile import Fragile
from tests.nginx import Balancer, find_nginx

ROOT = Path(__file__).parents[2]
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
KEEP_EVENTS = 10_000_000
START_TIMEOUT = 60
_CONFIGURING = ("TRACKER_", "LISTENER_", "COVERAGE_", "DATABASE_URL", "REDIS_URL")


def environment() -> dict[str, str]:
    """Ours, without what would configure the programs, or measure them: coverage makes them half as fast."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_CONFIGURING)}


class Program:
    """A program of ours, started with `python -m`, killed and started again by the test. Its stderr goes to a file."""

    def __init__(self, nursery: trio.Nursery, command: Sequence[str], log: Path, *, pipe: bool = False) -> None:
        """`pipe`: whether its stdout is read, as `process.stdout`."""
        self.log = log
        self.process: trio.Process | None = None
        self._nursery = nursery
        self._command = [sys.executable, "-m", *command]
        self._pipe = pipe

    async def start(self) -> trio.Process:
        with self.log.open("ab") as log:
            run = partial(
                trio.run_process,
                self._command,
                stdout=subprocess.PIPE if self._pipe else subprocess.DEVNULL,
                stderr=log,
                check=False,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
                deliver_cancel=_kill,
            )
            self.process = await self._nursery.start(run)
        return self.process

    async def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.wait()
        self.process = None

    def complaints(self) -> list[str]:
        """What is wrong with how it ran: an end of its own, a traceback."""
        said = self.log.read_text(errors="replace")
        found = []
        if self.process is not None and self.process.poll() is not None:
            found.append(f"{self.log.name}: ended by itself with status {self.process.returncode}: {said[-2000:]}")
        elif "Traceback" in said:
            found.append(f"{self.log.name}: {said[max(0, said.index('Traceback') - 500) :][:3000]}")
        return found


async def _kill(process: trio.Process) -> None:
    workers = workers_of(process)
    process.kill()
    for worker in workers:
        worker.kill()


def workers_of(process: trio.Process) -> list[psutil.Process]:
    """Those of a running tracker that has several."""
    return [each for each in psutil.Process(process.pid).children() if "tracker.worker" in each.cmdline()]


class World:
    """Everything, once `start()` has returned, and the handles to break it with."""

    def __init__(self, nursery: trio.Nursery, directory: Path, log: BinaryIO, *, linked: bool, workers: int) -> None:
        """`linked`: whether everyone's way to Redis is a Link, each their own; else it is the Unix socket. `workers`:
        of each tracker.

        `log` gets what nginx says.
        """
        self.nursery = nursery
        self.directory = directory
        self._redis_socket = directory / "redis.sock"
        self.postgres = Fragile(Postgres(directory), directory / "postgresql" / ".s.PGSQL.5432", nursery)
        self.redis = Fragile(Redis(directory), self._redis_socket, nursery)
        self.balancer = Balancer(find_nginx(), directory, list(ADDRESSES), log=log)
        self.links: dict[str, Link] = {}
        self.trackers: list[Program] = []
        self._linked = linked
        self._workers = workers
        self._nginx: trio.Process | None = None

    @property
    def url(self) -> str:
        """Of nginx."""
        return self.balancer.url

    async def start(self) -> None:
        async with trio.open_nursery() as starting:
            starting.start_soon(self.postgres.start)
            starting.start_soon(self.redis.start)
            starting.start_soon(self.nursery.start, self.balancer.names.run)
        for address in ADDRESSES:
            options = {
                "--bind": f"{address}:{self.balancer.tracker_port}",
                "--database": self.postgres.url,
                "--redis": await self.way_to_redis(address),
                "--host": address,
                "--keep-events": str(KEEP_EVENTS),
                "--workers": str(self._workers),
            }
            command = ["tracker", *(part for option in options.items() for part in option)]
            self.trackers.append(Program(self.nursery, command, self.directory / f"tracker-{address}.log"))
        async with trio.open_nursery() as starting:
            starting.start_soon(self.start_nginx)
            for tracker in self.trackers:
                starting.start_soon(tracker.start)
        with trio.fail_after(START_TIMEOUT):
            await self.ready()

    async def ready(self) -> None:
        """Wait until every tracker says that it is ready, and nginx reaches one."""
        for address in ADDRESSES:
            await _until_ready(f"http://{address}:{self.balancer.tracker_port}/readyz")
        await _until_ready(f"{self.url}/readyz")

    async def way_to_redis(self, name: str) -> str:
        """The URL by which `name` reaches Redis."""
        if not self._linked:
            return self.redis.url
        link = self.links[name] = Link(self._redis_socket)
        await self.nursery.start(link.run)
        return link.url

    async def start_nginx(self) -> None:
        self._nginx = await self.nursery.start(self.balancer.run)

    async def stop_nginx(self) -> None:
        """As `docker stop` does."""
        assert self._nginx is not None
        self._nginx.send_signal(signal.SIGQUIT)
        with trio.fail_after(20):
            await self._nginx.wait()

    async def empty_redis(self) -> None:
        """Kill it, and lose what it had."""
        await self.redis.kill()
        shutil.rmtree(self.directory / "redis")

    def repair(self) -> None:
        """So that everything can be stopped."""
        for link in self.links.values():
            link.repair()
        with contextlib.suppress(AssertionError):  # it does not run
            self.redis.thaw()


@asynccontextmanager
async def open_world(*, linked: bool = False, workers: int = 1) -> AsyncIterator[World]:
    """A running world; nothing is left of it after."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name, (Path(name) / "nginx.log").open("ab") as log:
        async with trio.open_nursery() as nursery:
            world = World(nursery, Path(name), log, linked=linked, workers=workers)
            try:
                await world.start()
                yield world
            finally:
                world.repair()
                nursery.cancel_scope.cancel()


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url)).status_code == 200:
                    return
            await trio.sleep(0.05)
