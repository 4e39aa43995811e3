"""`python -m tests.faults`: break one thing after the other under load, and print what became of every event."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click
import trio

from tests.faults import report
from tests.faults.faults import FAULTS, Fault
from tests.faults.harness import SHORT, Form, Row, run

_WIDEST = [max(len(fault.title) for fault in FAULTS), *map(len, report.COLUMNS[1:])]


@click.command("faults")
@click.option("--seconds", type=click.FloatRange(1), default=20, show_default=True, help="Load for each fault.")
@click.option("--only", type=click.Choice([fault.name for fault in FAULTS]), multiple=True, help="Only this fault.")
@click.option("--short", is_flag=True, help="Short faults with little load, as the tests have them.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Of each tracker.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Where to write faults.md and .json.")
def main(seconds: float, only: tuple[str, ...], short: bool, workers: int, output: Path | None) -> None:
    """Break PostgreSQL, Redis, trackers, nginx, the network and followers, one at a time, under load."""
    faults = [fault for fault in FAULTS if not only or fault.name in only]
    rows = trio.run(
        _run_all, faults, replace(SHORT, workers=workers) if short else Form(seconds, long=True, workers=workers)
    )
    if output:
        report.write(rows, shlex.join(["python", "-m", "tests.faults", *sys.argv[1:]]), output)
    sys.exit(0 if all(row.verdict.clean for row in rows) else 1)


async def _run_all(faults: list[Fault], form: Form) -> list[Row]:
    rows = []
    _print(report.COLUMNS)
    for fault in faults:
        row = await run(fault, form)
        _print(report.cells(row))
        for line in report.details(row):
            click.echo(f"    {line}")
        rows.append(row)
    for note in report.notes(rows):
        click.echo(f"\n{note}")
    return rows


def _print(cells: list[str] | tuple[str, ...]) -> None:
    """A line of the table, as soon as it is known."""
    first, *rest = cells
    padded = [cell.rjust(width) for cell, width in zip(rest, _WIDEST[1:], strict=True)]
    click.echo("  ".join([first.ljust(_WIDEST[0]), *padded]))


if __name__ == "__main__":
    main()
