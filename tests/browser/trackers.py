"""Trackers as processes, for a test that waits for a browser: plain calls, no event loop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import httpx

from shared.child import listening_pid
from shared.embedded import Postgres, Redis

READY = re.compile(r"Tracking on (http://\S+)")


def until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait until something holds that nobody tells: what another process does. Raises AssertionError."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)


class Tracker:
    """A tracker process on `data_dir`, or with `--database` and `--redis` among the arguments.

    It keeps its address when it is started again. As a context it runs, and stops at the end.
    """

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self.url = ""
        self.said: list[str] = []
        self._bind = "127.0.0.1:0"
        self._arguments = ["--data-dir", str(data_dir), *arguments]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Tracker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)
        assert not any("Traceback" in line for line in self.said), "".join(self.said)

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises AssertionError with what it said instead."""
        command = [sys.executable, "-m", "tracker", "--bind", self._bind, *self._arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        ready: Future[str] = Future()
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr, ready))
        self._reader.start()
        try:
            self.url = ready.result(timeout=60)
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        self._bind = self.url.removeprefix("http://")

    def end(self, number: signal.Signals) -> None:
        """End it by a signal, and wait until it has gone."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
            if self._reader is not None:
                self._reader.join()

    def _read(self, stderr: IO[str], ready: Future[str]) -> None:
        with stderr:
            for line in stderr:
                self.said.append(line)
                if (found := READY.search(line)) and not ready.done():
                    ready.set_result(found.group(1))
        if not ready.done():
            ready.set_exception(AssertionError("the tracker did not start:\n" + "".join(self.said)))

    def servers(self) -> list[str]:
        """The arguments of another tracker on the servers of this one."""
        return ["--database", Postgres(self.data_dir).url, "--redis", Redis(self.data_dir).url]

    def redis_pid(self) -> int | None:
        """The process of its own Redis, if it runs."""
        return listening_pid(self.data_dir / "redis.sock")

    @contextmanager
    def redis_away(self) -> Iterator[None]:
        """Kill its Redis, and again whenever the tracker has started it, as long as this lasts."""
        back = threading.Event()

        def kill() -> None:
            while not back.is_set():
                if pid := self.redis_pid():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                back.wait(0.005)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            yield
        finally:
            back.set()
            killer.join()

    # -- what it is asked for --------------------------------------------------------------------------------------

    def put(self, account: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> str:
        """Send an event, and return its position."""
        answer = httpx.put(f"{self.url}/{account}", content=body, headers={"Content-Type": content_type}, timeout=20)
        assert answer.status_code == 202, answer.text
        return answer.headers["Event-Position"]

    def send(self, account: int, *data: Any) -> list[str]:
        """Send events, one after the other, strings as text and all else as JSON; return their positions."""
        return [
            self.put(account, item.encode())
            if isinstance(item, str)
            else self.put(account, json.dumps(item).encode(), "application/json")
            for item in data
        ]

    def send_many(self, items: Sequence[tuple[int, Any]]) -> None:
        """Send events, given as account and data, in one request."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            answer = client.post("/events", json=[{"ID": account, "Data": data} for account, data in items])
        answer.raise_for_status()
        refused = [result for result in answer.json() if "Position" not in result]
        assert not refused, refused[:3]

    def create(self, name: str, *, active: bool = True) -> int:
        """Create an account, and return its ID."""
        answer = httpx.post(self.url, json={"Name": name, "IsActive": active}, timeout=20)
        answer.raise_for_status()
        account: int = answer.json()["ID"]
        return account

    def account(self, account: int) -> dict[str, Any]:
        """Return the account as the tracker has it."""
        answer = httpx.get(f"{self.url}/{account}", timeout=20).raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def events(self, account: int) -> list[dict[str, Any]]:
        """Return the events that the log has of an account, at most 1000."""
        query = {"account": account, "since": "all", "limit": 1000}
        answer = httpx.get(f"{self.url}/events", params=query, timeout=20).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["Events"]
        return found


class Writer:
    """Sends one event after the other, whatever comes back, as long as its context lasts.

    `accepted` are the data of those answered with 202, in order; `unknown` of those that may be in the log or not.
    """

    PACE = 0.02
    """Seconds between two events: what comes in a few seconds of outage must fit into the page's table."""

    def __init__(self, tracker: Tracker, account: int, name: str = "event") -> None:
        self.accepted: list[str] = []
        self.unknown: set[str] = set()
        self._tracker, self._account, self._name = tracker, account, name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def gets_in(self, more: int) -> None:
        """Wait until so many more events were accepted."""
        goal = len(self.accepted) + more
        until(lambda: len(self.accepted) >= goal, f"{more} more events were accepted")

    def _write(self) -> None:
        number = 0
        with httpx.Client(base_url=self._tracker.url, timeout=20) as client:
            while not self._stop.wait(self.PACE):
                number += 1
                data = f"{self._name} {number}."
                try:
                    status = client.put(f"/{self._account}", params={"data": data}).status_code
                except httpx.ConnectError:
                    continue
                except httpx.TransportError:
                    status = 504
                if status == 202:
                    self.accepted.append(data)
                elif status != 503:
                    self.unknown.add(data)
