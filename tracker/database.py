"""PostgreSQL, as this program uses it: whole operations on a pool of asyncpg connections.

asyncpg's exceptions end here: they become `Unavailable` and `OutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import asyncpg
import structlog
import trio

from shared.aio import Bridge, open_bridge
from shared.errors import Misconfigured, OutcomeUnknown, Unavailable
from tracker import migrations

T = TypeVar("T")

log = structlog.get_logger(__name__)

PART = "database"
_TIMEOUT = 3.0
_PING_EVERY = 1.0
_LISTEN_CHECK_EVERY = 2.0
_CONNECTIONS = 10
_LAST_WORDS = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
"""Errors that PostgreSQL may also send when the statement has been carried out."""
_SETTINGS = {"application_name": "tracker"}


class Database:
    """A pool of connections, usable from any trio task while the service `run` is up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bridge: Bridge | None = None
        self._turns = trio.CapacityLimiter(_CONNECTIONS)  # those who wait for a connection must not crowd asyncio
        self._pool: asyncpg.Pool | None = None
        self._connections: set[asyncpg.Connection] = set()
        """Those beside the pool. They live on the loop of `run`, and end with it at the latest."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: hold the pool; ready when PostgreSQL answers and the migrations are applied.

        Raises Unavailable when PostgreSQL is away or does not answer within 3 s, and Misconfigured if it lets us in
        but does not let us make our tables.
        """
        async with open_bridge(PART, self._cut_off) as bridge:
            try:
                watch = await translated(bridge, self._connect)
                self._pool = await translated(bridge, self._open_pool)
                for name in await translated(bridge, partial(migrations.apply, watch)):
                    log.info("database migrated", migration=name)
                self._bridge = bridge
                task_status.started()
                # On a connection of its own: a pool that is merely busy is no server that is away.
                while True:
                    await trio.sleep(_PING_EVERY)
                    await translated(bridge, partial(watch.execute, "select 1"))
            except asyncpg.InsufficientPrivilegeError as error:
                raise Misconfigured(
                    f"PostgreSQL does not let the tracker make its tables: {error}."
                    " Give its user the right to create in the database's schema, or let it own the table account."
                ) from error
            finally:
                self._bridge = None

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query that changes nothing. Raises Unavailable."""

        async def operation() -> list[asyncpg.Record]:
            async with self._opened.acquire(timeout=_TIMEOUT) as connection:
                return await connection.fetch(query, *arguments)

        return await self._in_turn(operation)

    async def change(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """The first row that a changing statement returns.

        Raises Unavailable if nothing was changed, and OutcomeUnknown if the answer was lost.
        """
        sent = False

        async def operation() -> asyncpg.Record | None:
            nonlocal sent
            async with self._opened.acquire(timeout=_TIMEOUT) as connection:
                sent = True
                return await connection.fetchrow(query, *arguments)

        try:
            return await self._in_turn(operation)
        except Unavailable as error:
            refused = isinstance(error.__cause__, asyncpg.PostgresError) and not isinstance(
                error.__cause__, _LAST_WORDS
            )
            if sent and not refused:
                raise OutcomeUnknown(PART, error.reason) from error
            raise

    async def _in_turn(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Raises Unavailable also if so many wait already that its turn does not come in time."""
        with trio.move_on_after(_TIMEOUT) as waiting:
            async with self._turns:
                waiting.deadline = math.inf
                return await translated(self._bridge, operation)
        raise Unavailable(PART, "too slow for the questions that are waiting")

    async def listen(self, channel: str, heard: Callable[[str], object], *, task_status: trio.TaskStatus[None]) -> None:
        """Service: call `heard(payload)` for each notification on a channel; ready when none can be missed any more.

        Raises Unavailable when the connection is lost, or delivers nothing: some poolers take a LISTEN and forget it,
        so it is tried every 2 s with a notification to ourselves, whose payload (an empty one) is not passed on.
        """
        bridge = self._bridge
        echoed = trio.Event()

        def notified(connection: object, pid: int, channel: str, payload: object) -> None:
            if payload:
                heard(str(payload))
            else:
                echoed.set()

        connection = await translated(bridge, self._connect)
        lost = trio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await translated(bridge, partial(connection.add_listener, channel, notified))
            task_status.started()
            while True:
                echoed = trio.Event()
                await translated(bridge, partial(connection.execute, "select pg_notify($1, '')", channel))
                with trio.move_on_after(_TIMEOUT):
                    await echoed.wait()
                if not echoed.is_set():
                    raise Unavailable(PART, "notifications do not arrive")
                with trio.move_on_after(_LISTEN_CHECK_EVERY):
                    await lost.wait()
        finally:
            if connection in self._connections:
                self._connections.remove(connection)
                connection.terminate()

    @property
    def _opened(self) -> asyncpg.Pool:
        assert self._pool is not None
        return self._pool

    def _cut_off(self) -> None:
        for connection in self._connections:
            connection.terminate()
        self._connections.clear()
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._url, timeout=_TIMEOUT, command_timeout=_TIMEOUT, server_settings=_SETTINGS
        )
        self._connections.add(connection)
        return connection

    async def _open_pool(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=_CONNECTIONS,
            timeout=_TIMEOUT,
            command_timeout=_TIMEOUT,
            # Else asyncpg sets a timer of 5 min after each query and cancels it before the next; trio-asyncio (0.16)
            # keeps cancelled timers until their time: 100 MiB at 1,300 queries a second.
            max_inactive_connection_lifetime=0,
            server_settings=_SETTINGS,
        )


async def translated(bridge: Bridge | None, operation: Callable[[], Awaitable[T]]) -> T:
    """Run an operation on asyncio. PostgreSQL away, stopping, starting or silent becomes Unavailable."""
    if bridge is None:
        raise Unavailable(PART, "not connected")
    try:
        return await bridge.call(operation)
    except asyncpg.ClientConfigurationError as error:
        raise Misconfigured(f"The URL of --database can't be used: {error}.") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        # A connection or pool that is closed or closing. One that PostgreSQL ended, whose last words are not all read
        # yet, says that another operation is in progress: it can't be, as each has one user at a time.
        if not re.search("clos|another operation", str(error)):
            raise
        raise Unavailable(PART, str(error)) from error
    except (
        OSError,
        TimeoutError,
        asyncio.IncompleteReadError,
        asyncpg.CannotConnectNowError,
        asyncpg.ConnectionDoesNotExistError,
        asyncpg.ConnectionFailureError,
        asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.TransactionRollbackError,
        asyncpg.ReadOnlySQLTransactionError,
        asyncpg.InvalidAuthorizationSpecificationError,  # a server that is still being set up, too
        asyncpg.InvalidCatalogNameError,
    ) as error:
        raise Unavailable(PART, str(error) or "no answer in time") from error
