"""PUTs to one server, and WebSocket followers of another who count what comes.

    python -m tests.benchmarks.clients.fan_out SOURCE URL FOLLOWERS SECONDS SAYS_READY

All events are for account 1. They are sent to SOURCE one by one, on 32 connections, as fast as the followers have them:
no more than 64 are on their way, on average over the followers. So no follower lags, and a server that is slow has less
to do, not more. When SECONDS are over, the client waits until every follower has every event.

Writes a JSON object: how many were `accepted`; `deliveries` and `rate`: frames received, and events put, a second, from
the first PUT to the last frame; and `client`.

Frames are not taken apart: an event has one `"Timestamp":"`. A read costs 4 µs, and a byte next to nothing.
"""

from __future__ import annotations

import select
import sys
import time

from tests.benchmarks.clients.wire import Meter, Needle, connect, follow, put, receive, say, was_put

CONNECTIONS = 32
WINDOW = 64
PATIENCE = 60
"""For how many seconds the last events may take."""


def main(source: str, url: str, followers: int, seconds: float, *, says_ready: bool) -> None:
    poll = select.epoll()
    streams = {}
    for _ in range(followers):
        stream = follow(url, "WebSocket", 1, says_ready=says_ready)
        streams[stream.fileno()] = (stream, Needle(b'"Timestamp":"'))
        poll.register(stream, select.EPOLLIN)
    free = [connect(source) for _ in range(CONNECTIONS)]
    senders = {sender.fileno(): sender for sender in free}
    for sender in free:
        poll.register(sender, select.EPOLLIN)
    sent = answered = delivered = 0
    meter = Meter()
    last = meter.started
    end = meter.started + seconds
    while True:
        now = time.monotonic()
        while now < end and free and sent - delivered / followers < WINDOW:
            free.pop().sendall(put(1, "test%20data"))
            sent += 1
        if now >= end and answered == sent and delivered == sent * followers:
            break
        if now > end + PATIENCE:
            raise SystemExit(f"{sent} events to {followers} followers, and {delivered} frames came.")
        for number, _ in poll.poll(0.02):
            if number in senders:
                was_put(senders[number])
                free.append(senders[number])
                answered += 1
            else:
                stream, needle = streams[number]
                delivered += needle.look(receive(stream))
                last = time.monotonic()
    if any(needle.count != sent for _, needle in streams.values()):
        raise SystemExit("A follower got too few events, and another one too many.")
    took = last - meter.started
    say({"accepted": sent, "deliveries": delivered / took, "rate": sent / took, "client": meter.client})


if __name__ == "__main__":
    source, url, followers, seconds, says_ready = sys.argv[1:]
    main(source, url, int(followers), float(seconds), says_ready=says_ready == "yes")
