"""The settings that some commands take beside `Config`, in a table for each purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click
import platformdirs

from listener.config import DURATION
from shared.options import setting


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


def default_history() -> Path:
    """Where the prompt keeps what was typed unless told otherwise."""
    return Path(platformdirs.user_state_dir("trio-tracker")) / "history"


def history_file(text: object) -> Path | None:
    """Return the path, or None where there is none."""
    return Path(str(text)) if str(text) else None


@dataclass(frozen=True)
class Prompting:
    """What the prompt takes."""

    history: Path | None = setting(
        default_history(),
        "Where the prompt keeps what was typed, for the next time. Empty: nowhere.",
        metavar="FILE",
        type=history_file,
        emptiable=True,
    )


@dataclass(frozen=True)
class Following:
    """From where to where `listener events` follows, and what it keeps and relays."""

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
