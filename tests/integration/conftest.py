"""A tracker for the tests, the real one, on real servers; and a listener in a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.integration.terminals import Terminal
from tracker.config import Config
from tracker.service import serve

StartTracker = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
def start_tracker(database_url: str, redis_url: str) -> StartTracker:
    """`async with start_tracker(host="a", …) as client`: a tracker in this process, and a client at its address."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        given = {"bind": "127.0.0.1:0", "database": database_url, "redis": redis_url, "data_dir": Path("/nonexistent")}
        async with trio.open_nursery() as nursery:
            [url] = await nursery.start(serve, Config(**{**given, **settings}))
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                yield client
            nursery.cancel_scope.cancel()

    return start


@pytest.fixture
async def client(start_tracker: StartTracker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running tracker, on a new database and an empty Redis."""
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(start_tracker(host="here"))


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    """`open_terminal(*arguments, term=…, history=…)`: a listener in a terminal."""
    opened: list[Terminal] = []

    def start(*arguments: str, **settings: Any) -> Terminal:
        opened.append(Terminal(*arguments, **settings))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.child.close(force=True)


@pytest.fixture
def terminal(open_terminal: Callable[..., Terminal], redis_url: str) -> Terminal:
    """A listener at its first prompt."""
    terminal = open_terminal("--from", redis_url)
    terminal.expect_prompt()
    return terminal
