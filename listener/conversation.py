"""Talking with whoever sits at the prompt, or has written a script for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

from listener.signals import cancel_at_signal
from listener.terminal import STDIN, Complete, Ended, dialogue, is_terminal, open_prompt, write

T = TypeVar("T")


class NoLine(Exception):
    """A question got no answer; `why` tells whether that was Ctrl+C or the end of the input."""

    def __init__(self, why: Ended) -> None:
        super().__init__(why)
        self.why = why


class Conversation:
    """Lines said and asked for, and what Ctrl+C ends."""

    def __init__(self, interrupts: AsyncIterator[int], history: Path | None) -> None:
        """`history` is where an editing prompt remembers."""
        self._interrupts = interrupts
        self._prompt = open_prompt(history)
        self.with_person = is_terminal(STDIN)
        """Whether there is one who reads hints, and presses keys."""

    async def say(self, *lines: str) -> None:
        """Write lines. Whatever came from elsewhere has to be escaped."""
        await write(lines, to=dialogue())

    async def hint(self, line: str) -> None:
        """Say this to a person. A script gets what the Go cli says, and no more."""
        if self.with_person:
            await self.say(line)

    async def ask(self, question: str, complete: Complete | None = None) -> str:
        """Return the next line. Raises NoLine."""
        answer = await self.interruptible(lambda: self._prompt.ask(question, complete))
        if isinstance(answer, Ended):
            raise NoLine(answer)
        return answer

    async def interruptible(self, action: Callable[[], Awaitable[T]]) -> T | Ended:
        """Run an action, and cancel it at Ctrl+C."""
        result: T | Ended = Ended.INTERRUPT
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_signal, self._interrupts, nursery.cancel_scope)
            result = await action()
            nursery.cancel_scope.cancel()
        return result

    async def end_line(self) -> None:
        """End the line on which the terminal shows ^C."""
        if self.with_person:
            await self.say("")
