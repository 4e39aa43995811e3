"""The whole tracker: what there is, and in which order it starts and stops."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from shared.embedded import announce, hold
from shared.feed import PART as FEED
from shared.feed import Feed
from shared.log import PART as LOG
from shared.log import EventLog
from shared.supervision import Health, after, supervise
from tracker import metrics
from tracker.accounts import Accounts
from tracker.board import Seat
from tracker.config import Config
from tracker.database import PART as DATABASE
from tracker.database import Database
from tracker.http import server
from tracker.http.app import TrackerApp, create_app
from tracker.http.certificate import Certificate
from tracker.program import listen, own_servers, part, stop_at_signal, url, urls_of_servers
from tracker.publisher import Publisher
from tracker.rates import Rates
from tracker.tallies import Tallies
from tracker.tracking import Tracking

log = structlog.get_logger(__name__)

HEAD_START = 3.0
"""For how many seconds after the start connections wait to be accepted until database and log are there."""


async def serve(
    config: Config,
    *,
    listeners: list[trio.SocketListener] | None = None,
    seat: Seat | None = None,
    abandoned: trio.Event | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a tracker until SIGTERM or SIGINT; another signal cuts short what is still in flight.

    One of several workers gets its listeners, its seat among the others, and an event that stops it as a signal does.

    `task_status.started()` gets the URLs that it serves, once every part is up (none if it stops before). Raises
    Misconfigured if it can't run with these settings; what any part raises otherwise is a bug, and ends it.
    """
    stopping = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as program:
            program.start_soon(stop_at_signal, signals, stopping, program.cancel_scope.cancel)
            if abandoned is not None:
                program.start_soon(_pass_on, abandoned, stopping)
            await _run(config, listeners, seat, stopping, task_status)
            program.cancel_scope.cancel()


async def _run(
    config: Config,
    given: list[trio.SocketListener] | None,
    seat: Seat | None,
    stopping: trio.Event,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    with contextlib.ExitStack() as held:
        listeners = await listen(config) if given is None else given
        for listener in listeners:
            held.callback(listener.socket.close)
        urls = [url(listener, config) for listener in listeners]
        certificate = Certificate(config.cert, config.key) if config.cert else None
        own = own_servers(config)
        if own:
            held.enter_context(hold(config.data_dir))
            held.enter_context(announce(config.data_dir, urls[0]))

        database_url, redis_url = urls_of_servers(config)
        database = Database(database_url)
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
        tallies = Tallies(event_log, config.host)
        publisher = Publisher(event_log, config.queue_size, count=tallies.count)
        rates = Rates(event_log)
        healths = [part(name) for name in (DATABASE, LOG, FEED)]
        database_health, log_health, feed_health = healths
        app = create_app(
            Tracking(accounts, publisher),
            accounts,
            rates,
            tallies,
            healths,
            feed,
            event_log,
            max_data=config.max_data,
            max_followers=config.max_followers,
            allow_origin=config.allow_origin,
            seat=seat,
        )
        app.stopping = stopping

        ready = False
        async with trio.open_nursery() as servers:  # outlives the services, which need its servers to the end
            async with trio.open_nursery() as services:
                served = partial(
                    server.serve,
                    app,
                    listeners,
                    certificate=certificate,
                    max_connections=config.max_connections,
                    seat=seat,
                )
                serving = trio.Event()
                services.start_soon(
                    _serve_http, app, served, [database_health, log_health], serving, services.cancel_scope
                )
                if seat:
                    services.start_soon(supervise, partial(seat.run, healths), part("board"))
                async with trio.open_nursery() as starting:
                    for one in own:
                        starting.start_soon(servers.start, supervise, one.run, part(f"own {type(one).__name__}"))
                services.start_soon(supervise, database.run, database_health)
                services.start_soon(supervise, after(database_health, accounts.run), part("account changes"))
                services.start_soon(supervise, event_log.run, log_health)
                services.start_soon(supervise, feed.run, feed_health)
                services.start_soon(supervise, publisher.run, part("publisher"))
                services.start_soon(supervise, rates.run, part("rates"))
                services.start_soon(supervise, tallies.run, part("tallies"))
                look = partial(metrics.run, publisher, feed, event_log, rates)
                services.start_soon(supervise, look, part("metrics"))
                if certificate:
                    services.start_soon(supervise, certificate.run, part("certificate"))
                for health in healths:
                    await health.wait_up()
                await serving.wait()
                if seat:
                    seat.note()
                if not stopping.is_set():
                    ready = True
                    task_status.started(urls)
            if not ready:
                task_status.started([])  # stopped before
            servers.cancel_scope.cancel()


async def _serve_http(
    app: TrackerApp,
    serve: Callable[..., Awaitable[None]],
    healths: list[Health],
    serving: trio.Event,
    rest: trio.CancelScope,
) -> None:
    # Clients who come before the parts are up wait for them a little, rather than being refused.
    async with trio.open_nursery() as waiting:
        waiting.cancel_scope.deadline = trio.current_time() + HEAD_START
        waiting.start_soon(_cancel_when, app.stopping, waiting.cancel_scope)
        for health in healths:
            await health.wait_up()
        waiting.cancel_scope.cancel()
    async with trio.open_nursery() as http:
        await http.start(serve)
        serving.set()
    rest.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _pass_on(event: trio.Event, to: trio.Event) -> None:
    await event.wait()
    to.set()
