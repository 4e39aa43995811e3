"""POST /events without a pause, from payloads made before.

    python -m tests.benchmarks.clients.bulk URL FORM CONNECTIONS SECONDS ACCOUNTS

FORM `NDJSON`: one request on each connection, sent in chunks of 500 lines as fast as the server reads. `JSON`: arrays
of 10,000 items, the next one when all results of the last one have come. The accounts are random.

Writes a JSON object: how many were `accepted` (results with a Position), and the `rate`: those a second, from the first
byte sent until the last result; and `client`.

The client does next to nothing for an item: it sends bytes that are there, and counts in those that come.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

from tests.benchmarks.clients.wire import Meter, Needle, connect, must_begin, receive, say

LINES = 500
ITEMS = 10_000
PAYLOADS = 10
_HEAD = "POST /events HTTP/1.1\r\nHost: tracker\r\nContent-Type: {}\r\n{}\r\n\r\n"
_STREAM_HEAD = _HEAD.format("application/x-ndjson", "Transfer-Encoding: chunked").encode()
_LAST_CHUNK = b"0\r\n\r\n"


class Sender:
    """A connection, how many items were sent on it, and how many results have come."""

    def __init__(self, url: str, end: float) -> None:
        self.sent = 0
        self.accepted = Needle(b'"Position":"')
        self._refused = Needle(b'"title":"')
        self._end = end
        self._all_sent = False
        self._connection = connect(url)

    def send_arrays(self, payloads: Iterator[bytes]) -> None:
        while time.monotonic() < self._end:
            self._connection.sendall(next(payloads))
            self.sent += ITEMS
            answer = receive(self._connection)
            must_begin(answer, b"HTTP/1.1 200")
            self._look(answer)
            while self.accepted.count < self.sent:
                self._look(receive(self._connection))

    def send_stream(self, payloads: Iterator[bytes]) -> None:
        self._connection.sendall(_STREAM_HEAD)
        while time.monotonic() < self._end:
            self._connection.sendall(next(payloads))
            self.sent += LINES
        self._all_sent = True
        self._connection.sendall(_LAST_CHUNK)

    def read_stream(self) -> None:
        """While it is sent: the server stops reading when nobody takes its results."""
        answer = receive(self._connection)
        must_begin(answer, b"HTTP/1.1 200")
        self._look(answer)
        while not self._all_sent or self.accepted.count < self.sent:
            self._look(receive(self._connection))

    def _look(self, data: bytes) -> None:
        self.accepted.look(data)
        if self._refused.look(data):
            raise SystemExit(f"An item was refused: {data.decode(errors='replace')[-500:]}")


def main(url: str, form: str, connections: int, seconds: float, accounts: int) -> None:
    make = _chunk if form == "NDJSON" else _array
    made = [make(accounts) for _ in range(PAYLOADS)]
    meter = Meter()
    senders = [Sender(url, meter.started + seconds) for _ in range(connections)]
    with ThreadPoolExecutor(2 * connections) as threads:
        if form == "NDJSON":
            tasks = [threads.submit(sender.send_stream, cycle(made)) for sender in senders]
            tasks += [threads.submit(sender.read_stream) for sender in senders]
        else:
            tasks = [threads.submit(sender.send_arrays, cycle(made)) for sender in senders]
        for task in tasks:
            task.result()
    took = time.monotonic() - meter.started
    accepted = sum(sender.accepted.count for sender in senders)
    say({"accepted": accepted, "rate": accepted / took, "client": meter.client})


def _items(number: int, accounts: int) -> list[str]:
    return [f'{{"ID":{random.randint(1, accounts)},"Data":"test data"}}' for _ in range(number)]


def _chunk(accounts: int) -> bytes:
    lines = "".join(f"{item}\n" for item in _items(LINES, accounts))
    return f"{len(lines):x}\r\n{lines}\r\n".encode()


def _array(accounts: int) -> bytes:
    array = f"[{','.join(_items(ITEMS, accounts))}]"
    return (_HEAD.format("application/json", f"Content-Length: {len(array)}") + array).encode()


if __name__ == "__main__":
    url, form, connections, seconds, accounts = sys.argv[1:]
    main(url, form, int(connections), float(seconds), int(accounts))
