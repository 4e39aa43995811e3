"""Programs that follow events, and come back after everything that ends them, with the Position they had reached."""

from __future__ import annotations

import contextlib
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import trio
import trio_websocket

from tests.faults.records import Record
from tests.faults.world import Program

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
QUIET = 40
"""Seconds without a byte, keepalives included, after which a stream counts as dead."""
POLL_EVERY = 0.2
_MAY_BE_ANSWERED = (503, 504)


class NotServed(Exception):
    """Another answer than the stream."""


class Follower(ABC):
    """One that follows over HTTP, through nginx, until cancelled."""

    def __init__(self, record: Record, url: str) -> None:
        self.record = record
        self._url = url
        self._allowed = trio.Event()
        self._allowed.set()
        self._connection = trio.CancelScope()

    async def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._allowed.wait()
            before = len(self.record.events)
            with trio.CancelScope() as self._connection, contextlib.suppress(*_ENDS):
                self.record.connections += 1
                await self._follow()
            pause = FIRST_PAUSE if len(self.record.events) > before else min(pause * 2, LONGEST_PAUSE)
            await trio.sleep(pause)

    async def drop(self) -> None:
        """Lose the connection, and stay away until `resume()`."""
        self._allowed = trio.Event()
        self._connection.cancel()

    async def resume(self) -> None:
        self._allowed.set()

    @abstractmethod
    async def _follow(self) -> None:
        """Follow, from the record's position, until the stream ends or breaks."""

    def _query(self, since: str) -> str:
        accounts = self.record.accounts
        which = "account=all" if accounts is None else "&".join(f"account={account}" for account in sorted(accounts))
        return f"{which}&since={since}" if since else which

    @contextlib.asynccontextmanager
    async def _get(self, accept: str, query: str, **headers: str) -> AsyncIterator[httpx.Response]:
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(10, read=QUIET)) as client,
            client.stream("GET", f"{self._url}/events?{query}", headers={"Accept": accept, **headers}) as response,
        ):
            if response.status_code != 200:
                if response.status_code not in _MAY_BE_ANSWERED:
                    said = (await response.aread()).decode()
                    self.record.complaints.append(f"{self.record.name} was answered {response.status_code} {said}")
                raise NotServed
            yield response


class NDJSON(Follower):
    async def _follow(self) -> None:
        async with self._get("application/x-ndjson", self._query(self.record.position)) as response:
            async for line in response.aiter_lines():
                if line:
                    self.record.line(line.encode())


class SSE(Follower):
    async def _follow(self) -> None:
        headers = {"Last-Event-ID": self.record.position} if self.record.position else {}
        async with self._get("text/event-stream", self._query(""), **headers) as response:
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif not line:
                    if "data" in fields:
                        self.record.line(fields["data"].encode())
                    if "id" in fields and fields["id"] != self.record.position:
                        self.record.complaints.append(f"{self.record.name}: id {fields['id']} at {fields.get('data')}")
                    fields = {}


class WebSocket(Follower):
    async def _follow(self) -> None:
        parts = urlsplit(self._url)
        resource = f"/events?{self._query(self.record.position)}"
        # Not open_websocket_url(): it leaves the connection open if the handshake fails (trio-websocket 0.12).
        async with await trio.open_tcp_stream(parts.hostname, parts.port) as stream, trio.open_nursery() as nursery:
            with contextlib.suppress(*_ENDS):
                websocket = await trio_websocket.wrap_client_stream(nursery, stream, parts.netloc, resource)
                while True:
                    with trio.fail_after(QUIET):
                        message = await websocket.get_message()
                    for line in message.encode().splitlines():
                        self.record.line(line)
            nursery.cancel_scope.cancel()


class Poller(Follower):
    """Asks for page after page of history."""

    async def _follow(self) -> None:
        async with httpx.AsyncClient(timeout=QUIET, base_url=self._url) as client:
            while True:
                answer = await client.get(f"/events?{self._query(self.record.position or 'all')}&limit=1000")
                if answer.status_code not in (200, *_MAY_BE_ANSWERED):
                    self.record.complaints.append(f"{self.record.name} was answered {answer.status_code} {answer.text}")
                if answer.status_code != 200:
                    raise NotServed
                page = answer.json()
                for frame in [*page["Gaps"], *page["Events"]]:
                    self.record.frame(frame)
                self.record.reached(page["Position"])
                if not page["Behind"]:
                    await trio.sleep(POLL_EVERY)


class Listener:
    """The terminal program, which keeps its position in a file."""

    def __init__(self, nursery: trio.Nursery, record: Record, source: str, directory: Path) -> None:
        assert record.accounts is not None
        self.record = record
        self._nursery = nursery
        command = ["listener", "events", *map(str, sorted(record.accounts)), "--json", "--from", source]
        command += ["--state", str(directory / f"{record.name}.position"), "--since", "all"]
        self.program = Program(nursery, command, directory / f"{record.name}.log", pipe=True)
        self._read_all = trio.Event()

    async def run(self) -> None:
        await self.resume()
        while "listening for events from" not in self.program.log.read_text():
            await trio.sleep(0.05)
        self.record.ready.set()

    async def drop(self) -> None:
        """kill -9"""
        killed_at = trio.current_time()
        await self.program.end(signal.SIGKILL)
        self.record.deaths.append(killed_at)
        await self._read_all.wait()

    async def resume(self) -> None:
        process = await self.program.start()
        self.record.connections += 1
        self._nursery.start_soon(self._read, process)

    def finish(self) -> None:
        """It tells people of gaps, on stderr."""
        said = self.program.log.read_text(errors="replace")
        for line in said.splitlines():
            if re.search(r" (is|are) gone\b", line):
                self.record.gap("(epoch)" in line, line)
            elif "Skipped" in line or line.startswith("! account"):
                self.record.complaints.append(f"{self.record.name} says {line}")
        self.record.complaints += self.program.complaints()

    async def _read(self, process: trio.Process) -> None:
        self._read_all = trio.Event()
        assert process.stdout is not None
        rest = b""
        async for chunk in process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")  # a kill may cut the last one off: it was never written
            for line in lines:
                self.record.line(line)
        self._read_all.set()


_ENDS: tuple[type[Exception], ...] = (
    NotServed,
    OSError,
    httpx.TransportError,
    trio.TooSlowError,
    trio_websocket.HandshakeError,
    trio_websocket.ConnectionClosed,
    trio_websocket.DisconnectionTimeout,
    trio_websocket.ConnectionTimeout,
)
