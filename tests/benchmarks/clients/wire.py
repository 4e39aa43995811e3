"""What the light clients know of HTTP: as much as they need of the answers that they ask for.

A client ends at the first answer that is not the one it wants, and says it on stderr: nothing wrong is ever measured.
"""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

TIMEOUT = 30.0
"""How many seconds a client waits for anything before it gives up."""

_FOLLOW = {
    "WebSocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "SSE": "Accept: text/event-stream\r\n",
    "NDJSON": "Accept: application/x-ndjson\r\n",
}
TRANSPORTS = tuple(_FOLLOW)
_READY = b'"Frame":"ready"'


def connect(url: str) -> socket.socket:
    """A connection that waits for TIMEOUT at most."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def put(account: int, data: object) -> bytes:
    return b"PUT /%d?data=%s HTTP/1.1\r\nHost: tracker\r\n\r\n" % (account, str(data).encode())


def was_put(connection: socket.socket) -> None:
    """Take the answer to a PUT that has come: with 202 it has no body, and comes in one piece."""
    must_begin(receive(connection), b"HTTP/1.1 202")


def follow(url: str, transport: str, account: int, *, says_ready: bool) -> socket.socket:
    """A connection on which the account's events come from now on.

    `says_ready`: whether the server says by a frame that they do. Else it does by accepting.
    """
    connection = connect(url)
    connection.sendall(f"GET /events?account={account} HTTP/1.1\r\nHost: tracker\r\n{_FOLLOW[transport]}\r\n".encode())
    status = b"HTTP/1.1 101" if transport == "WebSocket" else b"HTTP/1.1 200"
    data = receive(connection)
    must_begin(data, status)
    while b"\r\n\r\n" not in data or (says_ready and _READY not in data):
        data += receive(connection)
    return connection


def receive(connection: socket.socket) -> bytes:
    """What came next. The end of the connection is the end of the client."""
    if not (data := connection.recv(1 << 18)):
        raise SystemExit("The server closed a connection.")
    return data


def must_begin(answer: bytes, wanted: bytes) -> None:
    if not answer.startswith(wanted):
        raise SystemExit(f"The server answered: {answer[:500].decode(errors='replace')}")


def say(figures: dict[str, float]) -> None:
    """The client's result, for `tests.benchmarks.load`."""
    print(json.dumps(figures), flush=True)


class Meter:
    """How long the load takes, and what of that its client is on a core."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._used = time.process_time()

    @property
    def client(self) -> float:
        """% of a core, since this was made."""
        return (time.process_time() - self._used) / (time.monotonic() - self.started) * 100


class Needle:
    """Counts a piece of text in what comes on a connection: also where two reads divide one."""

    __slots__ = ("_needle", "_tail", "count")

    def __init__(self, needle: bytes) -> None:
        self._needle = needle
        self._tail = b""
        self.count = 0

    def look(self, data: bytes) -> int:
        """How many are new with this."""
        data = self._tail + data
        found = data.count(self._needle)
        self.count += found
        self._tail = data[1 - len(self._needle) :]
        return found
