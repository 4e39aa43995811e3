"""The forms in which events are written: `--format text|json|pretty|csv`, or a template."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import msgspec

from listener import moments
from listener.decoded import Decoded
from listener.output import NoEvent, cut_to, escape, escape_json
from listener.settings import Showing
from listener.template import EXPECTED, Template
from listener.terminal import STDOUT, columns, is_terminal, use_color
from shared.errors import Misconfigured, Refused

Format = Callable[[Decoded, bytes], str | bytes]
"""From an event, and its bytes as they came, to a line, or several. Raises NoEvent if these are no text."""

NAMES = ("text", "json", "pretty", "csv")
COLUMNS = ("ID", "Timestamp", "Data", "Host", "Position", "Seq")

_COLORS = (33, 37, 64, 72, 98, 105, 125, 130, 136, 160, 166, 168, 172, 202)
"""Of the 256 of terminals, some that are told apart, and read on black and on white."""
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True)
class Look:
    """How events look. `safe`: nothing in them may drive a terminal. `width`: cut each to so many cells."""

    kind: str = "text"
    """One of NAMES, or a template."""
    timestamps: moments.Kind = "utc"
    color: bool = False
    safe: bool = True
    width: Callable[[], int] | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def look_of(showing: Showing) -> Look:
    """How events look at our standard output."""
    terminal = is_terminal(STDOUT)
    return Look(
        showing.format,
        showing.timestamps,
        color=use_color(showing.color, STDOUT),
        safe=terminal,
        width=partial(columns, STDOUT) if terminal and showing.cut else None,
    )


def make(look: Look) -> Format:
    """Return the form for this look. Raises Misconfigured if its template is none."""
    match look.kind:
        case "text":
            return _text(look)
        case "json":
            return lambda event, line: json_line(line, safe=look.safe)
        case "pretty":
            return _pretty(look)
        case "csv":
            return _csv(look)
        case template:
            return _template(look, template)


def csv_head() -> str:
    """The first line of CSV."""
    return ",".join(COLUMNS)


def json_line(message: bytes, *, safe: bool) -> bytes:
    """Return an event's bytes as they came: one line of JSON. If `safe`, what drives a terminal is JSON-escaped.

    Raises NoEvent.
    """
    try:
        if b"\n" in message or b"\r" in message:
            message = msgspec.json.format(message, indent=-1)
        text = message.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NoEvent(escape(str(error))) from error
    return escape_json(text).encode() if safe else message


def color_of(account: int) -> str:
    """The code that begins the colour of an account, the same each time."""
    return f"\x1b[38;5;{_COLORS[account * 2654435761 % 2**32 % len(_COLORS)]}m"


def _text(look: Look) -> Format:
    """`<2021-02-06 17:35:30:123>: [1]: "test data" [290ad619a440]`, as the Go cli has it."""
    time = moments.of_the_go_cli(look.timestamps, look.now)

    def form(event: Decoded, line: bytes) -> str:
        text = event.data_text
        if event.is_text and not (len(text) >= 2 and text[0] == text[-1] == '"'):
            text = f'"{text}"'
        head, data, host = f"<{time(event.moment)}>: [{event.id}]:", escape(text), f"[{escape(event.host)}]"
        if look.width is not None:
            data = cut_to(data, look.width() - len(head) - len(host) - 2)
        if look.color:
            head, host = f"{color_of(event.id)}{head}{_RESET}", f"{_DIM}{host}{_RESET}"
        return f"{head} {data} {host}"

    return form


def _pretty(look: Look) -> Format:
    """A head, and below it the data: JSON over several lines, text with its own."""
    time = moments.of_the_go_cli(look.timestamps, look.now)

    def form(event: Decoded, line: bytes) -> str:
        head = f"account {event.id}  {time(event.moment)}  event {event.seq}  {escape(event.host)}"
        text = event.data_text if event.is_text else msgspec.json.format(bytes(event.data), indent=2).decode()
        lines = [f"  {escape(line)}" for line in text.replace("\r\n", "\n").split("\n")]
        if look.width is not None:
            lines = [cut_to(line, look.width()) for line in lines]
        if look.color:
            head = f"{color_of(event.id)}{head}{_RESET}"
        return "\n".join([head, *lines])

    return form


def _csv(look: Look) -> Format:
    time = moments.as_written(look.timestamps, look.now)

    def form(event: Decoded, line: bytes) -> str:
        row = io.StringIO()
        data = escape(event.data_text) if look.safe else event.data_text
        host = escape(event.host) if look.safe else event.host
        when = escape(time(event.timestamp, event.moment))
        csv.writer(row, lineterminator="").writerow([event.id, when, data, host, event.position, event.seq])
        return row.getvalue()

    return form


def _template(look: Look, text: str) -> Format:
    try:
        template = Template(text, escapes=True)
    except Refused as error:
        raise Misconfigured(f"--format {escape(text[:40])!r}: {error}") from error
    if not template.has_placeholders:
        raise Misconfigured(
            f"--format {escape(text[:40])!r} is none: expected {', '.join(NAMES)}, or a template. {EXPECTED}"
        )
    time = moments.as_written(look.timestamps, look.now)

    def form(event: Decoded, line: bytes) -> str:
        if look.timestamps != "utc":
            event = msgspec.structs.replace(event, timestamp=time(event.timestamp, event.moment))
        # Escaped even for a program: an event is a line, or as many as the template has, whatever its data hold.
        shown = template.render(event, escape)
        if look.width is not None:
            width = look.width()
            shown = "\n".join(cut_to(line, width) for line in shown.split("\n"))
        return f"{color_of(event.id)}{shown}{_RESET}" if look.color else shown

    return form
