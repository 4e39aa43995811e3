"""The whole tracker: what there is, and in which order it starts and stops."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import structlog
import trio

from shared.embedded import Postgres, Redis, hold
from shared.errors import Misconfigured
from shared.feed import PART as FEED
from shared.feed import Feed
from shared.log import PART as LOG
from shared.log import EventLog
from shared.supervision import Health, after, supervise
from tracker import metrics
from tracker.accounts import Accounts
from tracker.config import Config
from tracker.database import PART as DATABASE
from tracker.database import Database
from tracker.http import server
from tracker.http.app import TrackerApp, create_app
from tracker.http.certificate import Certificate
from tracker.publisher import Publisher
from tracker.rates import Rates
from tracker.tracking import Tracking

log = structlog.get_logger(__name__)

HEAD_START = 3.0
"""For how many seconds after the start connections wait to be accepted until database and log are there."""


async def serve(config: Config, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
    """Run a tracker until SIGTERM or SIGINT; another signal cuts short what is still in flight.

    `task_status.started()` gets the URLs that it serves, once every part is up (none if it stops before). Raises
    Misconfigured if it can't run with these settings; what any part raises otherwise is a bug, and ends it.
    """
    stopping = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as program:
            program.start_soon(_stop_at_signal, signals, stopping, program.cancel_scope)
            await _run(config, stopping, task_status)
            program.cancel_scope.cancel()


async def _run(config: Config, stopping: trio.Event, task_status: trio.TaskStatus[list[str]]) -> None:
    with contextlib.ExitStack() as held:
        listeners = await _listen(config)
        for listener in listeners:
            held.callback(listener.socket.close)
        certificate = Certificate(config.cert, config.key) if config.cert else None
        embedded: dict[str, Postgres | Redis] = {}
        if config.database is None:
            embedded[DATABASE] = Postgres(config.data_dir)
        if config.redis is None:
            embedded[LOG] = Redis(config.data_dir)
        if embedded:
            held.enter_context(hold(config.data_dir))

        database = Database(config.database or embedded[DATABASE].url)
        redis_url = config.redis or embedded[LOG].url
        event_log = EventLog(
            redis_url,
            config.host,
            keep=config.keep_events,
            expire=config.keep_seconds,
            keep_index=config.keep_index,
            go_channel=config.go_channel,
            on_damage=lambda text: log.warning("damaged log", found=text),
        )
        feed = Feed(redis_url, event_log, follower_bytes=config.follower_bytes)
        accounts = Accounts(database, config.cache_size)
        publisher = Publisher(event_log, config.queue_size)
        rates = Rates(event_log)
        healths = [_part(part) for part in (DATABASE, LOG, FEED)]
        database_health, log_health, feed_health = healths
        app = create_app(
            Tracking(accounts, publisher),
            accounts,
            rates,
            healths,
            feed,
            event_log,
            max_data=config.max_data,
            max_followers=config.max_followers,
            allow_origin=config.allow_origin,
        )
        app.stopping = stopping

        ready = False
        async with trio.open_nursery() as servers:  # outlives the services, which need its servers to the end
            async with trio.open_nursery() as services:
                served = partial(
                    server.serve, app, listeners, certificate=certificate, max_connections=config.max_connections
                )
                services.start_soon(_serve_http, app, served, [database_health, log_health], services.cancel_scope)
                async with trio.open_nursery() as starting:
                    for own in embedded.values():
                        starting.start_soon(servers.start, supervise, own.run, _part(f"own {type(own).__name__}"))
                services.start_soon(supervise, database.run, database_health)
                services.start_soon(supervise, after(database_health, accounts.run), _part("account changes"))
                services.start_soon(supervise, event_log.run, log_health)
                services.start_soon(supervise, feed.run, feed_health)
                services.start_soon(supervise, publisher.run, _part("publisher"))
                services.start_soon(supervise, rates.run, _part("rates"))
                look = partial(metrics.run, publisher, feed, event_log, rates)
                services.start_soon(supervise, look, _part("metrics"))
                if certificate:
                    services.start_soon(supervise, certificate.run, _part("certificate"))
                for health in healths:
                    await health.wait_up()
                ready = True
                task_status.started([_url(listener, "https" if certificate else "http") for listener in listeners])
            if not ready:
                task_status.started([])  # stopped before
            servers.cancel_scope.cancel()


async def _serve_http(
    app: TrackerApp, serve: Callable[[], Awaitable[None]], healths: list[Health], rest: trio.CancelScope
) -> None:
    # Clients who come before the parts are up wait for them a little, rather than being refused.
    async with trio.open_nursery() as waiting:
        waiting.cancel_scope.deadline = trio.current_time() + HEAD_START
        waiting.start_soon(_cancel_when, app.stopping, waiting.cancel_scope)
        for health in healths:
            await health.wait_up()
        waiting.cancel_scope.cancel()
    await serve()
    rest.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _stop_at_signal(signals: AsyncIterator[int], stopping: trio.Event, program: trio.CancelScope) -> None:
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name)
        if stopping.is_set():
            program.cancel()
        stopping.set()


def _part(name: str) -> Health:
    return metrics.Part(name, _report)


def _report(part: str, reason: str | None) -> None:
    if reason is None:
        log.info("back", part=part)
    else:
        log.warning("unavailable, trying again until it is back", part=part, reason=reason)


async def _listen(config: Config) -> list[trio.SocketListener]:
    host, port = config.address
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise Misconfigured(
            f"Can't listen on {config.bind}: {error.strerror}. Choose another address with --bind HOST:PORT."
        ) from error


def _url(listener: trio.SocketListener, scheme: str) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
