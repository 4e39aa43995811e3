"""The prompt on a terminal, with prompt_toolkit: history, completion, search."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from listener.terminal import STDOUT, Choice, Complete, Ended, write

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    from listener.prompt_history import HistoryFile

T = TypeVar("T")

_MENU = {
    "completion-menu": "bg:default fg:default",
    "completion-menu.completion.current": "noreverse bg:default fg:default bold",
    "completion-menu.meta.completion": "bg:default fg:ansibrightblack",
    "completion-menu.meta.completion.current": "bg:default fg:default",
    "scrollbar.background": "bg:default",
    "scrollbar.button": "bg:default",
}
"""Nothing but text: on a dark terminal as on a light one."""

_LINE_ENDS = re.compile(r"[ \t]*[\r\n]+[ \t]*")


class EditingPrompt:
    """prompt_toolkit, which is built on asyncio, with a loop of its own in a thread."""

    def __init__(self, history: Path | None) -> None:
        self._history = history
        self._file: HistoryFile | None = None
        self._sessions: dict[str, PromptSession[str]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = False

    async def ask(self, question: str, complete: Complete | None = None) -> str | Ended:
        session = await trio.to_thread.run_sync(self._session, question, abandon_on_cancel=True)
        await self._tell_trouble()
        self._loop, self._leaving = None, False
        async with trio.open_nursery() as nursery:
            bindings = _bindings(nursery, complete)
            nursery.start_soon(self._leave_when_cancelled, session)
            answer = await trio.to_thread.run_sync(self._ask, session, question, bindings)
            nursery.cancel_scope.cancel()
        return answer

    def _session(self, question: str) -> PromptSession[str]:
        """In a thread, because it reads the disk."""
        if self._file is None:
            from listener.prompt_history import HistoryFile

            self._file = HistoryFile(self._history)
        if question not in self._sessions:
            self._sessions[question] = _session(self._file, question)
        return self._sessions[question]

    async def _tell_trouble(self) -> None:
        if self._file is not None and self._file.trouble is not None:
            text, self._file.trouble = self._file.trouble, None
            await write([f" {text}"], to=STDOUT)

    def _ask(self, session: PromptSession[str], question: str, bindings: KeyBindings) -> str | Ended:
        def running() -> None:
            self._loop = asyncio.get_running_loop()
            if self._leaving:
                _leave(session)

        try:
            # Ctrl+C comes as a key here; as a signal it is the main thread's affair.
            return session.prompt(
                question, handle_sigint=False, set_exception_handler=False, pre_run=running, key_bindings=bindings
            )
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


def _session(file: HistoryFile, question: str) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import DummyCompleter
    from prompt_toolkit.output.vt100 import Vt100_Output
    from prompt_toolkit.styles import Style

    output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
    output.enable_cpr = False  # nothing here needs the cursor's position, and not every terminal answers
    return PromptSession(
        history=file.of(question),
        completer=DummyCompleter(),  # with one, there is room for the menu; TAB fills it
        complete_while_typing=False,
        style=Style.from_dict(_MENU),
        output=output,
    )


def _bindings(nursery: trio.Nursery, complete: Complete | None) -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    bindings = KeyBindings()

    @bindings.add(Keys.Tab)
    def tab(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state:
            buffer.complete_next()
        elif complete is not None:
            choices = complete(buffer.document.text_before_cursor)
            if isinstance(choices, Sequence):
                _offer(buffer, choices)
            else:
                event.app.create_background_task(_offer_later(buffer, nursery, choices))

    @bindings.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        """Lines become one, which waits for Enter as all else does."""
        event.current_buffer.insert_text(_LINE_ENDS.sub(" ", event.data.strip("\r\n")))

    return bindings


async def _offer_later(buffer: Buffer, nursery: trio.Nursery, coming: Awaitable[Sequence[Choice]]) -> None:
    document = buffer.document
    choices = await _in_trio(nursery, coming, ())
    if buffer.document == document and buffer.complete_state is None:  # else someone typed on meanwhile
        _offer(buffer, choices)


def _offer(buffer: Buffer, choices: Sequence[Choice]) -> None:
    """Put in what all ways to go on have in common, or show them."""
    from prompt_toolkit.buffer import CompletionState
    from prompt_toolkit.completion import Completion, get_common_complete_suffix

    document = buffer.document
    found = [Completion(one.text, -one.replaces, display_meta=one.about) for one in choices]
    if len(found) == 1:
        buffer.apply_completion(found[0])
    elif common := get_common_complete_suffix(document, found):
        buffer.insert_text(common)
    elif found:
        buffer.complete_state = CompletionState(document, found)
        buffer.on_completions_changed.fire()


async def _in_trio(nursery: trio.Nursery, action: Awaitable[T], otherwise: T) -> T:
    """Await an action of trio's on the loop of a thread that trio waits for in the block of `nursery`. When that is
    cancelled, so is the action, and this returns `otherwise`."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T) -> None:
        if not future.done():
            future.set_result(result)

    async def run() -> None:
        result = otherwise
        try:
            result = await action
        finally:
            with suppress(RuntimeError):  # the loop is closed: the line was finished meanwhile
                loop.call_soon_threadsafe(finish, result)

    trio.from_thread.run_sync(nursery.start_soon, run)
    return await future
