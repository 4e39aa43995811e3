"""The tracker as a process: how it starts, stops, and fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import redis
import trio

from listener.config import Config


class Tracker:
    """A running tracker process; `said` gathers what it writes to stderr."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = b""
        self._more = trio.Event()

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.said += chunk
            self._more.set()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until it has said something that the pattern finds."""
        with trio.fail_after(60):
            while not (found := re.search(pattern, self.said.decode())):
                self._more = trio.Event()
                await self._more.wait()
        return found

    async def url(self) -> str:
        return (await self.says(r"Tracking on (https?://\S+)")).group(1)


@asynccontextmanager
async def tracker(*arguments: str | Path, code: Sequence[str] = ("-m", "tracker")) -> AsyncIterator[Tracker]:
    command = [sys.executable, *code, "--bind", "127.0.0.1:0", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env=environment)
        running = Tracker(process)
        nursery.start_soon(running.read)
        try:
            yield running
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_under_load_loses_nothing(database_url: str, redis_url: str, number: signal.Signals) -> None:
    accepted: list[str] = []
    refused: list[str] = []

    async def write(client: httpx.AsyncClient, name: str) -> None:
        for count in range(100_000):
            data = f"{name}-{count}"
            try:
                answer = await client.put("/1", params={"data": data})
            except httpx.TransportError:
                return
            (accepted if answer.status_code == 202 else refused).append(data)

    async with tracker("--database", database_url, "--redis", redis_url) as running:
        async with (
            httpx.AsyncClient(base_url=await running.url(), timeout=20) as client,
            trio.open_nursery() as nursery,
        ):
            for writer in range(8):
                nursery.start_soon(write, client, str(writer))
            with trio.fail_after(30):
                while len(accepted) < 200:
                    await trio.sleep(0.01)
            running.process.send_signal(number)
        with trio.fail_after(15):
            assert await running.process.wait() == 0
    with redis.Redis.from_url(redis_url) as store:
        logged = [json.loads(fields[b"event"])["Data"] for _, fields in store.xrange("{events:0}:1")]
    assert len(set(logged)) == len(logged)
    assert set(accepted) - set(logged) == set()
    assert not set(refused) & set(logged)


async def test_the_embedded_servers_keep_their_data(data_dir: Path) -> None:
    for expected in ("1001", "1002"):
        async with tracker("--data-dir", data_dir) as running:
            async with httpx.AsyncClient(base_url=await running.url(), timeout=20) as client:
                assert (await client.post("/", json={"Name": "new"})).headers["Location"] == f"/{expected}"
                position = (await client.put("/1", params={"data": "x"})).headers["Event-Position"]
                assert position.endswith("-1" if expected == "1001" else "-2")
            running.process.send_signal(signal.SIGTERM)
            with trio.fail_after(30):
                assert await running.process.wait() == 0
    assert not {"redis.sock"} & set(os.listdir(data_dir))


async def test_a_killed_tracker_leaves_nothing_that_the_next_trips_over(data_dir: Path) -> None:
    async with tracker("--data-dir", data_dir) as running:
        async with httpx.AsyncClient(base_url=await running.url(), timeout=20) as client:
            assert (await client.put("/1", params={"data": "x"})).status_code == 202
        running.process.kill()
        await running.process.wait()
    async with tracker("--data-dir", data_dir) as running:
        async with httpx.AsyncClient(base_url=await running.url(), timeout=20) as client:
            answer = await client.put("/1", params={"data": "x"})
            assert (answer.status_code, answer.headers["Event-Position"][-2:]) == (202, "-2")
        running.process.send_signal(signal.SIGTERM)
        await running.process.wait()


async def test_two_trackers_on_one_data_directory(data_dir: Path) -> None:
    async with tracker("--data-dir", data_dir) as first:
        await first.url()
        async with tracker("--data-dir", data_dir) as second:
            await second.says(f"in use by process {first.process.pid} .*--data-dir")
            assert await second.process.wait() == 1
        assert first.process.poll() is None
        first.process.send_signal(signal.SIGTERM)
        assert await first.process.wait() == 0


async def test_the_listener_finds_it_in_the_data_directory(data_dir: Path) -> None:
    config = Config(data_dir=data_dir)
    assert config.known_tracker is None
    async with tracker("--data-dir", data_dir) as running:
        url = await running.url()
        assert config.known_tracker == config.tracker_url == url
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
    assert config.known_tracker is None


async def test_an_address_that_is_taken(database_url: str, redis_url: str) -> None:
    async with tracker("--database", database_url, "--redis", redis_url) as first:
        address = (await first.url()).removeprefix("http://")
        async with tracker("--database", database_url, "--redis", redis_url, "--bind", address) as second:
            await second.says(f"tracker: Can't listen on {address}: Address already in use.*--bind")
            assert await second.process.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_more_signals_hurry_but_harm_nothing(data_dir: Path, number: signal.Signals) -> None:
    async with tracker("--data-dir", data_dir) as running:
        await running.url()
        for _ in range(10):
            if running.process.poll() is None:
                running.process.send_signal(number)
            await trio.sleep(0.03)
        with trio.fail_after(30):
            assert await running.process.wait() == 0
    assert b"Traceback" not in running.said
    assert not {"redis.sock"} & set(os.listdir(data_dir))


async def test_a_database_url_that_can_not_be_used(redis_url: str) -> None:
    url = "postgresql://u:secret@127.0.0.1:1/x?sslmode=bogus"
    async with tracker("--database", url, "--redis", redis_url) as running:
        await running.says("tracker: The URL of --database can't be used: .*sslmode")
        assert await running.process.wait() == 1
    assert b"secret" not in running.said


async def test_a_signal_while_it_still_waits_for_its_servers() -> None:
    async with tracker("--database", "postgresql://127.0.0.1:1/x", "--redis", "redis://127.0.0.1:1") as running:
        await running.says('"part": "database"')
        await running.says('"part": "log"')
        running.process.send_signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await running.process.wait() == 0
    assert b"Traceback" not in running.said


async def test_a_bug_in_a_service_ends_the_program(database_url: str, redis_url: str) -> None:
    code = (
        "from tracker import publisher, __main__\n"
        "async def run(self, *, task_status):\n"
        "    task_status.started()\n"
        "    raise ZeroDivisionError('a bug')\n"
        "publisher.Publisher.run = run\n"
        "__main__.main()\n"
    )
    async with tracker("--database", database_url, "--redis", redis_url, code=("-c", code)) as running:
        await running.says("ZeroDivisionError: a bug")
        assert await running.process.wait() == 1


async def test_the_log_is_json_without_request_data(database_url: str, redis_url: str) -> None:
    async with tracker("--database", database_url, "--redis", redis_url) as running:
        async with httpx.AsyncClient(base_url=await running.url(), timeout=20) as client:
            await client.put("/1", params={"data": "secret"})
            await client.put("/secret", params={"data": "secret"})
        running.process.send_signal(signal.SIGTERM)
        await running.process.wait()
        await running.says('"stopping"')
    lines = [line for line in running.said.decode().splitlines() if not line.startswith("Tracking on")]
    assert {json.loads(line)["event"] for line in lines} == {"database migrated", "stopping"}
    assert b"secret" not in running.said
