"""redis-py, as this project uses it: it never repeats a command by itself, and its exceptions end here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from shared.aio import Bridge
from shared.errors import Misconfigured, Unavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ANSWER_WITHIN = 3.0
"""For how many seconds Redis may be silent when it has been asked something."""


class RedisRefused(Unavailable):
    """Redis answered with an error, so it is there. `reason` begins with the error's code, if it has one."""


def connection_pool(url: str, *, answer_within: float | None = ANSWER_WITHIN) -> Any:
    """A pool of connections without retries: a repeated append would double events, and a subscription that is made
    anew in silence would hide a loss. Raises Misconfigured if the URL can't be used."""
    try:
        pool: Any = redis.asyncio.ConnectionPool.from_url(
            url,
            socket_timeout=answer_within,
            socket_connect_timeout=ANSWER_WITHIN,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        pool.make_connection()  # from_url does not look at the options
    except (TypeError, ValueError, redis.exceptions.RedisError) as error:
        raise Misconfigured(f"The URL of Redis can't be used: {error}.") from error
    return pool


async def call(bridge: Bridge | None, part: str, operation: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run an operation on asyncio. Raises Unavailable, of which RedisRefused is the kind where Redis answered."""
    if bridge is None:
        raise Unavailable(part, "not connected")
    try:
        return await bridge.call(operation, *args)
    except (redis.exceptions.ResponseError, redis.exceptions.BusyLoadingError) as error:
        raise RedisRefused(part, str(error)) from error
    except (redis.exceptions.RedisError, OSError) as error:  # OSError includes asyncio's TimeoutError
        raise Unavailable(part, str(error) or "no answer in time") from error
