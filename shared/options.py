"""Settings: one table a program, from which its command line, its variables and its configuration file follow.

The table is a frozen dataclass whose fields are made with `setting()`. A flag beats the environment, the environment
beats the TOML file given by `--config`, and that beats the default.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def setting(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    type: Any = None,
    variables: tuple[str, ...] = (),
    name: str | None = None,
) -> Any:
    """A field of a table of settings.

    `help` is what `--help` says, `type` a click type (by default that of `default`), `variables` are environment
    variables that count beside the program's own. `name` is what the setting is called outside, where that can't be
    the field's name: `from`.
    """
    meta = {"help": help, "metavar": metavar, "type": type, "variables": variables, "name": name}
    return dataclasses.field(default=default, metadata={"setting": meta})


def options(table: type, program: str) -> Callable[[F], F]:
    """Decorate a click command with an option for each setting of `table`, and `--config FILE`.

    The command gets them as keyword arguments named as the fields: `table(**values)` makes the settings. The variable
    of a setting `data_dir` is `<PROGRAM>_DATA_DIR`; the configuration file calls it `data_dir` or `data-dir`.
    """

    def decorate(command: F) -> F:
        for field in reversed(dataclasses.fields(table)):
            meta = field.metadata["setting"]
            name = meta["name"] or field.name
            flag = "--" + name.replace("_", "-")
            flags = f"{flag}/--no-{flag[2:]}" if isinstance(field.default, bool) else flag
            option = click.option(
                flags,
                field.name,
                default=field.default,
                show_default=field.default is not None,
                type=meta["type"],
                metavar=meta["metavar"],
                help=meta["help"],
                envvar=[f"{program.upper()}_{name.upper()}", *meta["variables"]],
                show_envvar=True,
            )
            command = option(command)
        return click.option(
            "--config",
            is_eager=True,
            expose_value=False,
            callback=_read_file,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            envvar=f"{program.upper()}_CONFIG",
            show_envvar=True,
            help="Read settings from this TOML file: the names of these options, without dashes in front.",
        )(command)

    return decorate


def _read_file(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        read = {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text()).items()}
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} is not a TOML file: {error}", context, parameter) from error
    known = {option.opts[0].lstrip("-").replace("-", "_"): option.name for option in context.command.params}
    if unknown := sorted(set(read) - set(known)):
        raise click.BadParameter(f"{path} has settings that {context.command.name} does not know: {unknown}")
    context.default_map = {**(context.default_map or {}), **{known[name]: value for name, value in read.items()}}
