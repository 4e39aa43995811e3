"""The command line of the tracker."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click
import structlog
import trio

from shared.errors import Misconfigured, first_leaf
from shared.options import options
from tracker import logs
from tracker.config import Config
from tracker.service import serve

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("tracker", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("command", metavar="[serve]", type=click.Choice(["serve"]), default="serve")
@options(Config, "tracker")
@click.version_option(package_name="trio-tracker")
def cli(command: str, **settings: Any) -> None:
    """Accept events for accounts, commit them to the event log, and say how many come.

    Without --database and --redis the tracker runs a PostgreSQL and a Redis of its own in --data-dir.
    """
    try:
        config = Config(**settings)
        logs.configure(config.log_level)
        trio.run(_run, config)
    except* Misconfigured as group:
        click.echo(f"tracker: {first_leaf(group)}", err=True)
        sys.exit(1)
    except* Exception as group:
        structlog.get_logger(__name__).critical("the tracker failed", exc_info=group)
        sys.exit(1)


async def _run(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(serve, config)
        _Unheard.served = True
        for url in urls:
            click.echo(f"Tracking on {url}", err=True)


class _Unheard:
    """What a signal does while the service does not hear it: before it serves there is nothing to finish, and once it
    has, nothing more to end."""

    served = False

    def __call__(self, *_: object) -> None:
        if not self.served:
            sys.exit(0)


def main() -> None:
    """Entry point of the command `tracker`."""
    for number in _SIGNALS:
        signal.signal(number, _Unheard())
    try:
        cli()
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # what Python ends with would be the default, death


if __name__ == "__main__":
    main()
