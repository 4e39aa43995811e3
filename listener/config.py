"""The settings that every command of the listener takes: where events come from, and whom to ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click

from listener import websocket_url
from shared.embedded import default_data_dir, redis_url, tracker_url
from shared.errors import Misconfigured
from shared.options import setting
from shared.redis_url import SUPPORTED as REDIS
from shared.redis_url import what_is_wrong

SUPPORTED = f"{REDIS}, or a tracker: {websocket_url.SUPPORTED}"


def checked_url(url: str) -> str:
    """Return the URL of a source as it is. Raises BadParameter, which does not show it: it may hold a password."""
    wrong = websocket_url.what_is_wrong(url) if websocket_url.is_one(url) else what_is_wrong(url)
    if wrong:
        raise click.BadParameter(f"{wrong} Expected {SUPPORTED}.")
    return url


def checked_tracker(url: str) -> str:
    """Return the URL of a tracker without a slash at its end. Raises BadParameter."""
    wrong = "It begins with neither http:// nor https://."
    if url[:8].lower().startswith(("http://", "https://")):
        wrong = websocket_url.what_is_wrong(url) or ""
    if wrong:
        raise click.BadParameter(f"{wrong} Expected a tracker's address: http://host:8080 or https://host.")
    return url.rstrip("/")


_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_in(text: str) -> float | None:
    """Return the seconds that a length of time such as 30, 1.5s, 500ms or 2h30m has; None if it is none."""
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        return float(text)
    if re.fullmatch(r"(\d{1,9}(\.\d{1,9})?(ms|[smhd]))+", text, re.ASCII):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhd])", text))
    return None


class Seconds(click.ParamType[float]):
    """A length of time: 30, 1.5s, 500ms, 10m, 2h30m, 7d. Gives seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = seconds_in(str(value))  # in a file it may be a number
        if seconds is None:
            self.fail(f"{value!r} is no length of time. Expected one such as 30s, 500ms, 10m or 2h30m.", param, ctx)
        return seconds


DURATION = Seconds()


@dataclass(frozen=True)
class Config:
    """What every command of `listener` takes. Each field is an option, a variable LISTENER_<NAME>, and a key of the
    TOML file."""

    source: str | None = setting(
        None,
        f"Where events come from: {SUPPORTED}. Without it: the tracker's own Redis in the data directory.",
        name="from",
        metavar="URL",
        type=checked_url,
        variables=("REDIS_URL",),
    )
    tracker: str | None = setting(
        None,
        "The tracker to send to and to ask: http://host:8080 or https://host. Without it: the one of --from, if that "
        "is a tracker, or the one that runs in the data directory.",
        metavar="URL",
        type=checked_tracker,
    )
    data_dir: Path = setting(
        default_data_dir(),
        "Where the tracker keeps its own Redis.",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
    )
    token_file: Path | None = setting(
        None,
        "A file with the token that a tracker, or what stands in front of it, asks for (Authorization: Bearer).",
        metavar="FILE",
        type=click.Path(path_type=Path),
    )
    token: str | None = setting(None, "The token itself. As a variable only.", metavar="TOKEN", type=str, secret=True)
    give_up: float | None = setting(
        None,
        "End with status 3 when the server is away for longer than this: 30s, 10m. Without it, `events`, the prompt "
        "and `top` wait for ever, the others 30s.",
        metavar="DURATION",
        type=DURATION,
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

    @property
    def known_tracker(self) -> str | None:
        """The tracker's URL, as it was given, follows from the source's, or stands in the data directory. None if none
        of that is so: then it may be anywhere."""
        if self.tracker is not None:
            return self.tracker
        if self.is_websocket:
            return websocket_url.of_tracker(self.url)
        return tracker_url(self.data_dir) if self.source is None else None

    @property
    def tracker_url(self) -> str:
        """The tracker's URL, or where one is that was started with its own settings."""
        return self.known_tracker or "http://127.0.0.1:8080"

    def read_token(self) -> str | None:
        """Return the token, if there is one. Raises Misconfigured."""
        token = self.token
        if self.token_file is not None:
            try:
                token = self.token_file.read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text"
                raise Misconfigured(f"--token-file {self.token_file} can't be read: {why}.") from error
        if token is not None and not re.fullmatch(r"[\x21-\x7e]{1,8192}", token):
            where = "LISTENER_TOKEN" if self.token_file is None else f"--token-file {self.token_file}"
            raise Misconfigured(f"{where} holds no token. Expected visible characters of ASCII, on one line.")
        return token
