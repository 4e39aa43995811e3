"""What the light clients know of HTTP: as much as they need of the answers that they ask for."""

from __future__ import annotations

import socket
from typing import NoReturn
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
_STATUS = {"WebSocket": b"HTTP/1.1 101", "SSE": b"HTTP/1.1 200", "NDJSON": b"HTTP/1.1 200"}
_READY = b'"Frame":"ready"'


def connect(url: str) -> socket.socket:
    """A connection that waits for TIMEOUT at most."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def put(account: int, data: object) -> bytes:
    return b"PUT /%d?data=%s HTTP/1.1\r\nHost: tracker\r\n\r\n" % (account, str(data).encode())


def follow(url: str, transport: str, account: int, *, says_ready: bool) -> tuple[socket.socket, bytes]:
    """A connection on which the account's events come, and what came already.

    `says_ready`: whether the server says so by a frame. Else it does by accepting.
    """
    connection = connect(url)
    connection.sendall(f"GET /events?account={account} HTTP/1.1\r\nHost: tracker\r\n{_FOLLOW[transport]}\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data or (says_ready and _READY not in data):
        data += receive(connection)
        if not _STATUS[transport].startswith(data[:12]):
            refused(data)
    return connection, data.partition(b"\r\n\r\n")[2]


def receive(connection: socket.socket) -> bytes:
    """What came next. The end of the connection is the end of the client."""
    if not (data := connection.recv(1 << 18)):
        raise SystemExit("The server closed a connection.")
    return data


def refused(answer: bytes) -> NoReturn:
    raise SystemExit(f"The server answered: {answer[:500].decode(errors='replace')}")


class Needles:
    """Counts pieces of text, all of one length, in what comes on a connection: also where two reads divide one."""

    __slots__ = ("_length", "_needles", "_tail", "counts")

    def __init__(self, *needles: bytes) -> None:
        [self._length] = {len(needle) for needle in needles}
        self._needles = needles
        self._tail = b""
        self.counts = [0] * len(needles)

    def look(self, data: bytes) -> None:
        data = self._tail + data
        for place, needle in enumerate(self._needles):
            self.counts[place] += data.count(needle)
        self._tail = data[1 - self._length :]
