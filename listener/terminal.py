"""Standard input and output without blocking the rest: every read and write here can be cancelled."""

from __future__ import annotations

import enum
import os
import select
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

from listener.output import escape
from shared.errors import Misconfigured

STDIN, STDOUT, STDERR = 0, 1, 2
_CHUNK = 4096
_LONGEST_LINE = 1 << 20


class OutputClosed(Exception):
    """Whoever read our output is gone."""


class Ended(enum.Enum):
    """Why there is no line."""

    INTERRUPT = enum.auto()
    END = enum.auto()


class Choice(NamedTuple):
    """One way to go on with what is typed."""

    text: str
    replaces: int
    """How many characters before the cursor it stands in the place of."""
    about: str = ""
    """What is shown beside it. Safe to show."""


Complete = Callable[[str], Sequence[Choice] | Awaitable[Sequence[Choice]]]
"""From what stands before the cursor to the ways to go on. Those that are at hand come at once; what has to be asked
for may take its time, on trio: keys are read meanwhile."""


class Prompt(Protocol):
    """Asks for lines."""

    async def ask(self, question: str, complete: Complete | None = None) -> str | Ended:
        """Return the next line, without its end."""


def is_terminal(fd: int) -> bool:
    """Whether a person sits there."""
    return os.isatty(fd)


def open_prompt(history: Path | None) -> Prompt:
    """An editing prompt on a terminal, which remembers in the file `history` (None: for this run), plain lines
    otherwise."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    if is_terminal(STDIN) and is_terminal(STDOUT) and not dumb:
        from listener.editing import EditingPrompt

        return EditingPrompt(history)
    return PlainPrompt()


def dialogue() -> int:
    """Where the prompt talks: nothing but events goes to a standard output that is no terminal."""
    return STDOUT if is_terminal(STDOUT) else STDERR


async def write(lines: Iterable[str | bytes], *, to: int, end: bytes = b"\n") -> None:
    """Write lines. When cancelled it may leave a thread behind that still writes; the process does not wait for it.

    Raises OutputClosed, and Misconfigured if the output can't be written for another reason.
    """
    chunks = [b""]
    for line in lines:
        if len(chunks[-1]) >= _CHUNK:
            chunks.append(b"")
        chunks[-1] += (line.encode(errors="backslashreplace") if isinstance(line, str) else line) + end
    try:
        await trio.to_thread.run_sync(_write, to, chunks, abandon_on_cancel=True)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise OutputClosed from error
    except OSError as error:
        raise Misconfigured(f"The output can't be written: {error.strerror}.") from error


async def finish(action: Callable[[], Awaitable[None]], *, within: float) -> None:
    """Run an action to its end even if cancelled meanwhile, but then no longer than `within` seconds."""
    scope = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with scope:
                await action()
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        try:
            await trio.sleep_forever()
        finally:
            scope.deadline = trio.current_time() + within


def tell(text: str) -> None:
    """Write a line to standard error at once, unless that would block or nobody reads it."""
    with suppress(OSError):
        if select.select([], [STDERR], [], 0)[1]:
            os.write(STDERR, escape(text).encode(errors="backslashreplace") + b"\n")


def _write(to: int, chunks: list[bytes]) -> None:
    """In a thread, because even an output that is ready may block, and a signal does not end a blocked write."""
    for chunk in chunks:
        trio.from_thread.check_cancelled()  # between lines, so that none is cut
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(to, rest) :]
            except BlockingIOError:  # another program that shares this output made it so
                select.select([], [to], [])


async def wait_end_of_input() -> None:
    """Return at Ctrl+D on a terminal; lines that are typed until then are dropped."""
    while await _read():
        pass


async def _read() -> bytes:
    with suppress(PermissionError):  # a file: always ready, and nothing to wait for
        await trio.lowlevel.wait_readable(STDIN)
    try:
        return os.read(STDIN, _CHUNK)
    except OSError:  # the terminal is gone
        return b""


class PlainPrompt:
    """Lines as they come from a pipe or file. They are echoed, so that the output reads like a session."""

    def __init__(self) -> None:
        self._pending = b""
        self._echo = not is_terminal(STDIN)

    async def ask(self, question: str, complete: Complete | None = None) -> str | Ended:
        await write([question], to=dialogue(), end=b"")
        line = await self._line()
        if self._echo or line is Ended.END:
            await write([escape(line) if isinstance(line, str) else ""], to=dialogue())
        return line

    async def _line(self) -> str | Ended:
        while b"\n" not in self._pending and len(self._pending) < _LONGEST_LINE:
            more = await _read()
            if not more:
                break
            self._pending += more
        if not self._pending:
            return Ended.END
        line, _, self._pending = self._pending.partition(b"\n")
        return line.removesuffix(b"\r").decode(errors="surrogateescape")
