"""The command line: `listener` is the prompt, `listener events 1 2 3` is for scripts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import click
import trio
from click.core import ParameterSource

from listener.config import EVENTS_ALONE, Config
from shared.errors import Misconfigured, Refused, first_leaf
from shared.options import options

_STRENGTH = [ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT]
_EXPECTED = "Expected account IDs, whole numbers from 1 up with spaces between them: listener events 1 2 3 (or all)"


def checked_account(text: str) -> int | None:
    """Return an account's ID, or None for all accounts. Raises BadParameter."""
    from shared.events import account_id

    if text == "all":
        return None
    try:
        return account_id(text)
    except Refused as error:
        raise click.BadParameter(f"{error} {_EXPECTED}") from error


@click.group(invoke_without_command=True)
@options(Config, "listener")
@click.pass_context
def cli(context: click.Context, /, **values: Any) -> None:
    """Watch the events of accounts as the tracker accepts them.

    Without a command: a prompt, where you choose accounts and watch. Ctrl+C returns from watching to the prompt, and
    leaves at the prompt.
    """
    if context.invoked_subcommand is None:
        for name in EVENTS_ALONE:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} is for `listener events`, not for the prompt.")
        from listener import prompt

        _run(lambda: prompt.run(Config(**values)))


for _parameter in cli.params:
    if isinstance(_parameter, click.Option) and _parameter.name in EVENTS_ALONE:
        _parameter.hidden = True  # known here because they may stand before the command, and in the file for both


# A negative number is an account that is no good, not an option that there isn't.
@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("accounts", metavar="ACCOUNT...", nargs=-1, type=checked_account)
@click.option("--json", is_flag=True, help="Write each event as the JSON that it is, a line each.")
@options(Config, "listener")
@click.pass_context
def events(context: click.Context, /, accounts: tuple[int | None, ...], json: bool, **values: Any) -> None:
    """Write the events of these accounts (or of `all`) to standard output, until SIGINT or SIGTERM."""
    if not accounts:
        raise click.UsageError(f"There are no accounts to listen to. {_EXPECTED}")
    if None in accounts and set(accounts) != {None}:
        raise click.UsageError(f"`all` includes the others: it stands alone. {_EXPECTED}")
    chosen = None if None in accounts else {account for account in accounts if account is not None}
    config = Config(**_merged(context, values))

    async def listen() -> None:
        from listener.listening import listen
        from listener.output import escape
        from listener.signals import cancel_at_signal
        from listener.terminal import STDERR, STDOUT, is_terminal, write

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as ends:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_at_signal, ends, nursery.cancel_scope)
                await write([f"Connecting to {escape(config.address)}"], to=STDERR)
                await listen(config, chosen, announce_to=STDERR, json=json, safe=is_terminal(STDOUT))

    _run(listen)


def _merged(context: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Options may stand before the command, too: the stronger source wins, and of two alike the later one."""

    def strength(of: click.Context, name: str) -> int:
        source = of.get_parameter_source(name)
        return _STRENGTH.index(source) if source in _STRENGTH else len(_STRENGTH)

    above = context.parent
    assert above is not None
    return {
        name: above.params[name] if strength(above, name) > strength(context, name) else value
        for name, value in values.items()
    }


def _run(program: Callable[[], Awaitable[None]]) -> None:
    from listener.terminal import OutputClosed

    status = 0
    try:
        trio.run(program)
    except* (KeyboardInterrupt, OutputClosed):
        pass
    except* Misconfigured as group:
        status = 2
        click.echo(f"Error: {first_leaf(group)}", err=True)
    finally:
        # On the way out; a second Ctrl+C has nothing more to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(status)


def _open_missing() -> None:
    """Fill the places of closed standard streams: else a connection would get the number, and our output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def main() -> None:
    """Entry point of the command `listener`."""
    _open_missing()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until a receiver takes over
    cli(prog_name="listener")


if __name__ == "__main__":
    main()
