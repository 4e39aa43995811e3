"""What was typed at the prompt, in a file: it is there in the next run.

The file reads like the screen: each line is a question and what was answered, `accounts >1 2 3`. Each question has a
history of its own. Several listeners may share the file: a line is appended in one write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from listener.output import escape

KEPT = 1000
"""How many lines a file is cut down to at the start, once it has twice as many."""
LONGEST = 2000
"""Longer lines (characters) are not kept."""
_READ = 4 << 20
"""Of a file that is larger only the last so many bytes count."""

_LINE = re.compile("(?:[a-z]+ )?>")


class HistoryFile:
    """The file, or none. When it can't be used, history stays in memory, and `trouble` tells why."""

    def __init__(self, path: Path | None) -> None:
        self.trouble: str | None = None
        self._path = path
        self._lines: list[str] = []
        if path is not None:
            try:
                self._open(path)
            except OSError as error:
                self._give_up(f"can't be used ({error.strerror or error})")

    def of(self, question: str) -> History:
        """The history of one question. No question may begin with another."""
        return _Answers(self, question)

    def answers(self, question: str) -> list[str]:
        """What was answered before this run, the oldest first."""
        return [line.removeprefix(question) for line in self._lines if line.startswith(question)]

    def append(self, question: str, answer: str) -> None:
        """Keep an answer."""
        if self._path is None or len(answer) > LONGEST:
            return
        line = f"{question}{' '.join(answer.splitlines())}\n".encode(errors="replace")
        try:
            fd = _opened(self._path)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError as error:
            self._give_up(f"can't be written ({error.strerror or error})")

    def _open(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(_opened(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _READ))
            lines = file.read(_READ).decode(errors="replace").split("\n")[:-1]
        self._lines = [line for line in lines if _LINE.match(line)]
        if lines and not self._lines:
            self._give_up("is another program's")  # which would not like to see it cut
        elif len(lines) > 2 * KEPT or size > _READ:
            self._lines = self._lines[-KEPT:]
            with suppress(OSError):  # it may be written, but not its directory
                self._cut(path.resolve(), size)

    def _cut(self, path: Path, size: int) -> None:
        """Put a shorter file in its place, unless another listener has just added to it: the next start does it."""
        new = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write("".join(f"{line}\n" for line in self._lines).encode(errors="replace"))
            if path.stat().st_size == size:
                new.replace(path)
        finally:
            with suppress(FileNotFoundError):
                new.unlink()

    def _give_up(self, why: str) -> None:
        self.trouble = f"what is typed here is not kept: {escape(f'{self._path} {why}')}. --history names another file"
        self._path = None


class _Answers(History):
    def __init__(self, file: HistoryFile, question: str) -> None:
        super().__init__()
        self._file = file
        self._question = question

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._file.answers(self._question))

    def store_string(self, string: str) -> None:
        self._file.append(self._question, string)


def _opened(path: Path) -> int:
    # Not blocking: it may be a pipe that nobody reads.
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
