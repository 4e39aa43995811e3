"""The commands of `listener`, a module each, which is imported when the command is run or its help is shown."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import platformdirs
import trio
from click.core import ParameterSource

from listener.config import Config
from listener.settings import Acting, Choosing, Ending, Following, Prompting, Showing
from listener.status import Status, Stop
from shared.errors import Misconfigured, Refused, ServerTrouble
from shared.options import options

CONFIG_FILE = Path(platformdirs.user_config_dir("trio-tracker")) / "listener.toml"
TABLES = (Config, Prompting, Following, Choosing, Showing, Acting, Ending)

_STRENGTH = [ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, ParameterSource.ENVIRONMENT]


class Commands(click.Group):
    """The commands by name; each module has one, called `command`."""

    names = ("events", "send", "accounts", "top", "verify", "completion")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.names:
            return None
        command = import_module(f"listener.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.names and not args[0].startswith("-") and not ctx.resilient_parsing:
            close = get_close_matches(args[0], self.names, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else f" Expected one of {', '.join(self.names)}."
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


def takes(*tables: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate the function of a click command: it gets a `Config` and an instance of each of these tables, then the
    command's own parameters by name."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(**values: Any) -> None:
            values |= of_the_group(click.get_current_context(), values)
            made = [
                table(**{field.name: values.pop(field.name) for field in fields(table)}) for table in (Config, *tables)
            ]
            function(*made, **values)

        return options("listener", Config, *tables, others=TABLES, default_file=CONFIG_FILE)(run)

    return decorate


def of_the_group(context: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Options may stand before the command, too: the stronger source wins, and of two alike the later one."""

    def strength(of: click.Context, name: str) -> int:
        source = of.get_parameter_source(name)
        return _STRENGTH.index(source) if source in _STRENGTH else len(_STRENGTH)

    above = context.parent
    if above is None:
        return {}
    return {
        name: above.params[name]
        for name in values
        if name in above.params and strength(above, name) > strength(context, name)
    }


def run(program: Callable[[], Awaitable[None]], *, interrupted: Status = Status.DONE) -> None:
    """Run a command's program, and exit with the status that its end stands for. What it raises beside is a bug.

    `interrupted` is what a signal stands for that comes before `until_signal` waits for one.
    """
    from listener.terminal import OutputClosed

    status = Status.DONE
    said: list[str] = []

    def ends(as_what: Status, group: BaseExceptionGroup[BaseException]) -> None:
        nonlocal status
        status = status or as_what
        said.extend(dict.fromkeys(str(error) for error in _leaves(group)))

    try:
        trio.run(program)
    except* KeyboardInterrupt:
        status = status or interrupted
    except* OutputClosed:
        pass
    except* Stop as group:
        for error in _leaves(group):
            assert isinstance(error, Stop)
            status = status or error.status
            said.append(error.text)
    except* Misconfigured as group:
        ends(Status.USAGE, group)
    except* Refused as group:
        ends(Status.REFUSED, group)
    except* ServerTrouble as group:
        ends(Status.UNREACHABLE, group)
    finally:
        # On the way out; a second Ctrl+C has nothing more to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for text in filter(None, said):
        click.echo(f"Error: {text}" if status else text, err=True)
    sys.exit(status)


async def until_signal(program: Callable[[], Awaitable[None]]) -> None:
    """Run a program, and cancel it at SIGINT or SIGTERM."""
    from listener.signals import cancel_at_signal

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_signal, ends, nursery.cancel_scope)
            await program()
            nursery.cancel_scope.cancel()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
