"""Accounts completed at the shell, by ID or name. If the tracker does not answer at once there are none."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click
import trio
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from listener.account_search import about, by_id_first, find_beginning
from listener.commands import of_the_group
from listener.config import Config
from listener.tracker import Account, open_tracker
from shared.errors import Misconfigured, Refused, ServerTrouble
from shared.options import is_file_bad

WITHIN = 0.5
"""For how many seconds the tracker is asked. What is known by then is offered."""
MOST = 50
"""How many accounts are offered."""


def complete_account(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The accounts whose ID or name begins with what is typed, those by ID first; each completes to its ID. To be used
    as `shell_complete` of an argument, too."""
    config = _config(context)
    if config is None or not incomplete.isprintable():
        return []
    found: dict[int, Account] = {}
    try:
        trio.run(_find, config, incomplete, found)
    except* (Misconfigured, Refused, ServerTrouble):
        pass
    return [CompletionItem(str(one), help=about(found[one])) for one in by_id_first(incomplete, found)[:MOST]]


async def _find(config: Config, incomplete: str, found: dict[int, Account]) -> None:
    with trio.move_on_after(WITHIN):
        async with open_tracker(config) as tracker:
            await find_beginning(tracker.accounts, incomplete, MOST, found)


def _config(context: click.Context) -> Config | None:
    """The settings, as far as they stand on the command line already; None if one of them is no good."""
    values: dict[str, Any] = {field.name: context.params.get(field.name) for field in fields(Config)}
    sources = {name: context.get_parameter_source(name) for name in values}
    above = of_the_group(context, values)
    if is_file_bad(context):
        return None
    if any(values[name] is None and sources[name] is not ParameterSource.DEFAULT for name in values):
        return None
    return Config(**(values | above))
