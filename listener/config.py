"""The listener's settings: one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

import click

from shared.embedded import default_data_dir, redis_url
from shared.options import setting

SUPPORTED = "redis://host:6379, rediss://host:6379 (TLS) or unix:///path/of/socket"
_TLS = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
_QUERY = {"db", "username", "password", *_TLS}


def checked_url(url: str) -> str:
    """Return the URL of a Redis as it is. Raises BadParameter, which does not show it: it may hold a password."""
    if wrong := _what_is_wrong(url):
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


def _what_is_wrong(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        return "The address is no host with a port from 1 to 65535 (or the password needs percent-encoding)."
    if parts.scheme in ("ws", "wss"):
        return "A tracker's WebSocket (ws://, wss://) is not supported yet."
    if parts.scheme not in ("redis", "rediss", "unix") or "://" not in url:
        scheme = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", url, re.IGNORECASE)
        return f"{scheme[0]}:// is not supported." if scheme else "This is no URL."
    return _what_is_wrong_inside(parts)


def _what_is_wrong_inside(parts: SplitResult) -> str | None:
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        return "A password's characters /, ?, # and @ have to be percent-encoded."
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/"):
            return "A socket's path begins with a slash, so there are three of them."
        if parts.path.endswith("/"):
            return "There is no socket's path."
    elif not re.fullmatch(r"(/[0-9]{0,6})?", parts.path, re.ASCII):
        return "After the host comes nothing but the number of a database."
    for item in filter(None, parts.query.split("&")):
        key, _, value = item.partition("=")
        if key not in _QUERY or (key in _TLS and parts.scheme != "rediss"):
            return f"After the ? may come only {', '.join(sorted(_QUERY))}; those with ssl only for rediss."
        if key == "db" and not re.fullmatch(r"[0-9]{1,6}", value):
            return "db is no number."
    return None
