"""Crossing into asyncio: results, errors, cancellation, and what happens when the loop ends."""

from __future__ import annotations

import asyncio

import pytest
import trio
import trio.testing

from shared.aio import Bridge, open_bridge
from shared.errors import Unavailable


async def echo(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fail() -> None:
    raise ZeroDivisionError


async def test_results_and_errors_cross() -> None:
    async with open_bridge("part") as bridge:
        assert await bridge.call(echo, 7) == 7
        with pytest.raises(ZeroDivisionError):
            await bridge.call(fail)


async def test_a_cancelled_call_cancels_the_asyncio_task() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with open_bridge("part") as bridge:
        with trio.move_on_after(0.01) as scope:
            await bridge.call(wait)
        assert scope.cancelled_caught
        assert ended == ["cancelled"]
        assert await bridge.call(echo, 1) == 1


async def test_a_closed_bridge_ends_calls_of_other_tasks(nursery: trio.Nursery) -> None:
    outcomes: list[str] = []
    bridges: list[Bridge] = []
    close = trio.Event()

    async def hold(*, task_status: trio.TaskStatus[None]) -> None:
        async with open_bridge("part") as bridge:
            bridges.append(bridge)
            task_status.started()
            await close.wait()

    async def call() -> None:
        with pytest.raises(Unavailable, match="part: the connection was given up"):
            await bridges[0].call(asyncio.sleep, 3600)
        outcomes.append("unavailable")

    await nursery.start(hold)
    async with trio.open_nursery() as callers:
        callers.start_soon(call)
        callers.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        close.set()
    assert outcomes == ["unavailable", "unavailable"]
    with pytest.raises(Unavailable, match="part: not connected"):
        await bridges[0].call(echo, 1)
