"""`listener verify`: recorded events held against the log."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import click

from listener.choosing import AccountsArgument
from listener.commands import run, takes, until_signal
from listener.config import Config
from listener.websocket_url import to_tracker


@click.command("verify")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.option(
    "--account",
    "accounts",
    metavar="ACCOUNT",
    multiple=True,
    type=AccountsArgument(),
    help="Verify these accounts alone: 7, 1-20, or all. If one is not recorded at all, what the log has of it from the "
    "time of the recording is missing. Without this: those that are recorded.",
)
@click.option("--to-end", is_flag=True, help="What the log has after the last recorded event is missing, too.")
@click.option("--strict", is_flag=True, help="What is missing is a fault even if the recording itself says so.")
@click.option("--all", "every", is_flag=True, help="List all faults, not just the first 50 of a kind.")
@click.option("--json", is_flag=True, help="Write the result as one JSON object.")
@takes()
def command(
    config: Config,
    files: tuple[str, ...],
    accounts: tuple[frozenset[int] | None, ...],
    to_end: bool,
    strict: bool,
    every: bool,
    json: bool,
) -> None:
    """Hold recorded events against the log, and say which are missing, doubled, reordered, altered or foreign.

    A recording is what `listener events ... --json` wrote, or a tracker's stream of application/x-ndjson: an event a
    line. Several files are one recording, in the order given; - is standard input. It should have all that the log has
    of its accounts, from its first event on to its last, each once, in order, and as the log has it.

    The log is that of --from or, without it, of --tracker. What it has no longer is still checked for holes, as an
    account's Seqs have none.

    \b
    Faults, a line each:
      account 7: missing 12 to 19 (8 events)   the log has, or had, these Seqs
      account 7: doubled 42 (1 more, line 60)  after a restart, a listener may repeat some
      account 3: reordered 17 after 19 (...)   it came after an event of a higher Seq
      account 3: altered 20                    the log has something else there
      account 9: foreign 7 to 9 (3 events)     the log never had them
      line 99: no event (...)                  it can't be read
      account 7: told missing 1 to 5 (...)     a gap, as the recording says: no fault

    \b
    Exit codes: 0 the recording is whole, or has no event; 1 there are faults, or it was interrupted; 2 usage, or a file
    can't be read; 3 the log can't be reached; 4 refused.

    \b
    Examples:
      listener events all --json --state place >> day.ndjson
      listener verify day.ndjson
      zcat old.ndjson.gz | listener verify - new.ndjson --account all --to-end
      listener verify day.ndjson --from wss://tracker.example --json | jq .Missing
    """
    from listener.status import Status, Stop

    chosen = None if None in accounts else frozenset[int]().union(*filter(None, accounts))
    if config.source is None and config.tracker is not None:
        config = replace(config, source=to_tracker(config.tracker))
    finished = False

    async def verify() -> None:
        from listener.recording import Recording
        from listener.terminal import STDERR, STDOUT, OutputClosed, write
        from listener.verdict import Verdict
        from listener.verifying import compare, read

        nonlocal finished
        recording = Recording(chosen if accounts else None)
        await read(recording, files)
        newest = recording.newest_log
        comparison = await compare(
            config, recording, chosen if accounts or newest is None else frozenset(newest.records), to_end=to_end
        )
        verdict = Verdict(recording, comparison, files=len(files), strict=strict)
        await write(verdict.notes(), to=STDERR)
        with suppress(OutputClosed):  # the exit code tells, even if nobody reads the rest
            await write([verdict.json(every=every)] if json else verdict.lines(every=every), to=STDOUT)
        finished = True
        if not verdict.whole:
            raise Stop(Status.FAULT)

    async def verify_to_the_end() -> None:
        await until_signal(verify)
        if not finished:
            raise Stop(Status.FAULT, "Interrupted: the recording is not verified.")

    run(verify_to_the_end)
