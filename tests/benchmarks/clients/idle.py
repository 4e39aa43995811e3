"""Followers who do nothing.

    python -m tests.benchmarks.clients.idle URL TRANSPORT FOLLOWERS ACCOUNTS

Connects, one follower after the other, to accounts 1, 2 … ACCOUNTS, 1 …, each to one; writes a line when all follow;
and ends with standard input.
"""

from __future__ import annotations

import sys

from tests.benchmarks.clients.wire import follow, say


def main(url: str, transport: str, followers: int, accounts: int) -> None:
    streams = [follow(url, transport, number % accounts + 1, says_ready=True) for number in range(followers)]
    say({"followers": len(streams)})
    sys.stdin.read()


if __name__ == "__main__":
    url, transport, followers, accounts = sys.argv[1:]
    main(url, transport, int(followers), int(accounts))
