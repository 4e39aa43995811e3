"""What the parent of several workers tells each of them, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tracker.config import Config

READY = b"ready"
"""What a worker says when all its parts are up."""


@dataclass(frozen=True)
class Orders:
    """What a worker is to do."""

    config: Config
    number: int
    workers: int
    sockets: list[int]
    """Files that it inherits: listening sockets."""
    parent: int
    """The process that a worker is a child of as long as that lives."""
    directory: Path
    """Private to this tracker: the board and the counts."""

    def encoded(self) -> bytes:
        """One line of JSON."""
        return msgspec.json.encode(self, enc_hook=str) + b"\n"

    @classmethod
    def decoded(cls, line: bytes) -> Orders:
        return msgspec.json.decode(line, type=cls, dec_hook=lambda kind, text: kind(text))

    @property
    def board(self) -> Path:
        return self.directory / "board"
