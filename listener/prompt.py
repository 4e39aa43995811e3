"""The interactive menu: choose accounts, watch their events."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import trio

from listener.config import Config
from listener.output import account_list, escape
from listener.signals import cancel_at_signal
from listener.terminal import STDIN, Ended, Prompt, dialogue, is_terminal, open_prompt, wait_end_of_input, write
from shared.errors import Refused

T = TypeVar("T")

COMMANDS = ("accounts", "events")


async def run(config: Config) -> None:
    """Hold the dialogue until Ctrl+C or the end of the input at a prompt, or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT) as interrupts, trio.open_signal_receiver(signal.SIGTERM) as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_signal, ends, nursery.cancel_scope)
            await Dialogue(config, interrupts).run()
            nursery.cancel_scope.cancel()


class Dialogue:
    """One session at the prompt, with the accounts selected so far."""

    def __init__(self, config: Config, interrupts: AsyncIterator[int]) -> None:
        self._config = config
        self._interrupts = interrupts
        self._selected: set[int] = set()
        self._prompt: Prompt = open_prompt()

    async def run(self) -> None:
        """Ask for commands until the person leaves."""
        await self._say([f"Connecting to {escape(self._config.address)}"])
        while True:
            await self._say([f"options: [{' '.join(COMMANDS)}]"])
            match await self._ask(">", COMMANDS):
                case Ended():
                    break
                case "accounts":
                    if await self._choose() is Ended.END:
                        break
                case "events":
                    await self._listen()
                case unknown:
                    await self._say([f"unrecognized command: {escape(unknown)}"])
        await self._say(["Goodbye!"])

    async def _ask(self, question: str, completions: tuple[str, ...] = ()) -> str | Ended:
        return await self._interruptible(lambda: self._prompt.ask(question, completions))

    async def _choose(self) -> Ended | None:
        from shared.events import account_id

        await self._say(
            [f" already selected accounts: {account_list(self._selected)}", " input space separated account IDs"]
        )
        answer = await self._ask("accounts >")
        if isinstance(answer, Ended):
            return answer
        complaints = []
        for piece in answer.split(" "):
            try:
                self._selected.add(account_id(piece))
            except Refused:
                complaints.append(f' "{escape(piece)}" should be an (positive) number')
        await self._say([*complaints, f" current selected accounts: {account_list(self._selected)}"])
        return None

    async def _listen(self) -> None:
        if not self._selected:
            await self._say([" no account IDs selected"])
            return
        await self._interruptible(self._listen_to_end)
        if is_terminal(STDIN):
            await self._say([""])  # the line on which ^C stands

    async def _listen_to_end(self) -> None:
        from listener.listening import Listening, listen

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: listen(self._config, Listening(self._selected), announce_to=dialogue()))
            if is_terminal(STDIN):
                await wait_end_of_input()
                nursery.cancel_scope.cancel()

    async def _say(self, lines: list[str]) -> None:
        await write(lines, to=dialogue())

    async def _interruptible(self, action: Callable[[], Awaitable[T]]) -> T | Ended:
        """Run an action, and cancel it at Ctrl+C."""
        result: T | Ended = Ended.INTERRUPT
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_signal, self._interrupts, nursery.cancel_scope)
            result = await action()
            nursery.cancel_scope.cancel()
        return result
