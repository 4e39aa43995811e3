"""The listener's settings: one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from listener import websocket_url
from shared.embedded import default_data_dir, redis_url
from shared.options import setting
from shared.redis_url import SUPPORTED as REDIS
from shared.redis_url import what_is_wrong

SUPPORTED = f"{REDIS}, or a tracker: {websocket_url.SUPPORTED}"

EVENTS_ALONE = frozenset({"since", "state", "serve", "allow_origin"})
"""What concerns `listener events`, and not the prompt."""


def checked_url(url: str) -> str:
    """Return the URL of a source as it is. Raises BadParameter, which does not show it: it may hold a password."""
    wrong = websocket_url.what_is_wrong(url) if websocket_url.is_one(url) else what_is_wrong(url)
    if wrong:
        raise click.BadParameter(f"{wrong} Expected {SUPPORTED}.")
    return url


def checked_since(text: str) -> str:
    """Return the text of a place to begin. What it means is for the source to say. Raises BadParameter."""
    if not text or len(text) > 200 or not text.isascii() or not text.isprintable():
        raise click.BadParameter(
            "Expected a Position, a duration such as 10m, a time such as 2026-11-23T17:35:30Z, or all."
        )
    return text


def checked_address(text: str) -> str:
    """Return HOST:PORT as it is. Raises BadParameter."""
    try:
        parts = urlsplit(f"//{text}")
        if parts.port is not None and parts.netloc == text and parts.username is None:
            return text
    except ValueError:
        pass
    raise click.BadParameter(f"{text} is no address. Expected HOST:PORT, such as 127.0.0.1:9000, [::1]:9000 or :9000.")


@dataclass(frozen=True)
class Config:
    """What `listener` runs with. Each field is an option, a variable LISTENER_<NAME>, and a key of the TOML file."""

    source: str | None = setting(
        None,
        f"Where events come from: {SUPPORTED}. Without it: the tracker's own Redis in the data directory.",
        name="from",
        metavar="URL",
        type=checked_url,
        variables=("REDIS_URL",),
    )
    data_dir: Path = setting(
        default_data_dir(),
        "Where the tracker keeps its own Redis.",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
    )
    since: str | None = setting(
        None,
        "Where to begin: a Position, a duration (10m), a time (RFC 3339), or all. Without it: from now on.",
        metavar="WHEN",
        type=checked_since,
    )
    state: Path | None = setting(
        None,
        "Keep in this file what was written last, and go on from there at the next start: it beats --since.",
        metavar="FILE",
        type=click.Path(path_type=Path),
    )
    serve: str | None = setting(
        None,
        "Relay the events over WebSocket to whoever connects here; port 0 takes a free one.",
        metavar="HOST:PORT",
        type=checked_address,
    )
    allow_origin: str = setting(
        "",
        "Whose pages may use the relay beside its own: origins (https://host) with commas between them, or * for all.",
        metavar="ORIGINS",
        type=str,
    )

    @property
    def url(self) -> str:
        """The URL of the source to listen to."""
        return self.source or redis_url(self.data_dir)

    @property
    def is_websocket(self) -> bool:
        """Whether the source is a tracker's (or a relay's) WebSocket, not a Redis."""
        return websocket_url.is_one(self.url)

    @property
    def address(self) -> str:
        """The source as a person may see it: Redis@ or Tracker@, and host:port or the path of a socket."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return f"Redis@{unquote(parts.path)}"
        host = unquote(parts.hostname or "localhost")
        port = parts.port or {"ws": 80, "wss": 443}.get(parts.scheme, 6379)
        kind = "Tracker" if self.is_websocket else "Redis"
        return f"{kind}@[{host}]:{port}" if ":" in host else f"{kind}@{host}:{port}"

    def of_the_prompt(self) -> Config:
        """The same without what concerns `listener events` alone."""
        return replace(self, since=None, state=None, serve=None)
