"""Standard input and output without blocking the rest: every read and write here can be cancelled."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import select
import stat
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from listener.output import escape
from shared.errors import Misconfigured

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

STDIN, STDOUT, STDERR = 0, 1, 2
_CHUNK = 4096
_LONGEST_LINE = 1 << 20


class OutputClosed(Exception):
    """Whoever read our output is gone."""


class Ended(enum.Enum):
    """Why there is no line."""

    INTERRUPT = enum.auto()
    END = enum.auto()


class Prompt(Protocol):
    """Asks for lines."""

    async def ask(self, question: str, completions: Sequence[str] = ()) -> str | Ended:
        """Return the next line, without its end."""


def is_terminal(fd: int) -> bool:
    """Whether a person sits there."""
    return os.isatty(fd)


def is_dumb() -> bool:
    """Whether the terminal understands no escape sequences."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def open_prompt() -> Prompt:
    """An editing prompt on a terminal, plain lines otherwise."""
    if is_terminal(STDIN) and is_terminal(STDOUT) and not is_dumb():
        return EditingPrompt()
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
        if error.errno == errno.EIO and stat.S_ISCHR(os.fstat(to).st_mode):
            raise OutputClosed from error  # a terminal that is gone
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

    async def ask(self, question: str, completions: Sequence[str] = ()) -> str | Ended:
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


class EditingPrompt:
    """prompt_toolkit, which is built on asyncio, with a loop of its own in a thread."""

    def __init__(self) -> None:
        self._sessions: dict[str, PromptSession[str]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = False

    async def ask(self, question: str, completions: Sequence[str] = ()) -> str | Ended:
        if question not in self._sessions:
            self._sessions[question] = _session(completions)
        session = self._sessions[question]
        self._loop, self._leaving = None, False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_when_cancelled, session)
            answer = await trio.to_thread.run_sync(self._ask, session, question)
            nursery.cancel_scope.cancel()
        return answer

    def _ask(self, session: PromptSession[str], question: str) -> str | Ended:
        def running() -> None:
            self._loop = asyncio.get_running_loop()
            if self._leaving:
                _leave(session)

        try:
            # Ctrl+C comes as a key here; as a signal it is the main thread's affair.
            return session.prompt(question, handle_sigint=False, set_exception_handler=False, pre_run=running)
        except KeyboardInterrupt:
            return Ended.INTERRUPT
        except EOFError:
            return Ended.END

    async def _leave_when_cancelled(self, session: PromptSession[str]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._leaving = True  # first this, then the look: `running` does it the other way round
            if self._loop is not None:
                with suppress(RuntimeError):  # it ended by itself meanwhile
                    self._loop.call_soon_threadsafe(_leave, session)


def _leave(session: PromptSession[str]) -> None:
    if session.app.is_running and not session.app.is_done:
        session.app.exit(exception=EOFError())


def _session(completions: Sequence[str]) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.output.vt100 import Vt100_Output
    from prompt_toolkit.shortcuts import CompleteStyle

    output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
    output.enable_cpr = False  # nothing here needs the cursor's position, and not every terminal answers
    return PromptSession(
        completer=WordCompleter(list(completions), ignore_case=True, sentence=True),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
        output=output,
    )
