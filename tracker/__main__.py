"""The command line of the tracker."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import structlog
import trio

from shared.errors import Misconfigured, first_leaf
from shared.options import options
from tracker import counting, logs
from tracker.config import Config

Serve = Callable[..., Awaitable[None]]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@click.command("tracker", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("command", metavar="[serve]", type=click.Choice(["serve"]), default="serve")
@options("tracker", Config)
@click.version_option(package_name="trio-tracker")
def cli(command: str, **settings: Any) -> None:
    """Accept events for accounts, commit them to the event log, and say how many come.

    Without --database and --redis the tracker runs a PostgreSQL and a Redis of its own in --data-dir.
    """
    try:
        config = Config(**settings)
        logs.configure(config.log_level)
        with service_of(config) as serve:
            trio.run(_run, config, serve)
    except* Misconfigured as group:
        click.echo(f"tracker: {first_leaf(group)}", err=True)
        sys.exit(1)
    except* Exception as group:
        structlog.get_logger(__name__).critical("the tracker failed", exc_info=group)
        sys.exit(1)


@contextmanager
def service_of(config: Config) -> Iterator[Serve]:
    """What serves with these settings; nothing is left of it after."""
    if config.workers == 1:
        from tracker.service import serve

        yield serve
        return
    with tempfile.TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        counting.count_together(directory, counting.PARENT)
        from tracker import workers  # only now: it makes the counters

        yield partial(workers.serve, directory=directory)


async def _run(config: Config, serve: Serve) -> None:
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
