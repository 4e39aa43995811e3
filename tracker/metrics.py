"""What the tracker counts, for `/metrics`.

Counted where it happens, by prometheus-client's own objects: 0.3 us a step, 0.8 us where several workers share their
counts (measured with prometheus-client 0.26 on a 2-core machine; a PUT takes about 120). What has a state rather than
happens is looked at once a second by `run`. No label has an account in it, nor anything else that clients could make
up without bounds.

Several workers of one tracker count together: their parent names a directory in PROMETHEUS_MULTIPROC_DIR, through
which prometheus-client lets each of them speak for all. Functions and objects of one process (collectors, `Info`) have
no place there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

import trio
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    exposition,
    multiprocess,
)

from shared.errors import AccountNotActive, NoSuchAccount, OutcomeUnknown, TrackerError, Unavailable
from shared.events import DataTooLarge
from shared.supervision import Health

LOOK_EVERY = 1.0

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each count began: a line more for every one, and no news

ACCEPTED = Counter(
    "tracker_events_accepted",
    "Events of which the log said where they stand; repeats under an Idempotency-Key count, too.",
)
REFUSED = Counter("tracker_events_refused", "Events that were not accepted, or perhaps not.", ["reason"])
BATCHES = Histogram(
    "tracker_batch_events", "Events in one batch for the log.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
APPEND = Histogram(
    "tracker_append_seconds",
    "How long the log took for a batch.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
QUEUE = Gauge("tracker_queue_events", "Events that wait for the log.", multiprocess_mode="livesum")
RATE = Gauge(
    "tracker_rate_events_per_second",
    "Events that all trackers together accepted in the last second.",
    multiprocess_mode="livemax",
)
FOLLOWERS = Gauge("tracker_followers", "Streams that are open.", ["transport"], multiprocess_mode="livesum")
LAGGING = Gauge(
    "tracker_followers_lagging", "Streams that fell behind, and are catching up.", multiprocess_mode="livesum"
)
BEHIND = Gauge(
    "tracker_followers_behind_events", "How far behind the last one of these is.", multiprocess_mode="livemax"
)
FRAMES = Counter("tracker_stream_frames", "Frames that were sent on streams.", ["transport"])
BYTES = Counter("tracker_stream_bytes", "Bytes of frames that were sent on streams.", ["transport"])
GAPS = Counter("tracker_stream_gaps", "Gaps that followers were told of.", ["reason"])
SKIPPED = Counter("tracker_log_damaged", "Entries and messages in Redis that were no events.")
RESTARTS = Counter("tracker_service_restarts", "How often a supervised service had to be started again.", ["service"])
UP = Gauge("tracker_service_up", "Whether a supervised service runs.", ["service"], multiprocess_mode="livemin")
CONNECTIONS = Gauge("tracker_connections", "Connections that are open.", multiprocess_mode="livesum")
CONNECTED = Counter("tracker_connections_accepted", "Connections that were accepted.")
REQUESTS = Counter("tracker_http_requests", "Requests that were answered.", ["method", "route", "status"])

_METHODS = {"GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "WEBSOCKET"}
_REASONS: tuple[tuple[type[TrackerError], str], ...] = (
    (DataTooLarge, "too_large"),
    (NoSuchAccount, "no_such_account"),
    (AccountNotActive, "not_active"),
    (Unavailable, "unavailable"),
    (OutcomeUnknown, "unknown"),
    (TrackerError, "bad_request"),
)
for _, reason in _REASONS:
    REFUSED.labels(reason)  # there with 0 from the start, as rates want it


def refused(error: TrackerError) -> None:
    """Count an event that was refused."""
    REFUSED.labels(next(reason for kind, reason in _REASONS if isinstance(error, kind))).inc()


def answered(method: str, route: str | None, status: int) -> None:
    """Count a request; `route` is the pattern of its URL, None if there is no such resource."""
    REQUESTS.labels(method if method in _METHODS else "other", route or "none", str(status)).inc()


class Part(Health):
    """The health of a supervised service, with how often it was started again."""

    def __init__(self, part: str, report: Callable[[str, str | None], object]) -> None:
        super().__init__(part, report)
        UP.labels(part).set(0)
        RESTARTS.labels(part)

    def came_up(self) -> None:
        super().came_up()
        UP.labels(self.part).set(1)

    def went_away(self, reason: str) -> None:
        super().went_away(reason)
        UP.labels(self.part).set(0)
        RESTARTS.labels(self.part).inc()


class Queue(Protocol):
    """What is looked at of `tracker.publisher.Publisher`."""

    @property
    def waiting(self) -> int: ...


class Followers(Protocol):
    """What is looked at of `shared.feed.Feed`."""

    skipped: int

    def behind(self) -> list[int]: ...


class Damage(Protocol):
    """What is looked at of `shared.log.EventLog`."""

    damaged: int


class Rate(Protocol):
    """What is looked at of `tracker.rates.Rates`."""

    @property
    def sampled(self) -> int: ...


async def run(
    queue: Queue,
    feed: Followers,
    event_log: Damage,
    rates: Rate,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Service: look at what has a state."""
    task_status.started()
    skipped = 0
    while True:
        QUEUE.set(queue.waiting)
        RATE.set(rates.sampled)
        behind = feed.behind()
        LAGGING.set(len(behind))
        BEHIND.set(max(behind, default=0))
        SKIPPED.inc(feed.skipped + event_log.damaged - skipped)
        skipped = feed.skipped + event_log.damaged
        await trio.sleep(LOOK_EVERY)


def exposed(accept: str) -> tuple[bytes, str]:
    """Return the metrics of all workers, and their content type, in the format that fits the header Accept best."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = exposition.choose_encoder(accept)
    return encode(registry), content_type
