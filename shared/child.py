"""A server program as a child of ours: its log, its start and stop, and what an earlier one of it may have left."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

import trio

from shared.errors import Misconfigured, Unavailable

START_TIMEOUT = 60.0
SIGNAL_PATIENCE = 10.0
POLL_INTERVAL = 0.05
QUOTED_LINES = 3

UNKNOWN_PID = 0


class Child:
    """One server program that listens on a Unix socket, run as a child in a session of its own.

    Its own session keeps Ctrl+C in the terminal from it: the tracker still has requests to answer, and stops it after.
    """

    def __init__(self, part: str, *, socket_path: Path, log_path: Path, stop_signals: Sequence[signal.Signals]) -> None:
        """`stop_signals`, gentlest first, are sent one after the other, each given some time to work."""
        self.part = part
        self._socket_path = socket_path
        self._log_path = log_path
        self._stop_signals = stop_signals

    async def open_log(self) -> BinaryIO:
        """Start a new log and lock it; before that, stop the server that a killed tracker has left.

        The child inherits the open file and with it the lock, which the kernel keeps until the last process of that
        server has gone. That is certain where process IDs are not: they are used again, and differ between containers.

        Raises Unavailable if the earlier server does not go.
        """
        for stop_signal in self._stop_signals:
            pid = listening_pid(self._socket_path)
            if pid:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, stop_signal)
            with trio.move_on_after(SIGNAL_PATIENCE):
                while True:
                    if listening_pid(self._socket_path) is None and (log := _lock_new_log(self._log_path)):
                        return log
                    await trio.sleep(POLL_INTERVAL)
        raise Unavailable(self.part, f"an earlier one still runs in {self._log_path.parent}, and can't be stopped")

    async def run(
        self,
        command: Sequence[str],
        log: BinaryIO,
        *,
        ready: Callable[[int], Awaitable[bool]],
        task_status: trio.TaskStatus[None],
    ) -> NoReturn:
        """Run the server until cancelled, then stop it. `ready(pid)` says whether it accepts connections.

        Raises Unavailable when it does not start within a minute, or ends by itself.
        """
        process = await self._start(command, log)
        try:
            try:
                with trio.fail_after(START_TIMEOUT):
                    while not await ready(process.pid):
                        if process.poll() is not None:
                            raise Unavailable(self.part, f"did not start: {self.last_words(process.returncode)}")
                        await trio.sleep(POLL_INTERVAL)
            except trio.TooSlowError:
                raise Unavailable(
                    self.part, f"not ready after {START_TIMEOUT:.0f} s: {self.last_words(None)}"
                ) from None
            task_status.started()
            await process.wait()
            raise Unavailable(self.part, self.last_words(process.returncode))
        finally:
            await self._stop(process)

    async def run_to_end(self, command: Sequence[str], log: BinaryIO) -> int:
        """Run a program that ends by itself, in the surroundings of the server, and return its exit status."""
        process = await self._start(command, log)
        try:
            return await process.wait()
        finally:
            await self._stop(process)

    async def _start(self, command: Sequence[str], log: BinaryIO) -> trio.Process:
        # PGPORT and its kin would change what the server does; macOS' PostgreSQL needs a locale.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment["LC_ALL"] = "C"
        try:
            return await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._log_path.parent,
                umask=0o077,
                start_new_session=True,
            )
        except OSError as error:
            raise Misconfigured(f"{self.part} can't be started: {command[0]}: {error.strerror}.") from error

    async def _stop(self, process: trio.Process) -> None:
        with trio.CancelScope(shield=True):
            for stop_signal in self._stop_signals:
                if process.poll() is not None:
                    return
                process.send_signal(stop_signal)
                with trio.move_on_after(SIGNAL_PATIENCE):
                    await process.wait()

    def last_words(self, returncode: int | None) -> str:
        """How the program ended (None: it still runs), and the last lines of its log."""
        if returncode is None:
            how = "it runs"
        elif returncode == -signal.SIGKILL:
            return "killed by SIGKILL"  # too suddenly for last words
        elif returncode < 0:
            how = f"killed by {signal.Signals(-returncode).name}"
        else:
            how = f"ended with status {returncode}"
        lines = self._log_path.read_text(errors="replace").splitlines()[-QUOTED_LINES:]
        return "\n    ".join([f"{how}; the last lines of {self._log_path}:", *lines])


def listening_pid(path: Path) -> int | None:
    """The process that listens on a Unix socket, UNKNOWN_PID if it can't be told, None if nobody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
            if sys.platform == "linux":
                pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            else:
                sol_local, local_peerpid = 0, 2  # <sys/un.h> of macOS
                pid = probe.getsockopt(sol_local, local_peerpid)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError:  # a full backlog, or a system that doesn't tell
            return UNKNOWN_PID
        return pid


def try_lock(file: BinaryIO) -> bool:
    """Lock a file for as long as it is open here or in a process that inherited it; False if it is locked already."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_new_log(path: Path) -> BinaryIO | None:
    previous = path.open("ab")
    if not try_lock(previous):
        previous.close()
        return None
    if previous.tell() == 0:
        return previous
    with previous:
        path.replace(path.with_name(f"{path.name}.1"))
        log = path.open("ab")
        try_lock(log)
    return log
