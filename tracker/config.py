"""The tracker's settings: one table."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from shared.embedded import default_data_dir
from shared.errors import Misconfigured
from shared.events import MAX_DATA
from shared.options import setting
from shared.redis_url import SUPPORTED, what_is_wrong
from tracker.http.limits import MAX_CONNECTIONS
from tracker.http.origin import Origins


@dataclass(frozen=True)
class Config:
    """What `tracker serve` runs with. Each field is an option, a variable TRACKER_<FIELD> and a key of the file."""

    bind: str = setting(
        "127.0.0.1:8080", "Where to listen; port 0 takes a free one, [::1]:8080 is IPv6.", metavar="HOST:PORT"
    )
    cert: Path | None = setting(
        None,
        "The certificate for HTTPS and its chain, PEM, the server's own first. Read again when it changes.",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
    )
    key: Path | None = setting(
        None,
        "The certificate's private key, PEM, not encrypted. Without it the key is looked for in --cert.",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
    )
    database: str | None = setting(
        None,
        "PostgreSQL, as postgresql://user:password@host/name. Without it the tracker runs its own.",
        metavar="URL",
        variables=("DATABASE_URL",),
    )
    redis: str | None = setting(
        None,
        "Redis, as redis://host:6379, rediss://… (TLS) or unix:///path. Without it the tracker runs its own.",
        metavar="URL",
        variables=("REDIS_URL",),
    )
    data_dir: Path = setting(
        default_data_dir(),
        "Where the tracker's own PostgreSQL and Redis keep their data.",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
    )
    host: str = setting(
        socket.gethostname(), "The host name that this tracker's events carry.", metavar="NAME", type=str
    )
    max_data: int = setting(
        MAX_DATA, "The most bytes of data in an event, as JSON.", metavar="BYTES", type=click.IntRange(1, 16 << 20)
    )
    keep_events: int = setting(
        1000, "How many events the log keeps for each account.", metavar="N", type=click.IntRange(1)
    )
    keep_seconds: int = setting(
        7 * 86400, "How long the log keeps them after an account's last event.", metavar="S", type=click.IntRange(1)
    )
    go_channel: bool = setting(True, "Publish on the channel `events` too, in the format of the Go system.")
    queue_size: int = setting(
        10_000, "How many events may wait for the log; beyond that: 503.", metavar="N", type=click.IntRange(1)
    )
    cache_size: int = setting(
        10_000_000,
        "How many accounts are remembered between requests, by neighbours of 1024; each takes a byte.",
        metavar="N",
        type=click.IntRange(1),
    )
    keep_index: int = setting(
        1_000_000,
        "How many events of all accounts together are remembered in their order, for followers of all accounts.",
        metavar="N",
        type=click.IntRange(1),
    )
    allow_origin: str = setting(
        "",
        "Whose pages may follow events from browsers, beside those of this host: https://app.example,… or *.",
        metavar="ORIGINS",
        type=str,
    )
    max_connections: int = setting(
        MAX_CONNECTIONS,
        "How many connections may be open at once, in all workers together; more wait until one ends.",
        metavar="N",
        type=click.IntRange(1),
    )
    max_followers: int = setting(
        10_000, "How many may follow events at once; beyond that: 503.", metavar="N", type=click.IntRange(1)
    )
    follower_bytes: int = setting(
        1 << 20,
        "How many bytes of events may wait for one follower, before it has to catch up from the log.",
        metavar="BYTES",
        type=click.IntRange(64 << 10),
    )
    workers: int = setting(
        1,
        "How many processes serve. One core each, at most, is what they can use.",
        metavar="N",
        type=click.IntRange(1, 256),
    )
    log_level: str = setting(
        "info",
        "What to log, from this level up. Requests are logged at debug.",
        type=click.Choice(["debug", "info", "warning", "error"]),
    )

    def __post_init__(self) -> None:
        """Raises Misconfigured."""
        if self.database is not None and urlsplit(self.database).scheme not in ("postgresql", "postgres"):
            raise Misconfigured("The URL of --database can't be used. Expected postgresql://user:password@host/name.")
        if self.redis is not None and (wrong := what_is_wrong(self.redis)):
            raise Misconfigured(f"The URL of --redis can't be used. {wrong} Expected {SUPPORTED}.")
        if self.key is not None and self.cert is None:
            raise Misconfigured(f"There is a --key {self.key} without a certificate. Name its file by --cert FILE.")
        Origins(self.allow_origin)
        _ = self.address

    @property
    def address(self) -> tuple[str | None, int]:
        """Host and port to listen on; no host means all of this machine's addresses. Raises Misconfigured."""
        try:
            parts = urlsplit(f"//{self.bind}")
            host, port = parts.hostname, parts.port
        except ValueError:
            port = None
        if port is None or parts.netloc != self.bind or parts.username is not None:
            raise Misconfigured(
                f"--bind {self.bind} is no address: expected HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080."
            )
        return host, port
