"""The command line: `listener` is the prompt, `listener COMMAND` is for scripts."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from listener.commands import CONFIG_FILE, TABLES, Commands, run
from listener.completion import PROGRAM, VARIABLE, answer
from listener.config import Config
from listener.settings import Following, Prompting
from shared.options import options

_OF_EVENTS = tuple(field.name for field in fields(Following))
"""Options of `listener events` that may stand before the command, too."""


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@options("listener", Config, Prompting, Following, others=TABLES, default_file=CONFIG_FILE)
@click.version_option(package_name="trio-tracker")
@click.pass_context
def cli(context: click.Context, /, **values: Any) -> None:
    """Watch the events of accounts as the tracker accepts them.

    Without a command: a prompt, where you choose accounts and watch. Ctrl+C returns from watching to the prompt, and
    leaves at the prompt.
    """
    if context.invoked_subcommand is None:
        for name in _OF_EVENTS:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} is for `listener events`, not for the prompt.")
        from listener import prompt

        config = Config(**{field.name: values[field.name] for field in fields(Config)})
        run(lambda: prompt.run(config, Prompting(values["history"])))


for _parameter in cli.params:
    if isinstance(_parameter, click.Option) and _parameter.name in _OF_EVENTS:
        _parameter.hidden = True


def _open_missing() -> None:
    """Fill the places of closed standard streams: else a connection would get the number, and our output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def main() -> None:
    """Entry point of the command `listener`."""
    _open_missing()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until a receiver takes over
    if VARIABLE in os.environ:
        sys.exit(answer(cli))
    cli(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
