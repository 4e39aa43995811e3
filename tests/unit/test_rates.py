"""The rise of the count over the last second, from samples."""

from __future__ import annotations

from collections import deque

import pytest
import trio
from trio.testing import MockClock

from shared.log import Counters
from tracker.rates import Rates, rise


def samples(*points: tuple[float, int], appended_at: float | None = None) -> deque[Counters]:
    """Samples of (time, position); the last event came with the last rise unless told otherwise."""
    if appended_at is None:
        appended_at = points[-1][0]
    return deque(Counters("epoch", position, appended_at, at) for at, position in points)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (samples((10.0, 5)), 0),
        (samples((9.9, 5), (10.0, 8)), 3),
        (samples((9.0, 0), (9.5, 100), (10.0, 200)), 200),
        (samples((8.9, 0), (9.1, 100), (10.0, 500)), 450),
        (samples((8.9, 0), (9.1, 100), (10.0, 100), appended_at=8.95), 0),
        (samples((8.5, 0), (10.0, 0), appended_at=0), 0),
    ],
)
def test_rise(taken: deque[Counters], expected: int) -> None:
    assert rise(taken) == expected


async def test_a_clock_that_is_set_back_starts_anew(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    class Log:
        """Stands in for the log, with a clock that the test sets."""

        offset = 0.0

        async def counters(self) -> Counters:
            now = trio.current_time() + self.offset
            return Counters("epoch", round(now * 10), now, now)

    log = Log()
    rates = Rates(log)  # type: ignore[arg-type]
    await nursery.start(rates.run)
    await trio.sleep(5)
    assert await rates.per_second() == 10
    log.offset = -3600
    await trio.sleep(5)
    assert await rates.per_second() == 10
    assert len(rates._samples) < 20
    nursery.cancel_scope.cancel()
