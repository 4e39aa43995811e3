"""Servers that tests kill, freeze and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import trio

from shared.child import listening_pid
from shared.embedded import Postgres, Redis
from shared.errors import Unavailable


class Fragile:
    """A PostgreSQL or Redis of our own, whose outages the test makes."""

    def __init__(self, server: Postgres | Redis, socket: Path, nursery: trio.Nursery) -> None:
        self.url = server.url
        self._server = server
        self._socket = socket
        self._nursery = nursery

    async def start(self) -> None:
        """Start it (again) and return when it answers."""
        await self._nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._gone = trio.Event()
        try:
            await self._server.run(task_status=task_status)
        except Unavailable:
            pass
        finally:
            self._gone.set()

    async def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        await self._gone.wait()

    def freeze(self) -> None:
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    @property
    def _pid(self) -> int:
        pid = listening_pid(self._socket)
        assert pid is not None
        return pid

    def _signal_all(self, number: signal.Signals) -> None:
        server = psutil.Process(self._pid)
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # a helper of the server's, done in the meantime
                process.send_signal(number)


@asynccontextmanager
async def fragile_servers() -> AsyncIterator[tuple[Fragile, Fragile]]:
    """A PostgreSQL and a Redis, both still to be started; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name:
        data_dir = Path(name)
        async with trio.open_nursery() as nursery:
            postgres = Fragile(Postgres(data_dir), data_dir / "postgresql" / ".s.PGSQL.5432", nursery)
            redis = Fragile(Redis(data_dir), data_dir / "redis.sock", nursery)
            try:
                yield postgres, redis
            finally:
                nursery.cancel_scope.cancel()
