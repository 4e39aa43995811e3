"""The listener's settings: one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from shared.embedded import default_data_dir, redis_url
from shared.options import setting
from shared.redis_url import SUPPORTED, what_is_wrong


def checked_url(url: str) -> str:
    """Return the URL of a Redis as it is. Raises BadParameter, which does not show it: it may hold a password."""
    if wrong := what_is_wrong(url):
        raise click.BadParameter(f"{wrong} Expected {SUPPORTED}.")
    return url


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

    @property
    def url(self) -> str:
        """The URL of the Redis to listen to."""
        return self.source or redis_url(self.data_dir)

    @property
    def address(self) -> str:
        """That Redis as a person may see it: host:port, or the path of its socket."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return unquote(parts.path)
        host = unquote(parts.hostname or "localhost")
        return f"[{host}]:{parts.port or 6379}" if ":" in host else f"{host}:{parts.port or 6379}"
