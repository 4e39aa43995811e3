"""A tracker for the tests: the real one, on real servers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

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
