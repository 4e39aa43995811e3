"""`listener events`: the events of some accounts, as they come."""

from __future__ import annotations

from dataclasses import replace

import click
import trio
from click.core import ParameterSource

from listener.choosing import EXPECTED, AccountsArgument
from listener.commands import run, takes, until_signal
from listener.config import Config
from listener.settings import Acting, Choosing, Ending, Following, Showing
from listener.status import Status, Stop

_EXAMPLES = """\b
Examples:
  listener events 1 2 7-9
  listener events all --since 10m --json | jq .Data
  listener events 7 --where 'Data.amount > 100' --format '{Timestamp} {Data.amount}'
  listener events all --since all --until now --format csv >events.csv
  listener events 7 --state 7.pos --exec 'notify {ID} {Data}' --dead-letter failed.ndjson
  listener events 7 --expect 'Data.state == "done"' --timeout 30s --on-ready ./start-job

\b
Exit codes: 0 done or interrupted, 1 fault, 2 usage, 3 unreachable for longer than --give-up, 4 refused (accounts,
token), 5 timeout, 6 gap with --strict.
"""


# A negative number is an account that is no good, not an option that there isn't.
@click.command("events", context_settings={"ignore_unknown_options": True}, epilog=_EXAMPLES)
@click.argument("accounts", metavar="ACCOUNT...", nargs=-1, type=AccountsArgument())
@click.option("--json", is_flag=True, help="The same as --format json: each event as the JSON that it is, a line each.")
@takes(Following, Choosing, Showing, Acting, Ending)
def command(
    config: Config,
    following: Following,
    choosing: Choosing,
    showing: Showing,
    acting: Acting,
    ending: Ending,
    accounts: tuple[frozenset[int] | None, ...],
    json: bool,
) -> None:
    """Write the events of accounts to standard output: IDs, ranges such as 1-20, or `all`.

    What is for people goes to standard error. It survives every outage of the rest, and goes on where it was, until
    SIGINT or SIGTERM, or what --count, --expect, --until or --timeout say.
    """
    if not accounts:
        raise click.UsageError(f"There are no accounts to listen to. {EXPECTED}")
    if None in accounts and set(accounts) != {None}:
        raise click.UsageError(f"`all` includes the others: it stands alone. {EXPECTED}")
    if json:
        if _is_given("format") and showing.format != "json":
            raise click.UsageError(f"--json is --format json: expected it without --format {showing.format}.")
        showing = replace(showing, format="json")
    if acting.exec is None:
        for name in ("retries", "concurrency", "dead_letter"):
            if _is_given(name):
                raise click.UsageError(f"--{name.replace('_', '-')} is for --exec, and there is none.")
    chosen = None if None in accounts else frozenset[int]().union(*filter(None, accounts))

    async def listen() -> None:
        from listener.listening import Listening, listen
        from listener.output import escape
        from listener.terminal import STDERR, write

        job = Listening(chosen, following, choosing, showing, acting, ending)
        await write([f"Connecting to {escape(config.address)}"], to=STDERR)
        with trio.CancelScope() as scope:
            if ending.timeout is not None:
                scope.deadline = trio.current_time() + ending.timeout
            await listen(config, job, announce_to=STDERR)
        if scope.cancelled_caught:
            raise Stop(Status.TIMEOUT, f"--timeout: {ending.timeout:g} s have passed.")

    run(lambda: until_signal(listen))


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE
