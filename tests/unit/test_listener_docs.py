"""docs/listener.md against what `--help` says."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from listener.__main__ import cli
from listener.commands import Commands
from listener.status import Status

TEXT = (Path(__file__).parents[2] / "docs" / "listener.md").read_text()
SECTIONS = {part.partition("\n")[0].strip(" `"): part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)}
CONTEXT = click.Context(cli, info_name="listener")


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {"listener": cli}
    for name in Commands.names:
        command = cli.get_command(CONTEXT, name)
        assert command is not None
        found[f"listener {name}"] = command
    return found


def options(command: click.Command) -> list[click.Option]:
    return [one for one in command.get_params(CONTEXT) if isinstance(one, click.Option) and not one.hidden]


@pytest.mark.parametrize(("title", "command"), commands().items())
def test_every_option_is_told_where_its_command_is(title: str, command: click.Command) -> None:
    shared = {one.name for one in options(cli)} if command is not cli else set()
    for option in options(command):
        where = TEXT if option.name in shared or command is cli else SECTIONS[title]
        flags = [*option.opts, *option.secondary_opts]
        if option.name in ("help", "version"):
            continue
        assert any(re.search(rf"^\\| .*`{flag}[ `]", where, re.MULTILINE) for flag in flags), flags
        variables = option.envvar if isinstance(option.envvar, list) else []
        for variable in variables:
            assert f"`{variable}`" in where, variable


def test_there_is_no_option_that_there_is_not() -> None:
    known = {flag for command in commands().values() for one in options(command) for flag in one.opts}
    known |= {flag for command in commands().values() for one in options(command) for flag in one.secondary_opts}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert told - known - {"--account"} == set()  # that of a command in an example


def test_every_command_has_a_section_and_examples() -> None:
    for title, command in commands().items():
        assert title == "listener" or title in SECTIONS
        shown = command.get_help(click.Context(command, info_name=title))
        assert command.name == "listener" or title in shown.partition("\n")[2], title


def test_every_exit_code_is_told() -> None:
    told = re.findall(r"^\| (\d) \|", SECTIONS["Exit codes"], re.MULTILINE)
    assert [int(code) for code in told] == sorted(Status)
    shown = cli.get_command(CONTEXT, "events")
    assert shown is not None
    assert all(str(int(code)) in (shown.epilog or "") for code in Status)
