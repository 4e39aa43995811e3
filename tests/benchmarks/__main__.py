"""`python -m tests.benchmarks`: measure the tracker, and beside it, in turn, what it is to be compared with."""

from __future__ import annotations

import resource
import shlex
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import click
import trio

from shared.errors import first_leaf
from tests.benchmarks import report
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.samples import QUICK, Form, Samples
from tests.benchmarks.servers import open_stage
from tests.benchmarks.targets import reached_all

OUTPUT = report.ROOT / "build" / "benchmarks"
_FORM = Form(rounds=5, seconds=3)


@click.command("benchmarks")
@click.option("--rounds", type=click.IntRange(1), default=_FORM.rounds, show_default=True, help="How often each side.")
@click.option("--seconds", type=click.IntRange(1), default=_FORM.seconds, show_default=True, help="Of load, each time.")
@click.option("--only", type=click.Choice(list(MEASURES)), multiple=True, help="Only this measure.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a target is missed, or was not measured.")
@click.option("--quick", is_flag=True, help="As little as possible, to see that it runs: the figures mean nothing.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=OUTPUT,
    show_default=True,
    help="Where to write benchmark.md, benchmark.json and put.png.",
)
def main(rounds: int, seconds: int, only: tuple[str, ...], strict: bool, quick: bool, output: Path) -> None:
    """Measure the tracker against a plain one and a bare responder, and say which targets are reached.

    Takes a quarter of an hour. Exits with 1 if a measure failed: with answers that should not have been, or events
    that are not in the log.
    """
    if shutil.which("wrk") is None:
        raise click.ClickException("There is no wrk on PATH. Install it: apt-get install wrk.")
    _allow_many_files()
    form = QUICK if quick else replace(_FORM, rounds=rounds, seconds=seconds)
    circumstances = report.describe(form, shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]))
    samples = Samples()
    try:
        failed = trio.run(_measure, only or tuple(MEASURES), form, samples)
    finally:
        click.echo(report.write(samples, circumstances, output))
    sys.exit(1 if failed or (strict and not reached_all(samples)) else 0)


async def _measure(names: tuple[str, ...], form: Form, samples: Samples) -> bool:
    """Whether one failed; the others are measured nevertheless."""
    failed = False
    async with open_stage() as stage:
        for name in names:
            click.echo(name, err=True)
            await stage.clear()
            try:
                await MEASURES[name](stage, form, samples)
            except Exception as error:
                failed = True
                traceback.print_exception(error)
                samples.note(name, f"Failed: {first_leaf(error)!r}")
    return failed


def _allow_many_files() -> None:
    """For everything that is started from here: a connection is a file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
