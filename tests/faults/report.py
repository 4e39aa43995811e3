"""Rows as people, GitHub and programs read them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.harness import Row

COLUMNS = ("fault", "accepted", "lost", "doubled", "out of order", "refused", "unknown", "seconds to recover")
NOTE = (
    "Accepted: events answered with 202. Lost: of those, not in the log, and events of the log that a follower was "
    "neither shown nor told to be gone. Refused: answers 503, and no connection. Unknown: answers 504, and connections "
    "lost. Recovered: an event that was sent after the repair is accepted, and was shown to every follower."
)
SHOWN = 12
"""How many lines of details of a kind are shown."""


def cells(row: Row) -> list[str]:
    verdict = row.verdict
    seconds = "never" if row.seconds is None else f"{row.seconds:.1f}"
    counts = (row.accepted, len(verdict.lost), len(verdict.doubled), len(verdict.disordered), row.refused, row.unknown)
    return [row.fault.title, *map(str, counts), seconds]


def details(row: Row) -> Iterator[str]:
    """What is wrong with a row, which event, which follower; nothing if it is clean."""
    kinds = {
        "lost": row.verdict.lost,
        "doubled": row.verdict.doubled,
        "out of order": row.verdict.disordered,
        "wrong": row.verdict.otherwise,
    }
    for kind, lines in kinds.items():
        yield from (f"{row.fault.name}: {kind}: {line}" for line in lines[:SHOWN])
        if len(lines) > SHOWN:
            yield f"{row.fault.name}: {kind}: {len(lines) - SHOWN} more"


def markdown(rows: Sequence[Row], command: str) -> str:
    table = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(cells(row) for row in rows)]
    lines = ["| " + " | ".join(line) + " |" for line in table]
    return "\n\n".join(["\n".join(lines), *notes(rows), f"Made by `{command}` on {_machine()}."]) + "\n"


def as_json(rows: Sequence[Row], command: str) -> dict[str, Any]:
    return {"command": command, "machine": _machine(), "faults": [_row_as_json(row) for row in rows]}


def write(rows: Sequence[Row], command: str, directory: Path) -> None:
    """Write `faults.md` and `faults.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "faults.md").write_text(markdown(rows, command))
    (directory / "faults.json").write_text(json.dumps(as_json(rows, command), indent=1) + "\n")


def _row_as_json(row: Row) -> dict[str, Any]:
    named = dict(zip(COLUMNS[1:-1], map(int, cells(row)[1:-1]), strict=True))
    return {
        "name": row.fault.name,
        "title": row.fault.title,
        **named,
        "seconds to recover": row.seconds,
        "clean": row.verdict.clean,
        "repeated": row.verdict.repeated,
        "answers": row.answers,
        "connections": row.connections,
        "details": list(details(row)),
    }


def notes(rows: Sequence[Row]) -> list[str]:
    """What the columns mean, and what is not in them."""
    return [NOTE, *(_repeated(row) for row in rows if row.verdict.repeated)]


def _repeated(row: Row) -> str:
    return (
        f"{row.fault.title}: it wrote {row.verdict.repeated} events again, of the last 0.2 s before it was killed, as "
        "documented; they do not count as doubled."
    )


def _machine() -> str:
    return f"{platform.system()} with {os.cpu_count()} cores, Python {platform.python_version()}"
