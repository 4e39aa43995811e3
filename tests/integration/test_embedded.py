"""The embedded servers, as they are: real programs, real signals, real time."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis
import trio

from shared import child
from shared.child import Child, listening_pid
from shared.embedded import Postgres, Redis, hold
from shared.errors import Misconfigured, Unavailable
from shared.supervision import Health, supervise

# ruff: noqa: ASYNC220, ASYNC240 - a test may block for a moment: nothing else runs beside it

SERVICES = [Postgres, Redis]
ROOT = os.geteuid() == 0

# A tracker in small: holds the directory, runs both, says so and stays.
TRACKER = """
import sys, trio
from pathlib import Path
from shared.embedded import Postgres, Redis, hold

async def serve():
    async with trio.open_nursery() as nursery:
        await nursery.start(Postgres(data_dir).run)
        await nursery.start(Redis(data_dir).run)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()

data_dir = Path(sys.argv[1])
with hold(data_dir):
    trio.run(serve)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory whose name is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    yield path
    for name in ("redis.sock", "postgresql/.s.PGSQL.5432"):
        if pid := listening_pid(path / name):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path)


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[None]:
    with hold(data_dir):
        async with trio.open_nursery() as nursery:
            await nursery.start(Postgres(data_dir).run)
            await nursery.start(Redis(data_dir).run)
            yield
            nursery.cancel_scope.cancel()


