"""The rate: how many events all trackers together accepted in the last second.

The log counts every event that it takes, whichever tracker sent it. Reading that count and Redis' clock in one
transaction ten times a second gives points of a curve; the rate is how far the curve rose over the last second, with
the start of that second interpolated between two points.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import trio

from shared.errors import Unavailable
from shared.log import Counters, EventLog

WINDOW = 1.0
SAMPLE_EVERY = 0.1


class Rates:
    """The rate, for any task of this process while the service `run` is up."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._samples: deque[Counters] = deque()
        self._sampled_at = float("-inf")
        self._lock = trio.Lock()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: sample what the log has counted. While the log is away there is nothing to sample."""
        task_status.started()
        while True:
            try:
                async with self._lock:
                    await self._sample()
            except Unavailable:
                self._samples.clear()
                self._sampled_at = float("-inf")
            await trio.sleep(SAMPLE_EVERY)

    @property
    def sampled(self) -> int:
        """The rate as it was at the last sample, 0 while the log is away."""
        return rise(self._samples) if self._samples else 0

    async def per_second(self) -> int:
        """The events of the last second, by all trackers. Raises Unavailable while the log is away."""
        asked_at = trio.current_time()
        async with self._lock:
            if self._sampled_at < asked_at:  # whoever waits here together shares one sample
                await self._sample()
        return rise(self._samples)

    async def _sample(self) -> None:
        sampled_at = trio.current_time()
        counters = await self._log.counters()
        if self._samples and _does_not_follow(self._samples[-1], counters):
            self._samples.clear()
        self._samples.append(counters)
        self._sampled_at = sampled_at
        while len(self._samples) > 2 and self._samples[1].now <= counters.now - WINDOW:
            self._samples.popleft()


def rise(samples: deque[Counters]) -> int:
    """How many events were counted in the WINDOW that ends with the last sample, as exactly as the samples tell."""
    last = samples[-1]
    since = last.now - WINDOW
    if last.appended_at <= since:
        return 0
    for before, after in pairwise(samples):
        if before.now <= since < after.now:
            share = (since - before.now) / (after.now - before.now)
            return round(last.position - before.position - share * (after.position - before.position))
    return last.position - samples[0].position


def _does_not_follow(before: Counters, after: Counters) -> bool:
    """Whether the log was lost and counts from the start, or its clock was set back."""
    return before.epoch not in ("", after.epoch) or after.now < before.now
