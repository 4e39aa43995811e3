"""The listener's settings: one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import click
import platformdirs

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


def default_history() -> Path:
    """Where the prompt keeps what was typed unless told otherwise."""
    return Path(platformdirs.user_state_dir("trio-tracker")) / "history"


def history_file(text: object) -> Path | None:
    """Return the path, or None where there is none."""
    return Path(str(text)) if str(text) else None


@dataclass(frozen=True)
class Prompting:
    """What the prompt takes beside that."""

    history: Path | None = setting(
        default_history(),
        "Where the prompt keeps what was typed, for the next time. Empty: nowhere.",
        metavar="FILE",
        type=history_file,
        emptiable=True,
    )


@dataclass(frozen=True)
class Following:
    """What `listener events` takes beside that."""

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


@dataclass(frozen=True)
class Choosing:
    """Which events of these accounts `listener events` writes. All of these must hold."""

    match: str | None = setting(None, "Only events with this text in their data.", metavar="TEXT", type=str)
    regex: str | None = setting(
        None, "Only events in whose data this regular expression is found (RE2's syntax).", metavar="RE", type=str
    )
    where: str | None = setting(
        None,
        "Only events for which this is true: an expression of CEL (https://cel.dev) over ID, Timestamp, Data, Host, "
        "Position and Seq, such as 'Data.amount > 100'.",
        metavar="EXPR",
        type=str,
    )
    host: str | None = setting(None, "Only events that the tracker of this host accepted.", metavar="NAME", type=str)


@dataclass(frozen=True)
class Showing:
    """How `listener events` writes them."""

    format: str = setting(
        "text",
        "text, json, pretty, csv, or a template such as '{Timestamp} {ID} {Data.amount}'; \\t and \\n are tab and end "
        "of line.",
        metavar="FORMAT",
        type=str,
    )
    timestamps: Literal["utc", "local", "relative"] = setting(
        "utc",
        "How times are shown: utc, local, or relative (3s ago). JSON always has them as they are.",
        type=click.Choice(["utc", "local", "relative"]),
    )
    color: Literal["auto", "always", "never"] = setting(
        "auto",
        "Colour events by account: on a terminal, unless NO_COLOR is set, or always, or never.",
        type=click.Choice(["auto", "always", "never"]),
    )
    cut: bool = setting(False, "On a terminal, cut each event to what fits into a row.")
    status: bool = setting(
        True, "Keep a line with connection, rate, events behind and gaps at the bottom of a terminal."
    )
    quiet: bool = setting(False, "Write no events: with --exec, --expect, --count.")


@dataclass(frozen=True)
class Ending:
    """When `listener events` is done."""

    count: int | None = setting(None, "End with status 0 after so many events.", metavar="N", type=click.IntRange(1))
    expect: str | None = setting(
        None,
        "End with status 0 at the first event for which this is true: an expression as for --where.",
        metavar="EXPR",
        type=str,
    )
    until: str | None = setting(
        None,
        "End with status 0 when all up to here was written: now (what the log has), a Position, a time, a duration ago "
        "(10m), or one from now (+30s).",
        metavar="WHEN",
        type=str,
    )
    timeout: float | None = setting(None, "End with status 5 after this time.", metavar="DURATION", type=DURATION)
    strict: bool = setting(False, "End with status 6 when events are gone.")
    ready_fd: int | None = setting(
        None,
        "Once it really follows, write a line to this file descriptor (3 or more), and close it.",
        metavar="N",
        type=click.IntRange(3),
    )
    on_ready: str | None = setting(
        None,
        "Once it really follows, run this. If it fails, the listener ends with status 1.",
        metavar="COMMAND",
        type=str,
    )


@dataclass(frozen=True)
class Acting:
    """What `listener events` runs for each event."""

    exec: str | None = setting(
        None,
        "Run this for each event, at least once: a program and its words, in which {ID}, {Timestamp}, {Data}, "
        "{Data.amount}, {Host}, {Position} and {Seq} are filled in. It gets the event's JSON on standard input, "
        "EVENT_ID, EVENT_DATA and so on as variables, and in EVENT_ATTEMPT which try it is; what it writes goes to "
        "standard error. The bookmark of --state moves on after exit code 0.",
        metavar="COMMAND",
        type=str,
    )
    shell: bool = setting(
        False,
        'Give the commands to /bin/sh. Nothing is filled in then: write "$EVENT_DATA" where {Data} would stand.',
    )
    exec_timeout: float = setting(
        60.0,
        "End a command that runs for longer than this, with all it has started; that is a failure.",
        metavar="DURATION",
        type=DURATION,
    )
    retries: int = setting(
        3,
        "How often a command that failed is run again for its event, after 0.5 s at first and 30 s at most.",
        metavar="N",
        type=click.IntRange(0),
    )
    concurrency: int = setting(
        1,
        "How many events may have their commands run at once. Those of an account come one after the other, in order; "
        "with 1, all do.",
        metavar="N",
        type=click.IntRange(1, 1000),
    )
    dead_letter: Path | None = setting(
        None,
        "Append the events whose command failed every time to this file, as JSON that `listener send --bulk` takes, "
        "and go on. Without it, the first one ends the listener with status 1.",
        metavar="FILE",
        type=click.Path(path_type=Path),
    )
