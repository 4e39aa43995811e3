"""What a tracker of one process and the parent of several workers have in common."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable

import structlog
import trio

from shared.embedded import Postgres, Redis, database_url, redis_url
from shared.errors import Misconfigured
from shared.supervision import Health
from tracker import metrics
from tracker.config import Config

log = structlog.get_logger(__name__)


async def listen(config: Config) -> list[trio.SocketListener]:
    """Raises Misconfigured."""
    host, port = config.address
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise Misconfigured(
            f"Can't listen on {config.bind}: {error.strerror}. Choose another address with --bind HOST:PORT."
        ) from error


def url(listener: trio.SocketListener, config: Config) -> str:
    """Under which address clients of this host find it."""
    scheme = "https" if config.cert else "http"
    host, port = listener.socket.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def own_servers(config: Config) -> list[Postgres | Redis]:
    """The servers that the tracker has to run itself, for want of others."""
    own: list[Postgres | Redis] = []
    if config.database is None:
        own.append(Postgres(config.data_dir, trackers=config.workers))
    if config.redis is None:
        own.append(Redis(config.data_dir))
    return own


def urls_of_servers(config: Config) -> tuple[str, str]:
    """The URLs of PostgreSQL and Redis, which may be our own."""
    return config.database or database_url(config.data_dir), config.redis or redis_url(config.data_dir)


async def stop_at_signal(signals: AsyncIterator[int], stopping: trio.Event, hurry: Callable[[], object]) -> None:
    """At the first signal set `stopping`, at each other call `hurry`."""
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name)
        if stopping.is_set():
            hurry()
        stopping.set()


def part(name: str) -> Health:
    """The health of a part to be supervised, whose changes are logged and counted."""
    return metrics.Part(name, _report)


def _report(part: str, reason: str | None) -> None:
    if reason is None:
        log.info("back", part=part)
    else:
        log.warning("unavailable, trying again until it is back", part=part, reason=reason)
