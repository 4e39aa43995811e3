"""PUTs at a fixed rate, and how long each took.

    python -m tests.benchmarks.clients.paced URL CONNECTIONS RATE SECONDS ACCOUNTS UNTIL

Every 1/RATE s an event is due, for one account after the other. It is sent on a connection that has its answer; if none
has, it waits for one. Its time runs from when it was due, so a server that is slow can't make its figures better by
making the client ask less (coordinated omission). It runs until the answer (UNTIL `answer`), or until the event's frame
has come on a WebSocket that follows account 1 (`frame`; `ready frame`, if the server says when it is ready).

Writes a JSON object: how many were `accepted`, `p50` and `p99` (ms), and `late p99` (ms: how long after it was due an
event was sent, which is part of the other two), and `client`.
"""

from __future__ import annotations

import re
import select
import socket
import sys
import time

from tests.benchmarks.clients.wire import Meter, connect, follow, put, receive, say, was_put

LEAD = 50_000_000
"""How many ns from now the first event is due."""
LAST_WORDS = 20_000_000_000
"""How many ns after the last event was due all must have come."""
_DATA = re.compile(rb'"Data":"(\d+)"')
_LONGEST = 40


class Frames:
    """Finds in what comes on a connection when the events in it were due: their data say it."""

    def __init__(self) -> None:
        self._tail = b""

    def look(self, data: bytes) -> list[int]:
        data = self._tail + data
        found = list(_DATA.finditer(data))
        end = found[-1].end() if found else 0
        self._tail = data[max(end, len(data) - _LONGEST) :]
        return [int(each[1]) for each in found]


def main(url: str, connections: int, rate: float, seconds: float, accounts: int, until: str) -> None:
    free = [connect(url) for _ in range(connections)]
    waiting: dict[socket.socket, int] = {}
    follower = None if until == "answer" else follow(url, "WebSocket", 1, says_ready=until == "ready frame")
    frames = Frames()
    took, late = [], []
    events, interval = max(1, int(rate * seconds)), int(1e9 / rate)
    meter = Meter()
    due = time.monotonic_ns() + LEAD
    give_up = due + events * interval + LAST_WORDS
    while waiting or len(took) < events:
        while len(late) < events and free and due <= (now := time.monotonic_ns()):
            connection = free.pop()
            connection.sendall(put(len(late) % accounts + 1, due))
            waiting[connection] = due
            late.append(now - due)
            due += interval
        patience = (due if len(late) < events and free else give_up) - time.monotonic_ns()
        listened = [*waiting, follower] if follower else list(waiting)
        for readable in select.select(listened, [], [], max(patience / 1e9, 0))[0]:  # epoll knows no times below 1 ms
            if readable is follower:
                data, now = receive(follower), time.monotonic_ns()
                took += [now - was_due for was_due in frames.look(data)]
            else:
                was_put(readable)
                was_due = waiting.pop(readable)
                free.append(readable)
                if not follower:
                    took.append(time.monotonic_ns() - was_due)
        if time.monotonic_ns() > give_up:
            raise SystemExit(f"Of {events} events only {len(took)} came in time.")
    say(
        {
            "accepted": events,
            "p50": _percentile(took, 50),
            "p99": _percentile(took, 99),
            "late p99": _percentile(late, 99),
            "client": meter.client,
        }
    )


def _percentile(values: list[int], percent: int) -> float:
    """In ms."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] / 1e6


if __name__ == "__main__":
    url, connections, rate, seconds, accounts, until = sys.argv[1:]
    main(url, int(connections), float(rate), float(seconds), int(accounts), until)