async def sql(url: str, query: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(asyncio.run, fetch())


async def say(url: str, *command: str) -> Any:
    def execute() -> Any:
        with redis.Redis.from_url(url, decode_responses=True) as client:
            return client.execute_command(*command)

    return await trio.to_thread.run_sync(execute)


def pids(data_dir: Path) -> list[int]:
    found = [listening_pid(data_dir / name) for name in ("postgresql/.s.PGSQL.5432", "redis.sock")]
    return [pid for pid in found if pid]


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for (in a container without an init) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_both_start_accept_and_stop(data_dir: Path) -> None:
    async with running(data_dir):
        assert await sql(Postgres(data_dir).url, "SHOW listen_addresses") == ""
        assert await sql(Postgres(data_dir).url, "SHOW server_encoding") == "UTF8"
        assert await sql(Postgres(data_dir).url, "SHOW fsync") == "on"
        assert await say(Redis(data_dir).url, "PING")
        settings = await say(Redis(data_dir).url, "CONFIG", "GET", "*")
        wanted = {"appendonly": "yes", "appendfsync": "always", "save": "", "port": "0", "dir": f"{data_dir}/redis"}
        assert wanted.items() <= settings.items()
        assert settings["maxmemory-policy"] == "noeviction"
        children = pids(data_dir)
        assert len(children) == 2
        assert all(os.getsid(pid) == pid for pid in children), "Ctrl+C would reach them"
    assert pids(data_dir) == []
    assert not any(alive(pid) for pid in children)
    assert "database system is shut down" in (data_dir / "postgresql.log").read_text()
    assert "is now ready to exit" in (data_dir / "redis.log").read_text()


async def test_data_survive_a_restart(data_dir: Path) -> None:
    async with running(data_dir):
        await sql(Postgres(data_dir).url, "CREATE TABLE kept AS SELECT 42 AS answer")
        await say(Redis(data_dir).url, "SET", "kept", "42")
    async with running(data_dir):
        assert await sql(Postgres(data_dir).url, "SELECT answer FROM kept") == 42
        assert await say(Redis(data_dir).url, "GET", "kept") == "42"
    assert (data_dir / "postgresql.log.1").exists(), "the log of the run before"


async def test_a_name_with_odd_characters(data_dir: Path) -> None:
    odd = data_dir / "a b%20?#'é"
    async with running(odd):
        assert await sql(Postgres(odd).url, "SELECT 1") == 1
        assert await say(Redis(odd).url, "PING")


async def test_what_is_there_is_its_owners_alone(data_dir: Path) -> None:
    data_dir.chmod(0o755)
    async with running(data_dir):
        for path in (data_dir, data_dir / "redis.sock", data_dir / "postgresql" / ".s.PGSQL.5432"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        if ROOT:
            probe = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
            for url in (data_dir / "redis.sock", data_dir / "postgresql" / ".s.PGSQL.5432"):
                # PostgreSQL runs as nobody: its other processes must not get in either.
                command = ["/usr/bin/python3", "-W", "ignore", "-c", probe, str(url)]
                stranger = await trio.run_process(
                    command, user="nobody", extra_groups=[], capture_stderr=True, check=False, cwd="/"
                )
                assert b"PermissionError" in stranger.stderr


@pytest.mark.parametrize("service", SERVICES)
async def test_a_killed_child_is_noticed(data_dir: Path, service: type[Postgres | Redis]) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match=r"killed by SIGKILL$")):
        async with trio.open_nursery() as nursery:
            await nursery.start(service(data_dir).run)
            os.kill(pids(data_dir)[0], signal.SIGKILL)
            await trio.sleep(20)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_supervised_child_comes_back(data_dir: Path, service: type[Postgres | Redis]) -> None:
    server = service(data_dir)
    away = trio.Event()
    health = Health(service.__name__, lambda part, reason: away.set())
    async with trio.open_nursery() as nursery:
        await nursery.start(supervise, server.run, health)
        os.kill(pids(data_dir)[0], signal.SIGKILL)
        with trio.fail_after(30):
            await away.wait()
            await health.wait_up()
        assert await (sql(server.url, "SELECT 1") if service is Postgres else say(server.url, "PING"))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tracker_process(data_dir: Path) -> AsyncIterator[trio.Process]:
    """A tracker in small that is killed at the end, without a chance to clean up."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", TRACKER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.aclose()
        await process.stdout.aclose()
        with trio.CancelScope(shield=True):
            await process.wait()


async def leave_orphans(data_dir: Path) -> list[int]:
    async with tracker_process(data_dir) as process:
        assert process.stdout is not None
        with trio.fail_after(60):
            assert (await process.stdout.receive_some()).startswith(b"ready")
        await say(Redis(data_dir).url, "SET", "kept", "42")
    return pids(data_dir)


async def test_orphans_of_a_killed_tracker_are_replaced(data_dir: Path) -> None:
    orphans = await leave_orphans(data_dir)
    assert len(orphans) == 2
    assert all(map(alive, orphans))
    async with running(data_dir):
        assert not any(map(alive, orphans))
        assert await sql(Postgres(data_dir).url, "SELECT 1") == 1
        assert await say(Redis(data_dir).url, "GET", "kept") == "42"


async def test_orphans_that_do_not_answer_are_killed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SIGNAL_PATIENCE", 0.5)
    orphans = await leave_orphans(data_dir)
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        health = [Health(service.__name__, lambda part, reason: None) for service in SERVICES]
        # PostgreSQL's backends may outlive their postmaster for longer than our patience here.
        await nursery.start(supervise, Postgres(data_dir).run, health[0])
        await nursery.start(supervise, Redis(data_dir).run, health[1])
        assert not any(map(alive, orphans))
        assert await say(Redis(data_dir).url, "GET", "kept") == "42"
        nursery.cancel_scope.cancel()


async def test_a_tracker_killed_while_it_makes_the_database(data_dir: Path) -> None:
    unfinished = data_dir / "postgresql.new" / "PG_VERSION"
    async with tracker_process(data_dir):
        with trio.fail_after(30):
            while not unfinished.exists():
                await trio.sleep(0.001)
    assert not (data_dir / "postgresql").exists()
    async with running(data_dir):
        assert await sql(Postgres(data_dir).url, "SELECT 1") == 1
        assert not unfinished.parent.exists()


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("after", [0, 0.02, 0.1, 0.3, 0.6, 1.0])
async def test_cancelled_at_any_moment(data_dir: Path, service: type[Postgres | Redis], after: float) -> None:
    with trio.fail_after(20):
        with trio.move_on_after(after):
            await service(data_dir).run()
    assert pids(data_dir) == []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(service(data_dir).run)
            nursery.cancel_scope.cancel()


async def test_a_process_id_that_was_used_again(data_dir: Path) -> None:
    """PostgreSQL alone would refuse: its lock file names a live process of its own user."""
    async with running(data_dir):
        pass
    data = data_dir / "postgresql"
    user = {"user": data.stat().st_uid, "extra_groups": []} if ROOT else {}
    with subprocess.Popen(["sleep", "60"], **user) as other:  # type: ignore[call-overload]
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data / name).write_text(f"{other.pid}\n{data}\n0\n5432\n.\n\n")
        async with running(data_dir):
            assert await sql(Postgres(data_dir).url, "SELECT 1") == 1
        other.kill()


async def test_a_server_that_can_not_start_says_why(data_dir: Path) -> None:
    (data_dir / "redis").mkdir()
    (data_dir / "redis" / "appendonly.aof").write_text("nonsense\n")
    with pytest.raises(Unavailable, match=r"(?s)did not start: ended with status 1; .*redis\.log:.*Bad file format"):
        await Redis(data_dir).run()


async def test_data_of_another_postgresql(data_dir: Path) -> None:
    (data_dir / "postgresql").mkdir()
    (data_dir / "postgresql" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(Misconfigured, match=r"written by PostgreSQL 9\.6; to be had are only \d+ .*--data-dir"):
        await Postgres(data_dir).run()


async def test_a_place_that_is_taken(data_dir: Path) -> None:
    (data_dir / "postgresql").mkdir()
    (data_dir / "postgresql" / "notes").write_text("not a database")
    with pytest.raises(Misconfigured, match=r"could not make its database in .*not empty"):
        await Postgres(data_dir).run()


async def test_a_database_that_can_not_be_made(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = data_dir / "programs"
    programs.mkdir()
    for name in ("initdb", "postgres"):
        (programs / name).write_text("#!/bin/sh\necho No space left on device >&2\nexit 1\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    with pytest.raises(Misconfigured, match=r"(?s)initdb.*status 1; .*postgresql\.log:\n +No space left on device"):
        await Postgres(data_dir).run()
    assert not (data_dir / "postgresql").exists()


@pytest.mark.skipif(not ROOT, reason="not root: every test here is that of an ordinary user")
async def test_as_an_ordinary_user(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    user: Any = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    path = os.pathsep.join([str(Path(__file__).parents[2]), *(entry for entry in sys.path if "site-packages" in entry)])
    user["env"] = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        try:
            tried = await trio.run_process([python, "-c", "import trio"], check=False, capture_stderr=True, **user)
        except OSError:
            continue
        if tried.returncode == 0:
            break
    else:
        pytest.skip("the user nobody has no access to this Python")
    process = await trio.run_process(
        [python, "-c", TRACKER, str(data_dir)], stdin=b"", check=False, capture_stdout=True, capture_stderr=True, **user
    )
    assert process.stdout == b"ready\n", process.stderr.decode()
    assert process.returncode == 0, process.stderr.decode()
    assert (data_dir / "postgresql" / "PG_VERSION").stat().st_uid == nobody.pw_uid


def test_a_second_tracker_is_told_who_holds_the_directory(data_dir: Path) -> None:
    told = rf"{data_dir} is in use by process {os.getpid()} \(tracker, since 20.*UTC\)\. Stop it, or .*--data-dir"
    with hold(data_dir), pytest.raises(Misconfigured, match=told), hold(data_dir):
        pass
    with hold(data_dir):
        pass


def stubborn(data_dir: Path, ignored: str) -> list[str]:
    return ["/bin/sh", "-c", f"trap '' {ignored}; echo stays; touch {data_dir}/up; while :; do sleep 0.05; done"]


async def test_a_child_that_is_never_ready(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "START_TIMEOUT", 0.3)
    server = make_child(data_dir)

    async def ready(pid: int) -> bool:
        await trio.sleep_forever()
        return True

    with await server.open_log() as log, pytest.raises(Unavailable, match=r"(?s)not ready after .*stays"):
        await server.run(stubborn(data_dir, "HUP"), log, ready=ready, task_status=trio.TASK_STATUS_IGNORED)


async def test_a_child_that_ignores_the_gentle_signal(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SIGNAL_PATIENCE", 0.3)
    server = make_child(data_dir)

    async def ready(pid: int) -> bool:
        return (data_dir / "up").exists()

    with await server.open_log() as log, trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                await server.run(stubborn(data_dir, "TERM"), log, ready=ready, task_status=task_status)

            await nursery.start(run)
            nursery.cancel_scope.cancel()


async def test_an_earlier_server_that_can_not_be_found(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log is locked, but nobody listens: whom to stop can't be told, and it must not be started twice."""
    monkeypatch.setattr(child, "SIGNAL_PATIENCE", 0.1)
    server = make_child(data_dir)
    with await server.open_log(), pytest.raises(Unavailable, match="earlier one still runs"):
        await server.open_log()


def make_child(data_dir: Path) -> Child:
    return Child(
        "Test",
        socket_path=data_dir / "test.sock",
        log_path=data_dir / "test.log",
        stop_signals=(signal.SIGTERM, signal.SIGKILL),
    )


async def test_a_program_that_can_not_run(data_dir: Path) -> None:
    server = make_child(data_dir)
    with await server.open_log() as log, pytest.raises(Misconfigured, match="Test can't be started: /nowhere: No such"):
        await server.run_to_end(["/nowhere"], log)


def test_who_listens(data_dir: Path) -> None:
    path = data_dir / "test.sock"
    assert listening_pid(path) is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        assert listening_pid(path) == os.getpid()
    assert listening_pid(path) is None, "a stale socket"
