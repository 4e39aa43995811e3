"""The command line of the tracker."""

from __future__ import annotations

import signal
import sys
from functools import partial
from typing import Any

import click
import structlog
import trio

from shared.errors import Misconfigured, first_leaf
from shared.options import options
from tracker import logs
from tracker.config import Config
from tracker.service import serve


@click.command("tracker", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("command", metavar="[serve]", type=click.Choice(["serve"]), default="serve")
@options(Config, "tracker")
@click.version_option(package_name="trio-tracker")
def main(command: str, **settings: Any) -> None:
    """Accept events for accounts, commit them to the event log, and say how many come.

    Without --database and --redis the tracker runs a PostgreSQL and a Redis of its own in --data-dir.
    """
    try:
        config = Config(**settings)
        logs.configure(config.log_level)
        trio.run(partial(_run, config))
    except* Misconfigured as group:
        click.echo(f"tracker: {first_leaf(group)}", err=True)
        sys.exit(1)
    except* Exception as group:
        structlog.get_logger(__name__).critical("the tracker failed", exc_info=group)
        sys.exit(1)
    finally:
        # On the way out; another signal has nothing more to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _run(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        for url in await nursery.start(serve, config):
            click.echo(f"Tracking on {url}", err=True)


if __name__ == "__main__":
    main()
