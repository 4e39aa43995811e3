"""Standard input and output without blocking the rest: every read and write here can be cancelled."""

from __future__ import annotations

import enum
import errno
import os
import select
import stat
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, Protocol

import trio

from listener.output import escape
from listener.status import Status, Stop

STDIN, STDOUT, STDERR = 0, 1, 2
_CHUNK = 4096
_TELL_WITHIN = 0.1
_LOOK_EVERY = 0.25
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


def columns(fd: int) -> int:
    """How many cells a row of the terminal has; 80 where that can't be told."""
    try:
        return os.get_terminal_size(fd).columns or 80
    except OSError:
        return 80


def use_color(wanted: Literal["auto", "always", "never"], fd: int) -> bool:
    """Whether to colour what is written there. See https://no-color.org."""
    if wanted == "auto":
        return is_terminal(fd) and not os.environ.get("NO_COLOR") and is_capable()
    return wanted == "always"


def is_capable() -> bool:
    """Whether the terminal understands more than ends of lines."""
    return os.environ.get("TERM", "dumb").lower() not in ("", "dumb", "unknown")


def open_prompt(history: Path | None) -> Prompt:
    """An editing prompt on a terminal, which remembers in the file `history` (None: for this run), plain lines
    otherwise."""
    if is_terminal(STDIN) and is_terminal(STDOUT) and is_capable():
        from listener.editing import EditingPrompt

        return EditingPrompt(history)
    return PlainPrompt()


def dialogue() -> int:
    """Where the prompt talks: nothing but events goes to a standard output that is no terminal."""
    return STDOUT if is_terminal(STDOUT) else STDERR


async def write(lines: Iterable[str | bytes], *, to: int, end: bytes = b"\n") -> None:
    """Write lines. When cancelled it may leave a thread behind that still writes; the process does not wait for it.

    Raises OutputClosed, and Stop if the output can't be written for another reason.
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
        if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(to).st_mode):
            raise OutputClosed from error  # a terminal that is gone
        raise Stop(Status.FAULT, f"The output can't be written: {error.strerror}.") from error


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
    line = escape(text).encode(errors="backslashreplace") + b"\n"
    with suppress(OSError), bottom_line.lifted(STDERR, within=_TELL_WITHIN) as (before, after):
        if select.select([], [STDERR], [], 0)[1]:
            os.write(STDERR, before + line + after)


def _write(to: int, chunks: list[bytes]) -> None:
    """In a thread, because even an output that is ready may block, and a signal does not end a blocked write."""
    for chunk in chunks:
        trio.from_thread.check_cancelled()  # between lines, so that none is cut
        with bottom_line.lifted(to) as (before, after):
            rest = memoryview(before + chunk + after)
            while rest:
                try:
                    rest = rest[os.write(to, rest) :]
                except BlockingIOError:  # another program that shares this output made it so
                    select.select([], [to], [])


class BottomLine:
    """A line below all else on a terminal. Whoever writes there takes it away, and puts it back behind what it wrote,
    in one go: so it never stands in the middle of anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._text = b""
        self._on: tuple[int, ...] = ()

    @contextmanager
    def shown(self) -> Iterator[bool]:
        """In the block, `draw` shows the line on standard error; yields whether there is a place for it.

        There is on a terminal, unless what is written to standard output may come to the same one by way of another
        program, which does not know of the line: through a pipe.
        """
        if is_terminal(STDERR) and is_capable():
            if is_terminal(STDOUT):
                self._on = (STDOUT, STDERR) if os.ttyname(STDOUT) == os.ttyname(STDERR) else (STDERR,)
            elif stat.S_ISREG(os.fstat(STDOUT).st_mode) or os.path.samestat(os.fstat(STDOUT), os.stat(os.devnull)):
                self._on = (STDERR,)
        try:
            yield bool(self._on)
        finally:
            self.draw("")
            self._on = ()

    def draw(self, text: str) -> None:
        """Show this, in the place of what was shown. Not now, if someone is writing: then it comes with that."""
        if not self._on:
            return
        self._text = b"" if not text else b"\x1b[?7l" + text.encode(errors="backslashreplace") + b"\x1b[?7h"
        with suppress(OSError), self.lifted(STDERR, within=0.0 if text else _TELL_WITHIN) as (before, after):
            if select.select([], [STDERR], [], 0)[1]:
                os.write(STDERR, before + after)

    @contextmanager
    def lifted(self, fd: int, *, within: float = -1) -> Iterator[tuple[bytes, bytes]]:
        """While the block writes lines to `fd`: what to write before them, and behind. Of two who write to the terminal
        of the line one waits, `within` seconds at most (-1: however long), then raises BlockingIOError."""
        if fd not in self._on:
            yield b"", b""
            return
        if not self._lock.acquire(timeout=within):
            raise BlockingIOError
        try:
            yield b"\r\x1b[K", self._text
        finally:
            self._lock.release()


bottom_line = BottomLine()
"""That of this process, which has one terminal."""


async def wait_output_closed() -> NoReturn:
    """Raise OutputClosed when whoever reads a pipe or socket at our standard output is gone, also while there is
    nothing to write."""
    mode = os.fstat(STDOUT).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        await trio.sleep_forever()
    poll = select.poll()
    poll.register(STDOUT, 0)  # errors are always told
    while not poll.poll(0):  # noqa: ASYNC110  # that a reader has gone can only be asked for
        await trio.sleep(_LOOK_EVERY)
    raise OutputClosed


def read_from(fd: int, most: int) -> bytes:
    """What comes next, at most so many bytes; nothing at the end. It blocks: it is for a thread. Raises OSError."""
    while True:
        try:
            return os.read(fd, most)
        except BlockingIOError:  # another program that shares this input made it so
            select.select([fd], [], [])


async def wait_end_of_input() -> None:
    """Return at Ctrl+D on a terminal; lines that are typed until then are dropped."""
    while await read_input():
        pass


async def read_input() -> bytes:
    """What comes next at standard input; nothing at its end, or when the terminal is gone."""
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
            more = await read_input()
            if not more:
                break
            self._pending += more
        if not self._pending:
            return Ended.END
        line, _, self._pending = self._pending.partition(b"\n")
        return line.removesuffix(b"\r").decode(errors="surrogateescape")
