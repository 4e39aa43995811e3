"""What all trackers together accepted in the last five minutes: second by second, by tracker, and by account.

Each process counts what it commits, and once a second, if there was something, writes a tally of it to Redis. Whoever
is asked for the last minutes reads what was written since it last looked; so a tracker that has just started knows as
much as the others, and nothing is read while nobody asks.

It is an account of how busy the trackers are, not of events: a process that dies takes the tally of its last second
with it, one whose answer from Redis was lost may count twice, and an event may stand a second late. A tally names the
BUSIEST accounts of its second: of an account that is among them only now and then the figures are too low, and one that
never is, is missing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from heapq import nlargest
from typing import Protocol, TypeVar

import msgspec
import trio

from shared.errors import Unavailable
from shared.rates import AccountRates, TrackerRates

K = TypeVar("K")

SECONDS = 300
"""How far back the account goes."""
MINUTE = 60
BUSIEST = 100
"""How many accounts a tally names."""
SHOWN = 20
"""How many of the busiest accounts are shown."""
WRITE_EVERY = 1.0
FRESH = 0.5
"""For how many seconds what was read is good enough for those who ask next."""
_WRITTEN_AFTER = 1.5
"""After how many seconds the tallies of a second have been written, if all is well."""


class Log(Protocol):
    """What is used of `shared.log.EventLog`."""

    async def tally(self, entry: bytes, keep: float) -> None: ...
    async def tallies(self, after: str) -> tuple[float, list[tuple[str, bytes]]]: ...


class _Tally(msgspec.Struct, frozen=True):
    """What a process writes: its host, how many events it committed, and the busiest accounts of these."""

    host: str
    events: int
    accounts: list[tuple[int, int]]


class Recent(msgspec.Struct, frozen=True, rename="pascal"):
    """The last five minutes. Rates are events a second, over a minute and five; `seconds` has the events of
    each of the last 300 whole seconds, the oldest first, and the last of them ends at `until` (RFC 3339)."""

    minute: float
    five_minutes: float
    trackers: list[TrackerRates]
    busiest: list[AccountRates]
    seconds: list[int]
    until: str


class _Second:
    """What is known of a second (Unix, by Redis' clock)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.hosts: Counter[str] = Counter()
        self.accounts: Counter[int] = Counter()


class Tallies:
    """The account, for any task of this process while the service `run` is up."""

    def __init__(self, event_log: Log, host: str) -> None:
        self._log = event_log
        self._host = host
        self._counted: Counter[int] = Counter()
        self._after = "0"  # up to this tally all were read
        self._seconds: deque[_Second] = deque()
        self._now = 0.0
        self._read_at = float("-inf")
        self._lock = trio.Lock()

    def count(self, account_ids: Iterable[int]) -> None:
        """Count events that this process committed."""
        self._counted.update(account_ids)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: write what was counted. What can't be written while the log is away goes with a later tally."""
        task_status.started()
        while True:
            await trio.sleep(WRITE_EVERY)
            if self._counted:
                counted, self._counted = self._counted, Counter()
                tally = _Tally(self._host, counted.total(), counted.most_common(BUSIEST))
                try:
                    await self._log.tally(msgspec.json.encode(tally), SECONDS + MINUTE)
                except Unavailable:
                    self._counted.update(counted)

    async def recent(self) -> Recent:
        """The last five minutes. Raises Unavailable while the log is away."""
        asked_at = trio.current_time()
        async with self._lock:
            if self._read_at < asked_at - FRESH:  # whoever waits here together shares one reading
                await self._read()
                self._read_at = trio.current_time()
        return self._summary(int(self._now - _WRITTEN_AFTER))

    async def _read(self) -> None:
        now, tallies = await self._log.tallies(self._after)
        if now < self._now - WRITE_EVERY:  # the clock was set back: what is known would stand in the future
            self._seconds.clear()
            now, tallies = await self._log.tallies("0")
        self._now = now
        for name, text in tallies:
            self._after = name
            # What was counted in the second before it was written began, as likely as not, half a second earlier.
            self._add(int(int(name.partition("-")[0]) / 1000 - WRITE_EVERY / 2), text)
        while self._seconds and self._seconds[0].number <= now - _WRITTEN_AFTER - SECONDS:
            self._seconds.popleft()

    def _add(self, number: int, text: bytes) -> None:
        try:
            tally = _decoder.decode(text)
        except msgspec.DecodeError:
            return  # none of ours
        if not self._seconds or self._seconds[-1].number < number:
            self._seconds.append(_Second(number))
        self._seconds[-1].hosts[tally.host] += tally.events
        self._seconds[-1].accounts.update(dict(tally.accounts))

    def _summary(self, last: int) -> Recent:
        """Of the whole seconds up to `last`."""
        by_number = {second.number: second for second in self._seconds if second.number <= last}
        newest = by_number.get(last, _Second(last))
        minute = [second for second in by_number.values() if second.number > last - MINUTE]
        five = [second for second in by_number.values() if second.number > last - SECONDS]
        hosts = [_sum(second.hosts for second in seconds) for seconds in (minute, five)]
        accounts = [_sum(second.accounts for second in seconds) for seconds in (minute, five)]
        busiest = nlargest(
            SHOWN, accounts[1], key=lambda account: (accounts[0][account], accounts[1][account], -account)
        )
        return Recent(
            minute=_rate(hosts[0].total(), MINUTE),
            five_minutes=_rate(hosts[1].total(), SECONDS),
            trackers=[
                TrackerRates(host, newest.hosts[host], _rate(hosts[0][host], MINUTE), _rate(hosts[1][host], SECONDS))
                for host in sorted(hosts[1])
            ],
            busiest=[
                AccountRates(account, _rate(accounts[0][account], MINUTE), _rate(accounts[1][account], SECONDS))
                for account in busiest
            ],
            seconds=[
                by_number[number].hosts.total() if number in by_number else 0
                for number in range(last - SECONDS + 1, last + 1)
            ],
            until=datetime.fromtimestamp(last + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )


_decoder = msgspec.json.Decoder(_Tally)


def _sum(counts: Iterable[Counter[K]]) -> Counter[K]:
    total: Counter[K] = Counter()
    for counter in counts:
        total.update(counter)
    return total


def _rate(events: int, seconds: int) -> float:
    return round(events / seconds, 2)
