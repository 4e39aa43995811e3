"""`listener top`: how busy the trackers are, and whose events it is."""

from __future__ import annotations

from functools import partial

import click

from listener.commands import run, takes, until_signal
from listener.config import DURATION, Config

SHORTEST = 0.1
"""No tracker is asked more often than that, in seconds."""


def _checked_interval(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if value < SHORTEST:
        raise click.BadParameter("it is too short. Expected 100ms at least.", context, parameter)
    return value


@click.command("top")
@click.option(
    "--interval",
    type=DURATION,
    default="1s",
    show_default=True,
    metavar="DURATION",
    callback=_checked_interval,
    help="How often to ask the tracker: 500ms, 1s, 10s.",
)
@click.option("--once", is_flag=True, help="Write the figures of now as text, and end.")
@click.option(
    "--json",
    is_flag=True,
    help="Write the tracker's answer as one line of JSON, with the names of the busiest accounts added, and end.",
)
@takes()
def command(config: Config, interval: float, once: bool, json: bool) -> None:
    """Show how many events the trackers take, and which accounts are the busiest.

    On a terminal the table fills the screen and follows: q or Ctrl+C ends it, m and f order it by the rate over one
    minute and five, arrows and PgUp and PgDn scroll, ? shows the keys. Elsewhere it is written once, as with --once.

    \b
    Examples:
      listener top --tracker https://tracker.example
      listener top --once | head
      listener top --json | jq '.Busiest[] | [.ID, .Name, .Minute]'
    """
    from listener import top

    if once or json or not top.can_show():
        run(lambda: until_signal(partial(top.show_once, config, json=json)))
    else:
        run(lambda: until_signal(partial(top.watch, config, interval)))
