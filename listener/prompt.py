"""The interactive menu: choose accounts, watch their events, send some."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import trio

from listener.config import Config
from listener.conversation import Conversation, NoLine
from listener.output import escape
from listener.prompt_commands import ON_OFF, PLACES, Actions
from listener.prompt_completion import words
from listener.settings import Prompting
from listener.signals import cancel_at_signal
from listener.terminal import Choice, Complete, Ended

OPTIONS = "options: [accounts events]"
"""What the Go cli says before it asks. It names no more here, because scripts wait for it: `help` does."""

HINT = ' "help" tells what there is'

KEYS = {
    "Ctrl+C, Ctrl+D": "leave; while events are shown: come back here",
    "TAB": "complete a command, or an account by its ID or name",
    "Ctrl+R": "search in what was typed",
}

MANUAL = " All of it is in docs/listener.md."


async def run(config: Config, prompting: Prompting) -> None:
    """Hold the dialogue until Ctrl+C or the end of the input at a prompt, or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT) as interrupts, trio.open_signal_receiver(signal.SIGTERM) as ends:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_signal, ends, nursery.cancel_scope)
            await Dialogue(config, Conversation(interrupts, prompting.history)).run()
            nursery.cancel_scope.cancel()


class Command(NamedTuple):
    """A command of the prompt."""

    name: str
    arguments: str
    """What may stand behind the name, as `help` shows it. Empty: nothing may."""
    about: str
    run: Callable[[str], Awaitable[None]]
    """Gets what stands behind the name."""
    complete: Complete | None = None
    """Offers how to go on behind the name."""


class Dialogue:
    """One session at the prompt."""

    def __init__(self, config: Config, talk: Conversation) -> None:
        self._config = config
        self._talk = talk
        self._commands = {command.name: command for command in self._table()}

    def _table(self) -> Iterator[Command]:
        do = Actions(self._config, self._talk)
        yield Command("accounts", "[ID...]", "select accounts: 7, 1-20, all", do.add, do.accounts.any)
        yield Command("remove", "[ID...]", "take accounts out of the selection", do.remove, do.accounts.selected)
        yield Command("events", "", "show the events of the selected accounts", do.watch)
        yield Command("since", "[WHEN]", "show events since 10m ago, a time, a Position, all, now", do.since, PLACES)
        yield Command("json", "[on|off]", "show events as JSON, or as text", do.json, ON_OFF)
        yield Command("send", "[ID DATA]", "send an event to an account", do.send, do.receiver)
        yield Command("help", "", "show this", self._help)

    async def run(self) -> None:
        """Ask for commands until the person leaves."""
        await self._talk.say(f"Connecting to {escape(self._config.address)}", OPTIONS)
        await self._talk.hint(HINT)
        with suppress(NoLine):
            while True:
                await self._do(await self._talk.ask(">", self._complete))
                await self._talk.say(OPTIONS)
        await self._talk.say("Goodbye!")

    async def _do(self, line: str) -> None:
        name, _, given = line.partition(" ")
        given = given.lstrip(" ")
        command = self._commands.get(name)
        if command is None or (given and not command.arguments):
            await self._talk.say(f"unrecognized command: {escape(line)}")
            await self._talk.hint(self._suggestion(line))
            return
        try:
            await command.run(given)
        except NoLine as error:
            if error.why is Ended.END:
                raise

    def _suggestion(self, line: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(line.lower().strip().partition(" ")[0], self._commands, n=1)
        return f' did you mean "{close[0]}"?' if close else HINT

    async def _help(self, _: str) -> None:
        commands = {f"{command.name} {command.arguments}": command.about for command in self._commands.values()}
        await self._talk.say(*(f" {title:18}{about}" for title, about in (commands | KEYS).items()), MANUAL)

    def _complete(self, before: str) -> Sequence[Choice] | Awaitable[Sequence[Choice]]:
        name, space, given = before.partition(" ")
        if not space:
            return words({command.name: command.about for command in self._commands.values()})(before)
        command = self._commands.get(name)
        return command.complete(given.lstrip(" ")) if command and command.complete else ()
