"""POST /events without a pause, from payloads made before.

    python -m tests.benchmarks.clients.bulk URL FORM CONNECTIONS SECONDS ACCOUNTS

FORM `NDJSON`: one request on each connection, sent without end in chunks of 500 lines, as fast as the server reads.
`JSON`: arrays of 10,000 items, the next one when all results of the last one have come. The accounts are random.

Writes a JSON object: how many were `sent`, and of them `committed` (results with a Position) and `refused` (results with
a problem), and the `seconds` from the first byte sent until the last result.

The client does next to nothing for an item: it sends bytes that are there, and counts in those that come.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from itertools import cycle

from tests.benchmarks.clients.wire import Needles, connect, refused

LINES = 500
ITEMS = 10_000
PAYLOADS = 20
LAST_WORDS = 20
"""For how many seconds results may come when all is sent."""
NEEDLES = (b'"Position":"', b'"title":"')
_HEAD = "POST /events HTTP/1.1\r\nHost: tracker\r\nContent-Type: {}\r\n{}\r\n\r\n"


class Sender:
    """A connection, what it still has to send, and what has come on it."""

    def __init__(self, url: str, form: str, accounts: int) -> None:
        self.connection = connect(url)
        self.connection.setblocking(False)
        self.sent = 0
        self.committed, self.refused = Needles(NEEDLES[0]), Needles(NEEDLES[1])
        self._streams = form == "NDJSON"
        self._items = LINES if self._streams else ITEMS
        make = _chunk if self._streams else _array
        self._payloads = cycle([make(accounts) for _ in range(PAYLOADS)])
        self._to_send = memoryview(b"")
        self._begun = False
        self._ended = False

    @property
    def results(self) -> int:
        return self.committed.counts[0] + self.refused.counts[0]

    def send(self, *, last: bool) -> None:
        """As much as goes; of what is not begun nothing, when it is the last time."""
        while self._to_send or self._next(last):
            try:
                self._to_send = self._to_send[self.connection.send(self._to_send) :]
            except BlockingIOError:
                return

    def _next(self, last: bool) -> bool:
        if last:
            if self._streams and not self._ended:
                self._ended = True
                self._to_send = memoryview(b"0\r\n\r\n")
                return True
            return False
        if not self._streams and self.results < self.sent:
            return False
        payload = next(self._payloads)
        if self._streams and not self._begun:
            payload = _HEAD.format("application/x-ndjson", "Transfer-Encoding: chunked").encode() + payload
        self._begun = True
        self._to_send = memoryview(payload)
        self.sent += self._items
        return True

    @property
    def wants_to_send(self) -> bool:
        return bool(self._to_send) or self._streams or self.results == self.sent

    def receive(self) -> None:
        data = self.connection.recv(1 << 18)
        if not data:
            raise SystemExit("The server closed a connection.")
        if self.results == 0 and data.startswith(b"HTTP/1.1") and not data.startswith(b"HTTP/1.1 200"):
            refused(data)
        self.committed.look(data)
        self.refused.look(data)


def main(url: str, form: str, connections: int, seconds: float, accounts: int) -> None:
    senders = {sender.connection: sender for sender in (Sender(url, form, accounts) for _ in range(connections))}
    started = time.monotonic()
    end = started + seconds
    while True:
        last = time.monotonic() >= end
        if last and all(sender.results == sender.sent for sender in senders.values()):
            break
        if time.monotonic() >= end + LAST_WORDS:
            break
        writers = [each for each, sender in senders.items() if not last or sender._to_send or not sender._ended]
        readable, writable, _ = select.select(list(senders), writers, [], 0.05)
        for each in readable:
            senders[each].receive()
        for each in writable:
            senders[each].send(last=last)
    took = time.monotonic() - started
    print(json.dumps({
        "sent": sum(sender.sent for sender in senders.values()),
        "committed": sum(sender.committed.counts[0] for sender in senders.values()),
        "refused": sum(sender.refused.counts[0] for sender in senders.values()),
        "seconds": took,
    }))
