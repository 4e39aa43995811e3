"""`listener events`: the events of some accounts, as they come."""

from __future__ import annotations

import click
from click.core import ParameterSource

from listener.choosing import EXPECTED, AccountsArgument
from listener.commands import run, takes, until_signal
from listener.config import Acting, Config, Following


# A negative number is an account that is no good, not an option that there isn't.
@click.command("events", context_settings={"ignore_unknown_options": True})
@click.argument("accounts", metavar="ACCOUNT...", nargs=-1, type=AccountsArgument())
@click.option("--json", is_flag=True, help="Write each event as the JSON that it is, a line each.")
@takes(Following, Acting)
def command(
    config: Config, following: Following, acting: Acting, accounts: tuple[frozenset[int] | None, ...], json: bool
) -> None:
    """Write the events of these accounts (or of `all`) to standard output, until SIGINT or SIGTERM."""
    if not accounts:
        raise click.UsageError(f"There are no accounts to listen to. {EXPECTED}")
    if None in accounts and set(accounts) != {None}:
        raise click.UsageError(f"`all` includes the others: it stands alone. {EXPECTED}")
    if acting.exec is None:
        context = click.get_current_context()
        for name in ("exec_timeout", "retries", "concurrency", "dead_letter"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} is for --exec, and there is none.")
    chosen = None if None in accounts else frozenset[int]().union(*filter(None, accounts))

    async def listen() -> None:
        from listener.listening import listen
        from listener.output import escape
        from listener.terminal import STDERR, STDOUT, is_terminal, write

        await write([f"Connecting to {escape(config.address)}"], to=STDERR)
        await listen(config, following, chosen, announce_to=STDERR, json=json, safe=is_terminal(STDOUT), acting=acting)

    run(lambda: until_signal(listen))
