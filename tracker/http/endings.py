"""How a stream ends when the tracker ends it."""

from __future__ import annotations

from enum import Enum

from shared.frames import Bye

SPREAD = 0.3
"""Over how many seconds the streams end when the tracker stops, so that their clients do not come back all at once."""
LAST_WORDS = 2.0
"""How long a client may take to read the last of a stream when the tracker stops."""


class Ending(Enum):
    """Why: the code of a WebSocket's close (RFC 6455, 7.4, and the IANA registry), its words, and the last frame."""

    SHUTDOWN = (1001, "the server stops", Bye("shutdown", True))
    REFUSED = (1008, "refused", Bye("refused", False))
    FAULT = (1011, "internal error", Bye("fault", True))
    OVERLOADED = (1013, "too many followers", Bye("overloaded", True))

    def __init__(self, code: int, words: str, bye: Bye) -> None:
        self.code = code
        self.words = words
        self.bye = bye
