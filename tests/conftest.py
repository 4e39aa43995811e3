"""Real servers for the tests: started once, handed out empty."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest
import redis
import trio

from shared.embedded import Postgres, Redis, hold

hypothesis.settings.register_profile("here", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("here")  # a slow machine is no failure; and the first example makes tables of Unicode


@dataclass(frozen=True)
class Servers:
    database_url: str
    redis_url: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis: our own, or those of TRACKER_TEST_DATABASE_URL and TRACKER_TEST_REDIS_URL.

    The tests empty that Redis, whatever it holds.
    """
    database_url = os.environ.get("TRACKER_TEST_DATABASE_URL")
    redis_url = os.environ.get("TRACKER_TEST_REDIS_URL")
    if database_url and redis_url:
        yield Servers(database_url, redis_url)
        return
    with _own_servers() as own:
        yield Servers(database_url or own.database_url, redis_url or own.redis_url)


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """The URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(servers.database_url, f"CREATE DATABASE {name}"))
    yield urlunsplit(urlsplit(servers.database_url)._replace(path=f"/{name}"))
    asyncio.run(_execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


async def _execute(url: str, command: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(command)
    finally:
        await connection.close()


@contextmanager
def _own_servers() -> Iterator[Servers]:
    """Run the embedded servers in a thread: each test has a trio of its own, which ends before they do."""
    data_dir = Path(tempfile.mkdtemp(prefix="tt-", dir="/tmp"))
    postgres, own_redis = Postgres(data_dir), Redis(data_dir)
    stop = trio.Event()
    ready = threading.Event()
    token: list[trio.lowlevel.TrioToken] = []
    failure: list[BaseException] = []

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                starting.start_soon(nursery.start, postgres.run)
                starting.start_soon(nursery.start, own_redis.run)
            token.append(trio.lowlevel.current_trio_token())
            ready.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    def run() -> None:
        try:
            with hold(data_dir):
                trio.run(serve)
        except BaseException as error:  # for the thread that waits
            failure.append(error)
        finally:
            ready.set()

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, data_dir)
        thread = threading.Thread(target=run, name="servers")
        thread.start()
        stack.callback(thread.join)
        ready.wait()
        if token:
            stack.callback(token[0].run_sync_soon, stop.set)
        if failure:
            raise failure[0]
        yield Servers(postgres.url, own_redis.url)
    if failure:
        raise failure[0]
