"""Restarting what needs a server that comes and goes; on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import trio
import trio.testing

from shared.errors import Unavailable
from shared.supervision import FIRST_DELAY, LONGEST_DELAY, Health, after, backoff, supervise


class Reports(list[tuple[str, str | None]]):
    def __call__(self, part: str, reason: str | None) -> None:
        self.append((part, reason))


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def health(reports: Reports) -> Health:
    return Health("part", reports)


class Scripted:
    """A service that lives as told: each start does the next thing of its script, then stays up."""

    def __init__(self, *script: Callable[[], object] | BaseException | float) -> None:
        """An exception is raised before the service is ready; a number is how long it is up before it loses its
        server."""
        self._script = iter(script)
        self.starts: list[float] = []

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.starts.append(trio.current_time())
        step = next(self._script, None)
        if isinstance(step, BaseException):
            raise step
        task_status.started()
        if isinstance(step, float):
            await trio.sleep(step)
            raise Unavailable("part", "lost")
        await trio.sleep_forever()


async def test_a_service_comes_up(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, health: Health, reports: Reports
) -> None:
    assert not health.up
    await nursery.start(supervise, Scripted().run, health)
    assert health.up
    await health.wait_up()
    assert reports == []


async def test_each_change_is_reported_once(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, health: Health, reports: Reports
) -> None:
    service = Scripted(1.0, Unavailable("part", "refused"), Unavailable("part", "refused again"), 60.0)
    await nursery.start(supervise, service.run, health)
    await trio.sleep(1.01)
    assert (health.up, health.reason) == (False, "lost")
    await health.wait_up()
    await trio.sleep(1)
    assert health.up
    assert reports == [("part", "lost"), ("part", None)]
    await trio.sleep(60)
    assert reports == [("part", "lost"), ("part", None)] * 2


async def test_absent_at_the_start(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, health: Health, reports: Reports
) -> None:
    service = Scripted(*[Unavailable("part", "refused")] * 3)
    await nursery.start(supervise, service.run, health)
    assert reports == [("part", "refused"), ("part", None)]
    assert len(service.starts) == 4


async def test_unavailable_in_groups_restarts_too(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, health: Health, reports: Reports
) -> None:
    inner = ExceptionGroup("", [Unavailable("part", "deep inside"), Unavailable("part", "another")])
    await nursery.start(supervise, Scripted(ExceptionGroup("", [inner])).run, health)
    assert reports == [("part", "deep inside"), ("part", None)]


async def test_other_errors_escalate(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
        await supervise(Scripted(ZeroDivisionError()).run, health)


async def test_other_errors_escalate_out_of_groups(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    error = ExceptionGroup("", [Unavailable("part", "away"), ExceptionGroup("", [ZeroDivisionError()])])
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await supervise(Scripted(error).run, health)


async def test_returning_is_an_error(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()

    with pytest.raises(RuntimeError, match="'part' returned"):
        await supervise(run, health)


@pytest.mark.parametrize("seconds", [0.5, 1.001])
async def test_cancellation_ends_it(
    autojump_clock: trio.testing.MockClock, health: Health, reports: Reports, seconds: float
) -> None:
    with trio.move_on_after(seconds) as scope:
        await supervise(Scripted(1.0).run, health)
    assert scope.cancelled_caught
    assert reports == ([] if seconds < 1 else [("part", "lost")])


async def test_delays_grow_while_it_is_away(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    service = Scripted(*[Unavailable("part", "away")] * 100)
    with trio.move_on_after(60):
        await supervise(service.run, health)
    pauses = [later - earlier for earlier, later in zip(service.starts, service.starts[1:], strict=False)]
    assert FIRST_DELAY / 2 <= pauses[0] <= FIRST_DELAY
    assert all(LONGEST_DELAY / 2 <= pause <= LONGEST_DELAY for pause in pauses[6:])


async def test_delays_begin_anew_after_a_long_life(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    service = Scripted(*[Unavailable("part", "away")] * 9, LONGEST_DELAY + 1)
    with trio.move_on_after(120):
        await supervise(service.run, health)
    assert service.starts[-1] - service.starts[-2] <= LONGEST_DELAY + 1 + FIRST_DELAY


async def test_a_short_life_does_not_shorten_the_delay(autojump_clock: trio.testing.MockClock, health: Health) -> None:
    service = Scripted(*[Unavailable("part", "away")] * 9, 1.0)
    with trio.move_on_after(120):
        await supervise(service.run, health)
    assert service.starts[-1] - service.starts[-2] >= 1 + LONGEST_DELAY / 2


async def test_a_service_waits_for_the_part_that_it_comes_after(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, health: Health, reports: Reports
) -> None:
    first, second = Scripted(1.0, 60.0), Scripted(1.5)
    nursery.start_soon(supervise, after(health, second.run), Health("second", reports))
    await trio.sleep(10)
    assert second.starts == []
    await nursery.start(supervise, first.run, health)
    await trio.sleep(10)
    assert [start >= first.starts[0] for start in second.starts] == [True, True]
    nursery.cancel_scope.cancel()


def test_backoff_stays_in_its_bounds() -> None:
    def bounds() -> Iterator[float]:
        bound = FIRST_DELAY
        while True:
            yield bound
            bound = min(2 * bound, LONGEST_DELAY)

    for _ in range(50):
        for delay, bound in zip(islice(backoff(), 20), bounds(), strict=False):
            assert bound / 2 <= delay <= bound


def test_backoff_differs_from_client_to_client() -> None:
    assert len({next(backoff()) for _ in range(20)}) > 1
