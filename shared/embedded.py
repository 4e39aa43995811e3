"""PostgreSQL and Redis of our own: real servers in a data directory, on Unix sockets, as children in the nursery.

    with hold(data_dir):
        await nursery.start(supervise, Postgres(data_dir).run, ...)
        await nursery.start(supervise, Redis(data_dir).run, ...)

In the data directory: `lock`, `postgresql/` and `redis/` with their data, `redis.sock`, a log of each server, and
`address`, which tells where the tracker serves.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NoReturn
from urllib.parse import quote

import platformdirs
import trio

from shared.child import Child, try_lock
from shared.errors import Misconfigured
from shared.programs import postgresql_programs, redis_program

LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103


def default_data_dir() -> Path:
    """Where tracker and listener look for the embedded servers unless told otherwise."""
    return Path(platformdirs.user_data_dir("trio-tracker"))


def redis_url(data_dir: Path) -> str:
    """The URL of the embedded Redis of a data directory."""
    return f"unix://{quote(str(_redis_socket(data_dir)))}"


def database_url(data_dir: Path) -> str:
    """The URL of the embedded PostgreSQL of a data directory."""
    return f"postgresql://tracker@/postgres?host={quote(str(_postgresql_socket(data_dir).parent))}"


def tracker_url(data_dir: Path) -> str | None:
    """The address of the tracker that runs in a data directory, or None."""
    try:
        return _address(data_dir).read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


@contextmanager
def announce(data_dir: Path, url: str) -> Iterator[None]:
    """Let `tracker_url` find us in the data directory that we hold, for the time of the block."""
    address = _address(data_dir)
    new = address.with_name("address.new")
    new.write_text(f"{url}\n", encoding="ascii")
    new.replace(address)
    try:
        yield
    finally:
        address.unlink(missing_ok=True)


def _address(data_dir: Path) -> Path:
    return data_dir.absolute() / "address"


def _redis_socket(data_dir: Path) -> Path:
    return data_dir.absolute() / "redis.sock"


def _postgresql_socket(data_dir: Path) -> Path:
    return data_dir.absolute() / "postgresql" / ".s.PGSQL.5432"


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Make the data directory if need be, private to its owner, and keep every other tracker out of it.

    Raises Misconfigured if another process holds it, or it can't be used.
    """
    data_dir = data_dir.absolute()
    _check_name(data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(data_dir)
        lock = (data_dir / "lock").open("a+b")
    except (FileExistsError, NotADirectoryError) as error:
        raise Misconfigured(f"The data directory {data_dir} can't be used: {error.filename} is a file.") from error
    except OSError as error:
        raise Misconfigured(
            f"The data directory {data_dir} can't be used: {error.strerror}. Choose another with --data-dir."
        ) from error
    with lock:
        if not try_lock(lock):
            lock.seek(0)
            holder = lock.read().decode(errors="replace").strip() or "another process"
            raise Misconfigured(
                f"The data directory {data_dir} is in use by {holder}. Stop it, or choose another with --data-dir."
            )
        lock.truncate(0)
        lock.write(f"process {os.getpid()} (tracker, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC)\n".encode())
        lock.flush()
        yield
        lock.truncate(0)


def _check_name(data_dir: Path) -> None:
    for path in (_redis_socket(data_dir), _postgresql_socket(data_dir)):
        if (excess := len(os.fsencode(path)) - LONGEST_SOCKET_PATH) > 0:
            raise Misconfigured(
                f"The name of the data directory {data_dir} is too long by {excess} bytes: this system allows sockets "
                f"{LONGEST_SOCKET_PATH}, as in {path}. Choose a shorter one with --data-dir."
            )
    if "," in str(data_dir):
        raise Misconfigured(
            f"The name of the data directory {data_dir} has a comma, which separates hosts in the URL of a database. "
            "Choose another with --data-dir."
        )


def _make_private(data_dir: Path) -> None:
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & 0o077:
        # A slip such as `--data-dir /tmp` must not lock others out of what is theirs.
        others = {entry.name for entry in data_dir.iterdir()} - {"lost+found"}
        if others and "lock" not in others:
            raise Misconfigured(
                f"The data directory {data_dir} is open to others (mode {mode:o}) and holds files that are not the "
                f"tracker's. Choose an empty one with --data-dir, or close it (chmod 700) if it is the right one."
            )
        data_dir.chmod(0o700)


class Postgres:
    """A PostgreSQL of our own, for whoever holds the data directory."""

    def __init__(self, data_dir: Path, *, trackers: int = 1) -> None:
        """`trackers`: how many processes of a tracker there will be to connect to it."""
        self.url = database_url(data_dir)
        self._connections = max(50, 20 * trackers)
        self._data_dir = data_dir.absolute()
        self._data = self._data_dir / "postgresql"
        self._child = Child(
            "PostgreSQL",
            socket_path=_postgresql_socket(data_dir),
            log_path=self._data_dir / "postgresql.log",
            stop_signals=(signal.SIGINT, signal.SIGQUIT, signal.SIGKILL),  # fast, immediate, and what remains
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Run the server until cancelled; the first time, make its database.

        Raises Unavailable when it ends by itself, Misconfigured when it can't be run here.
        """
        programs = await trio.to_thread.run_sync(postgresql_programs, self._data)
        with await self._child.open_log() as log:
            if not self._has_database():
                await self._make_database(programs, log)
            self._forget_dead()
            settings = {
                "listen_addresses": "",
                "port": "5432",
                "unix_socket_directories": ".",
                "unix_socket_permissions": "0700",
                "max_connections": str(self._connections),
                "shared_buffers": "32MB",
                "fsync": "on",
                "log_checkpoints": "off",
            }
            command = [*_as_owner(self._data), str(programs / "postgres"), "-D", str(self._data)]
            for name, value in settings.items():
                command += ["-c", f"{name}={value}"]
            await self._child.run(command, log, ready=self._ready, task_status=task_status)

    def _has_database(self) -> bool:
        return (self._data / "PG_VERSION").exists()

    async def _make_database(self, programs: Path, log: BinaryIO) -> None:
        """Made beside its place and then moved there, so that a crash leaves nothing that looks finished."""
        unfinished = self._data_dir / "postgresql.new"
        try:
            await trio.to_thread.run_sync(_make_directory_of_server, unfinished)
            initdb = [*_as_owner(unfinished), str(programs / "initdb"), "-D", str(unfinished), "-U", "tracker"]
            initdb += ["--auth=trust", "--encoding=UTF8", "--locale=C"]
            if (returncode := await self._child.run_to_end(initdb, log)) != 0:
                raise Misconfigured(
                    f"PostgreSQL could not make its database (initdb): {self._child.last_words(returncode)}"
                )
            unfinished.rename(self._data)
        except OSError as error:
            raise Misconfigured(f"PostgreSQL could not make its database in {self._data}: {error.strerror}.") from error

    def _forget_dead(self) -> None:
        """Remove lock files whose process ID now belongs to a program of another kind.

        PostgreSQL believes any live process of its user, and would not start. After the kill of a container that is
        the normal case: process IDs begin anew.
        """
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            try:
                pid = int((self._data / name).read_text().split("\n")[0])
                if b"postgres" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    (self._data / name).unlink()
            except (OSError, ValueError):
                continue

    async def _ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[0:1] == [str(pid)] and [line.strip() for line in lines[7:8]] == ["ready"]


def _make_directory_of_server(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    if os.geteuid() == 0:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise Misconfigured(
                "PostgreSQL refuses to run as root, and there is no user `nobody` to run it as. Run the tracker as an "
                "ordinary user, or name a database with --database or DATABASE_URL."
            ) from None
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _as_owner(path: Path) -> list[str]:
    """What to put before a command for PostgreSQL, which refuses to run as root: it then runs as the data's owner.

    The capability lets it through directories that are root's alone: above its data, and above its programs.
    CAP_DAC_READ_SEARCH would do, but containers usually have only this one.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Misconfigured(
            "PostgreSQL refuses to run as root, and there is no `setpriv` to run it as another user. Install "
            "util-linux, run the tracker as an ordinary user, or name a database with --database or DATABASE_URL."
        )
    owner = path.stat()
    identity = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return [setpriv, *identity, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


class Redis:
    """A Redis (or Valkey) of our own, for whoever holds the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.url = redis_url(data_dir)
        self._socket = _redis_socket(data_dir)
        self._data = data_dir.absolute() / "redis"
        self._child = Child(
            "Redis",
            socket_path=self._socket,
            log_path=data_dir.absolute() / "redis.log",
            stop_signals=(signal.SIGTERM, signal.SIGKILL),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Run the server until cancelled.

        Raises Unavailable when it ends by itself, Misconfigured when it can't be run here.
        """
        program = await trio.to_thread.run_sync(redis_program, self._data)
        with await self._child.open_log() as log:
            self._make_directory()
            settings = {
                "port": "0",
                "unixsocket": str(self._socket),
                "unixsocketperm": "700",
                "dir": str(self._data),
                "appendonly": "yes",
                "appendfsync": "always",
                "save": "",
                "maxmemory-policy": "noeviction",
                "daemonize": "no",
            }
            command = [str(program)]
            for name, value in settings.items():
                command += [f"--{name}", value]
            await self._child.run(command, log, ready=self._ready, task_status=task_status)

    def _make_directory(self) -> None:
        try:
            self._data.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Misconfigured(f"Redis can't keep its data in {self._data}: {error.strerror}.") from error

    async def _ready(self, pid: int) -> bool:
        try:
            async with await trio.open_unix_socket(self._socket) as stream:
                await stream.send_all(b"PING\r\n")
                return bytes(await stream.receive_some(64)).startswith(b"+PONG")
        except (OSError, trio.BrokenResourceError):
            return False
