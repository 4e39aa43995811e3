"""Several workers: the parent that holds what they share, starts them, and starts them again.

The parent holds the data directory and the own servers, binds the public socket, and serves nothing itself. Each
worker is a whole tracker in a process of its own (`tracker/worker.py`), a new program rather than a fork.

All workers accept from one socket, which the parent holds open too. So a connection waits in one queue for whoever is
free: if a worker dies, is full or hangs, the others take what comes. With a socket for each (SO_REUSEPORT) the system
would go on giving a dead worker its share, to wait until there is another one. What that would give, an even spread of
connections, workers see to themselves: one that has more than another lets that one go first (`tracker/http/room.py`).

A worker's stdin is its orders and then its lifeline: at its end, when the parent has gone however suddenly, the worker
stops as at SIGTERM. On its stdout it tells that it is ready, or what is wrong with its settings. Workers run in
sessions of their own: Ctrl+C in a terminal reaches the parent alone, which passes it on as SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog
import trio

from shared.embedded import announce, hold
from shared.errors import Misconfigured, Unavailable
from shared.supervision import supervise
from tracker import counting
from tracker.board import Board
from tracker.config import Config
from tracker.orders import READY, Orders
from tracker.program import listen, own_servers, part, stop_at_signal, url, urls_of_servers

log = structlog.get_logger(__name__)

STOP_TIMEOUT = 15.0
"""How long a worker may take to stop before it is killed: limits.GRACE for its requests, and some more."""


async def serve(
    config: Config, directory: Path, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run workers until SIGTERM or SIGINT; another signal cuts short what is still in flight.

    `directory` is private, empty but for our own counts, and removed by the caller. `task_status.started()` gets the
    URLs that they serve, once all of them are ready (none if it stops before). Raises Misconfigured if any of them
    can't run with these settings. A worker that ends, for whatever other reason, is started again.
    """
    stopping = trio.Event()
    workers: list[Worker] = []
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as program:

            def hurry() -> None:
                for worker in workers:
                    worker.terminate()

            program.start_soon(stop_at_signal, signals, stopping, hurry)
            await _run(config, directory, workers, stopping, task_status)
            program.cancel_scope.cancel()


async def _run(
    config: Config,
    directory: Path,
    workers: list[Worker],
    stopping: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    with contextlib.ExitStack() as held:
        listeners = await listen(config)
        for listener in listeners:
            held.callback(listener.socket.close)
        own = own_servers(config)
        if own:
            held.enter_context(hold(config.data_dir))
            held.enter_context(announce(config.data_dir, url(listeners[0], config)))
        orders = Orders(
            config=_share(config),
            number=0,
            workers=config.workers,
            sockets=[listener.socket.fileno() for listener in listeners],
            parent=os.getpid(),
            directory=directory,
        )
        board = Board(orders.board, config.workers)
        workers += [Worker(replace(orders, number=number), board) for number in range(1, config.workers + 1)]

        ready = False
        async with trio.open_nursery() as servers:  # outlives the workers, which need its servers to the end
            async with trio.open_nursery() as crew:
                crew.start_soon(_dismiss, stopping, listeners, crew.cancel_scope)
                async with trio.open_nursery() as starting:
                    for server in own:
                        starting.start_soon(servers.start, supervise, server.run, part(f"own {type(server).__name__}"))
                urls = [url(listener, config) for listener in listeners]
                async with trio.open_nursery() as starting:
                    for worker in workers:
                        starting.start_soon(crew.start, supervise, worker.run, part(worker.name))
                ready = True
                task_status.started(urls)
            if not ready:
                task_status.started([])  # stopped before
            servers.cancel_scope.cancel()


def _share(config: Config) -> Config:
    """The settings of one worker: the addresses of our own servers, and its share of what is for the whole tracker,
    rounded up. The cache is no such thing: each worker meets all accounts."""
    database, redis = urls_of_servers(config)

    def share(number: int) -> int:
        return -(-number // config.workers)

    return replace(
        config,
        workers=1,
        database=database,
        redis=redis,
        max_connections=share(config.max_connections),
        max_followers=share(config.max_followers),
        queue_size=share(config.queue_size),
    )


async def _dismiss(stopping: trio.Event, listeners: Sequence[trio.SocketListener], crew: trio.CancelScope) -> None:
    await stopping.wait()
    for listener in listeners:  # as long as any process has it open, it takes connections that nobody will accept
        listener.socket.close()
    crew.cancel()


class Worker:
    """One worker, as long as the tracker runs: one process after the other."""

    def __init__(self, orders: Orders, board: Board) -> None:
        self.name = f"worker {orders.number}"
        self._orders = orders
        self._board = board
        self._process: trio.Process | None = None
        self._ran = False  # it could, with these settings

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Service: run a process until cancelled, then stop it; ready when it says so.

        Raises Unavailable when it ends by itself, Misconfigured if it says that it can't run with its settings.
        """
        try:
            process = self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "tracker.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=self._orders.sockets,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(self.name, f"can't be started: {error.strerror}") from error
        try:
            await self._lead(process, task_status)
        finally:
            with trio.CancelScope(shield=True):
                await self._stop(process)
            self._board.clear(self._orders.number)
            counting.forget(self._orders.number)

    def terminate(self) -> None:
        """Ask it to stop; asked again, it hurries."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    async def _lead(self, process: trio.Process, task_status: trio.TaskStatus[None]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended: its status says how
            await process.stdin.send_all(self._orders.encoded())
        said = b""
        async for chunk in process.stdout:
            *lines, said = (said + chunk).split(b"\n")
            for line in lines:
                if line != READY:
                    text = msgspec.json.decode(line, type=str)
                    # What it ran with before will be there again: a certificate that is being renewed, say.
                    raise Unavailable(self.name, text) if self._ran else Misconfigured(text)
                self._ran = True
                log.info("worker ready", worker=self._orders.number, process=process.pid)
                task_status.started()
        status = await process.wait()
        raise Unavailable(
            self.name, f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        )

    async def _stop(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.terminate()
        with trio.move_on_after(STOP_TIMEOUT):
            await process.wait()
        if process.poll() is None:
            log.warning("killed, as it did not stop", part=self.name, seconds=STOP_TIMEOUT)
            process.kill()
            await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()
