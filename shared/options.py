"""Settings: one table a program, from which its command line, its variables and its configuration file follow.

The table is a frozen dataclass whose fields are made with `setting()`. A flag beats the environment, the environment
beats the TOML file given by `--config`, and that beats the default. A program may have several tables, of which each of
its commands takes some; the file has the settings of all.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

PROFILES = "profiles"
"""The table of the configuration file that has a table of settings for each profile."""


def setting(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    type: Any = None,
    variables: tuple[str, ...] = (),
    name: str | None = None,
    secret: bool = False,
    emptiable: bool = False,
) -> Any:
    """A field of a table of settings.

    `help` is what `--help` says, `type` a click type (by default that of `default`), `variables` are environment
    variables that count beside the program's own. `name` is what the setting is called outside, where that can't be
    the field's name: `from`. A `secret` is refused on the command line, which everyone on the machine can read. A
    variable that is empty counts as none, unless the setting is `emptiable`.
    """
    meta = {"help": help, "metavar": metavar, "type": type, "variables": variables, "name": name, "secret": secret}
    return dataclasses.field(default=default, metadata={"setting": meta | {"emptiable": emptiable}})


def options(
    program: str, *tables: type, others: tuple[type, ...] = (), default_file: Path | None = None
) -> Callable[[F], F]:
    """Decorate a click command with an option for each setting of `tables`, and `--config FILE`.

    The command gets them as keyword arguments named as the fields: `table(**values)` makes the settings. The variable
    of a setting `data_dir` is `<PROGRAM>_DATA_DIR`; the configuration file calls it `data_dir` or `data-dir`, and may
    have settings of `others`, too: tables that other commands take. With a `default_file`, which is read if it is
    there, come `--profile NAME` and the file's tables `[profiles.NAME]`.
    """
    known = {_name(field): field.name for table in (*tables, *others) for field in dataclasses.fields(table)}

    def decorate(command: F) -> F:
        for table in reversed(tables):
            for field in reversed(dataclasses.fields(table)):
                command = _option(field, program)(command)
        return _file_options(program, known, default_file)(command)

    return decorate


def is_file_bad(context: click.Context) -> bool:
    """Whether there is something wrong with the configuration file, where that was passed over: in `--help` and in
    completion."""
    return bool(context.meta.get(__name__, {}).get("is_bad"))


def _name(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata["setting"]["name"] or field.name)


def _option(field: dataclasses.Field[Any], program: str) -> Callable[[F], F]:
    meta = field.metadata["setting"]
    flag = "--" + _name(field).replace("_", "-")
    return click.option(
        f"{flag}/--no-{flag[2:]}" if isinstance(field.default, bool) else flag,
        field.name,
        default=field.default,
        show_default=field.default is not None,
        type=meta["type"],
        metavar=meta["metavar"],
        help=meta["help"],
        envvar=[f"{program.upper()}_{_name(field).upper()}", *meta["variables"]],
        show_envvar=True,
        callback=_refuse_secret if meta["secret"] else None,
        cls=_Emptiable if meta["emptiable"] else click.Option,
    )


class _Emptiable(click.Option):
    """An option whose variable may be empty."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return next((os.environ[name] for name in self.envvar or () if name in os.environ), None)


def _refuse_secret(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        variable = parameter.envvar[0] if parameter.envvar else ""
        raise click.BadParameter(
            f"a command line is for everyone on this machine to read. Set {variable} instead, or give a file.",
            context,
            parameter,
        )
    return value


def _file_options(program: str, known: dict[str, str], default_file: Path | None) -> Callable[[F], F]:
    def choose(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        """Both are eager: when the first default is asked for, it is known which file and profile there is."""
        chosen = context.meta.setdefault(__name__, {"config": default_file, "profile": None})
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if value is not None and (given or chosen[parameter.name] in (None, default_file)):
            chosen[parameter.name] = value
        context.default_map = _FileDefaults(context, known, default_file)

    def decorate(command: F) -> F:
        if default_file is not None:
            command = click.option(
                "--profile",
                is_eager=True,
                expose_value=False,
                callback=choose,
                metavar="NAME",
                envvar=f"{program.upper()}_PROFILE",
                show_envvar=True,
                help=f"Let the settings of [{PROFILES}.NAME] in the TOML file beat the others there.",
            )(command)
        at = "" if default_file is None else f" Without it: {default_file}, if that is there."
        return click.option(
            "--config",
            is_eager=True,
            expose_value=False,
            callback=choose,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            envvar=f"{program.upper()}_CONFIG",
            show_envvar=True,
            help=f"Read settings from this TOML file: the names of these options, without dashes in front.{at}",
        )(command)

    return decorate


class _FileDefaults(MutableMapping[str, Any]):
    """The settings of the file, read when they are first asked for: not to show `--help`, for instance."""

    def __init__(self, context: click.Context, known: dict[str, str], default_file: Path | None) -> None:
        self._context = context
        self._known = known
        self._default_file = default_file
        self._read: dict[str, Any] | None = None

    @property
    def _settings(self) -> dict[str, Any]:
        if self._read is None:
            self._read = {}  # for whoever asks while it is being said what is wrong
            chosen = self._context.meta[__name__]
            try:
                self._read = self._load(chosen["config"], chosen["profile"])
            except click.BadParameter:
                chosen["is_bad"] = True
                if not self._context.resilient_parsing:  # as for --help, and for completion
                    raise
        return self._read

    def _load(self, path: Path | None, profile: str | None) -> dict[str, Any]:
        read: dict[str, Any] = {}
        if path is not None and (path != self._default_file or path.exists()):
            try:
                read = tomllib.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise self._bad(f"{path} is not a TOML file: {error}") from error
        profiles = read.pop(PROFILES, {}) if self._default_file is not None else {}
        if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
            raise self._bad(f"{path} has a {PROFILES!r} that is none: expected tables, such as [{PROFILES}.prod]")
        settings = self._named(read, path)
        for name, one in profiles.items():
            checked = self._named(one, path)
            if name == profile:
                settings |= checked
        if profile is not None and profile not in profiles:
            there = ", ".join(sorted(profiles)) or "none"
            raise self._bad(f"there is no profile {profile!r} in {path}. Expected one of those there: {there}")
        return settings

    def _named(self, read: dict[str, Any], path: Path | None) -> dict[str, Any]:
        plain = {key.replace("-", "_"): value for key, value in read.items()}
        if unknown := sorted(set(plain) - set(self._known)):
            raise self._bad(f"{path} has settings that {self._context.command.name} does not know: {unknown}")
        return {self._known[name]: value for name, value in plain.items()}

    def _bad(self, text: str) -> click.BadParameter:
        return click.BadParameter(text, self._context, param_hint="'--config'")

    def __getitem__(self, name: str) -> Any:
        return self._settings[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._settings[name] = value

    def __delitem__(self, name: str) -> None:
        del self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)
