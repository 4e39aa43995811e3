"""Followers who do nothing but count.

    python -m tests.benchmarks.clients.follow URL TRANSPORT FOLLOWERS ACCOUNTS SAYS_READY

Connects, one follower after the other, to accounts 1, 2 … ACCOUNTS, 1 …; writes a line when all follow. For each line
on standard input it writes one on standard output: a JSON object with the time (`at`, ns, monotonic), and by then of all
followers together `events`, `bytes`, frames `lagging` and `gaps`, and connections `closed`. Ends with standard input.

Frames are not taken apart: an event has one `"Timestamp":"`, whatever the transport. Pings are not answered. A read costs
4 µs, and a byte next to nothing.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

from tests.benchmarks.clients.wire import Needles, follow

NEEDLES = (b'"Timestamp":"', b'"Frame":"lagg', b'"Frame":"gap"')
_STDIN = 0


def main(url: str, transport: str, followers: int, accounts: int, *, says_ready: bool) -> None:
    poll = select.epoll()
    connections = {}
    for number in range(followers):
        connection, came = follow(url, transport, number % accounts + 1, says_ready=says_ready)
        connection.setblocking(False)
        needles = Needles(*NEEDLES)
        needles.look(came)
        connections[connection.fileno()] = (connection, needles)
        poll.register(connection, select.EPOLLIN)
    poll.register(_STDIN, select.EPOLLIN)
    _say({"followers": followers})
    received = closed = 0
    while True:
        for number, _ in poll.poll():
            if number == _STDIN:
                if not os.read(_STDIN, 4096):
                    return
                events, lagging, gaps = (sum(each) for each in zip(*(n.counts for _, n in connections.values()), strict=True))
                now = time.monotonic_ns()
                _say(
                    {"at": now, "events": events, "bytes": received, "lagging": lagging, "gaps": gaps, "closed": closed}
                )
                continue
            connection, needles = connections[number]
            try:
                data = connection.recv(1 << 18)
            except ConnectionError:
                data = b""
            if data:
                received += len(data)
                needles.look(data)
            else:
                closed += 1
                poll.unregister(number)


def _say(what: dict[str, int]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    url, transport, followers, accounts, says_ready = sys.argv[1:]
    main(url, transport, int(followers), int(accounts), says_ready=says_ready == "True")
