"""How the program ends: what its exit code tells."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """Exit codes. Scripts depend on them."""

    DONE = 0
    """What was asked for was done; or a person or signal ended what has no end of its own."""
    FAULT = 1
    """Something broke: the output, a command, a bug; what was compared differs; or what has an end was interrupted."""
    USAGE = 2
    """The command line, the file or a setting is no good."""
    UNREACHABLE = 3
    """The server was away for longer than --give-up."""
    REFUSED = 4
    """The tracker refused: accounts, events, or the token."""
    TIMEOUT = 5
    """--timeout passed."""
    GAP = 6
    """Events are gone, with --strict."""


class Stop(Exception):
    """Ends the program with this status. `text` is for standard error, and safe to show; empty: there is nothing to
    say."""

    def __init__(self, status: Status, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
