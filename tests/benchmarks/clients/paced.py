"""PUTs at a fixed rate, and how long each took.

    python -m tests.benchmarks.clients.paced URL CONNECTIONS RATE SECONDS ACCOUNTS UNTIL

Every 1/RATE s an event is due, for one account after the other. It is sent on a connection that has its answer; if none
has, it waits for one. Its time runs from when it was due, so a server that is slow can't make its figures better by
making the client ask less (coordinated omission). It runs until the answer (UNTIL `answer`), or until the event's frame
has come on a WebSocket that follows account 1 (`frame`; `frame after ready`, if the server says when it is ready).

Writes a JSON object: how many were `sent`, `p50` and `p99` (ms), `late p99` (ms: how long after it was due an event was
sent, which is in the other two; on an idle server it is the client's own), and `errors` (not answered with 202, or not
at all; frames that never came).

One process on one core can send 20,000 a second, measured against `bare`; at 3,000 it takes a fifth of the core.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from tests.benchmarks.clients.wire import TIMEOUT, connect, follow, put, receive

LEAD = 50_000_000
"""How many ns from now the first event is due."""
LAST_WORDS = 5_000_000_000
"""How many ns after the last event was due its answer may come."""
_DATA = re.compile(rb'"Data":"(\d+)"')
_LONGEST = 40


@dataclass
class Pace:
    """What the client knows."""

    took: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    waiting: dict[socket.socket, int] = field(default_factory=dict)
    sent: int = 0
    errors: int = 0
    came: int = 0


def main(url: str, connections: int, rate: float, seconds: float, accounts: int, until: str) -> None:
    free = [connect(url) for _ in range(connections)]
    pace = Pace()
    follower, tail = None, b""
    if until != "answer":
        follower, _ = follow(url, "WebSocket", 1, says_ready=until == "frame after ready")
    listened = [*free, *([follower] if follower else [])]
    interval = int(1e9 / rate)
    due = time.monotonic_ns() + LEAD
    end = due + int(seconds * 1e9)
    late: deque[int] = deque()
    while True:
        now = time.monotonic_ns()
        while due <= now and due < end:
            late.append(due)
            due += interval
        while late and free:
            _send(pace, free.pop(), late.popleft(), accounts)
        if now >= end + LAST_WORDS or (due >= end and not late and not pace.waiting and _all_came(pace, follower)):
            break
        wait = (due - time.monotonic_ns()) / 1e9 if due < end else 0.05
        for readable in select.select(listened, [], [], max(wait, 0))[0]:  # epoll knows no times below 1 ms
            data = receive(readable)
            now = time.monotonic_ns()
            if readable is follower:
                data = tail + data
                for found in _DATA.finditer(data):
                    pace.took.append(now - int(found[1]))
                    pace.came += 1
                tail = data[max(data.rfind(b'"Data":"'), len(data) - _LONGEST) :] if b'"Data":"' in data[-_LONGEST:] else data[-8:]
                if _DATA.search(tail):
                    tail = b""
            else:
                _answered(pace, readable, data, now, follower is None)
                free.append(readable)
    missing = len(late) + len(pace.waiting) + (pace.sent - pace.errors - pace.came if follower else 0)
    print(
        json.dumps(
            {
                "sent": pace.sent,
                "p50": _percentile(pace.took, 50),
                "p99": _percentile(pace.took, 99),
                "late p99": _percentile(pace.late, 99),
                "errors": pace.errors + missing,
            }
        )
    )


def _all_came(pace: Pace, follower: socket.socket | None) -> bool:
    return follower is None or pace.came >= pace.sent - pace.errors


def _send(pace: Pace, connection: socket.socket, due: int, accounts: int) -> None:
    pace.late.append(time.monotonic_ns() - due)
    connection.sendall(put(pace.sent % accounts + 1, due))
    pace.waiting[connection] = due
    pace.sent += 1


def _answered(pace: Pace, connection: socket.socket, data: bytes, now: int, is_all: bool) -> None:
    """Answers to PUTs have no body when they are good, and come in one piece."""
    due = pace.waiting.pop(connection)
    if not data.startswith(b"HTTP/1.1 202"):
        connection.settimeout(TIMEOUT)
        pace.errors += 1
    elif is_all:
        pace.took.append(now - due)


def _percentile(values: list[int], percent: int) -> float:
    """In ms."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] / 1e6 if ordered else 0.0


if __name__ == "__main__":
    url, connections, rate, seconds, accounts, until = sys.argv[1:]
    main(url, int(connections), float(rate), float(seconds), int(accounts), until)
