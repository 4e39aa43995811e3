"""Reading the files of a recording, and what the log has from the same time, while a person sees how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from listener.comparison import Comparison
from listener.config import Config
from listener.output import cut_to, escape
from listener.recording import Reader, Recording
from listener.sources import open_source
from listener.status import Status, Stop
from listener.status_line import drawn_below
from listener.terminal import STDERR, tell, use_color
from listener.tracker import GIVE_UP
from shared.errors import Misconfigured
from shared.frames import Error
from shared.position import Position

STDIN_NAME = "-"
MOST_NAMED = 100
"""How many accounts the log is asked for by name. Of more, all are read: a page of many accounts costs a look at each.
A log tells less of all accounts than of some: it remembers their common order for the newest events alone."""

_SHOW_AFTER = 1.0


async def read(recording: Recording, paths: Sequence[str]) -> None:
    """Read these files into the recording, one after the other; `-` is standard input. Raises Misconfigured if one
    can't be read."""

    def read_all() -> None:
        reader = Reader(recording, trio.from_thread.check_cancelled)
        for path in paths:
            try:
                with open(0 if path == STDIN_NAME else path, "rb", 1 << 20, closefd=path != STDIN_NAME) as file:
                    reader.read(file, path)
            except OSError as error:
                raise Misconfigured(f"{escape(path)} can't be read: {error.strerror}.") from error
        reader.end()

    async with _shown(lambda: f"{recording.events} events read, {recording.bytes >> 20} MiB"):
        # Nobody can interrupt a read of a pipe: whoever can't wait leaves it behind.
        await trio.to_thread.run_sync(read_all, abandon_on_cancel=True)


async def compare(
    config: Config, recording: Recording, accounts: frozenset[int] | None, *, to_end: bool
) -> Comparison | None:
    """Ask the log for what the recording should have of these accounts (None: of all). Returns None if the recording
    has no place in any log.

    Raises Stop (UNREACHABLE if no answer comes for --give-up, REFUSED) and Misconfigured.
    """
    recorded = recording.newest_log
    if recorded is None:
        return None
    comparison = Comparison(recorded, accounts, to_end=to_end)
    if accounts is not None and not accounts:
        return comparison
    named = accounts if accounts is not None and len(accounts) <= MOST_NAMED else None
    since = Position(recorded.epoch, 0, recorded.first - 1)
    patience = GIVE_UP if config.give_up is None else config.give_up
    why = "no answer in time"

    def report(part: str, reason: str | None) -> None:
        nonlocal why
        if reason is not None:
            why = reason.rstrip(".")
            tell(f"{part} is away ({why}). Trying again until it is back.")

    with trio.CancelScope(deadline=trio.current_time() + patience) as scope:
        async with (
            _shown(lambda: f"{comparison.read} events of the log read"),
            open_source(config, named, str(since), report) as source,
        ):
            going_on = True
            while going_on:
                frames = await source.receive()
                scope.deadline = trio.current_time() + patience
                for frame in frames:
                    if isinstance(frame, Error):
                        tell(f"! {frame.detail}")
                    if not comparison.take(frame):
                        going_on = False
                        break
    if scope.cancelled_caught:
        raise Stop(Status.UNREACHABLE, f"{escape(config.address)} can't be reached: {escape(why)}.")
    return comparison


def _shown(text: Callable[[], str]) -> AbstractAsyncContextManager[bool]:
    """Show on a terminal how far it is, once it has taken a while."""
    return drawn_below(lambda width: cut_to(text(), width), color=use_color("auto", STDERR), after=_SHOW_AFTER)
