"""What the commands of the prompt do. Each gets what stands behind its name, and most ask for it if that is nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

import trio

from listener.config import Config
from listener.conversation import Conversation
from listener.output import escape
from listener.prompt_completion import AccountCompletion, words
from listener.selection import Selection, no_number
from listener.settings import Following, Showing
from listener.status import Status, Stop
from listener.terminal import Choice, Ended, dialogue, tell, wait_end_of_input
from shared.errors import Misconfigured, Refused, first_leaf

PLACES = words({"all": "everything that the log has", "now": "only what comes from now on"})
ON_OFF = words({"on": "as JSON", "off": "as text"})


class Actions:
    """The commands, and what was chosen with them so far."""

    def __init__(self, config: Config, talk: Conversation) -> None:
        self._config = config
        self._talk = talk
        self._selection = Selection()
        self._since: str | None = None
        self._json = False
        self.accounts = AccountCompletion(config, self._selection)

    async def add(self, given: str) -> None:
        """Select accounts."""
        pieces = given.split()
        if not pieces:
            await self._talk.say(f" already selected accounts: {self._selection}", " input space separated account IDs")
            pieces = (await self._talk.ask("accounts >", self.accounts.any)).split(" ")
        complaints = self._selection.add(pieces)
        await self._talk.say(*complaints, f" current selected accounts: {self._selection}")

    async def remove(self, given: str) -> None:
        """Take accounts out of the selection."""
        if not given:
            await self._talk.say(
                f" already selected accounts: {self._selection}", " input space separated account IDs to take out"
            )
            given = await self._talk.ask("remove >", self.accounts.selected)
        complaints = self._selection.remove(given.split())
        await self._talk.say(*complaints, f" current selected accounts: {self._selection}")

    async def watch(self, _: str) -> None:
        """Show the events of the selected accounts until Ctrl+C, or Ctrl+D at a terminal."""
        if self._selection.accounts == set():
            await self._talk.say(" no account IDs selected")
            return
        try:
            await self._talk.interruptible(self._follow_until_left)
        except BaseExceptionGroup as group:
            refusals, others = group.split(_is_refusal)
            if refusals is None or others is not None or not self._talk.with_person:
                raise  # where nobody reads it, the exit code has to tell
            await self._talk.say(f" {escape(str(first_leaf(refusals)))}")
        else:
            await self._talk.end_line()

    async def since(self, given: str) -> None:
        """Set where events begin."""
        from shared.position import parse_since

        if not given:
            await self._talk.say(self._shown_since(), " input a duration (10m), a time, a Position, all, or now")
            given = await self._talk.ask("since >", PLACES)
        given = given.strip()
        try:
            if given not in ("now", "off"):
                parse_since(given, datetime.now(UTC))
            self._since = None if given in ("now", "off") else given
        except Refused as error:
            await self._talk.say(f" {escape(str(error))}")
        await self._talk.say(self._shown_since())

    def _shown_since(self) -> str:
        return f" events are shown since: {self._since or 'now'}"

    async def json(self, given: str) -> None:
        """Show events as JSON, or as text; without an argument, as what they are not."""
        match given.split():
            case []:
                self._json = not self._json
            case ["on" | "off" as wanted]:
                self._json = wanted == "on"
            case _:
                await self._talk.say(f' "{escape(given)}" should be on or off')
        await self._talk.say(f" events are shown as: {'JSON' if self._json else 'text'}")

    async def send(self, given: str) -> None:
        """Send an event."""
        from shared.events import account_id

        if not given:
            await self._talk.say(" input an account ID")
            given = (await self._talk.ask("send >", self.receiver)).lstrip(" ")
        receiver, _, data = given.partition(" ")
        try:
            account = account_id(receiver)
        except Refused:
            await self._talk.say(no_number(receiver))
            return
        if not data:
            await self._talk.say(f" input the data for account {account}")
            data = await self._talk.ask("data >")
        if not data:
            await self._talk.say(" no data to send")
            return
        said = await self._talk.interruptible(lambda: self._deliver(account, data.encode(errors="surrogateescape")))
        if isinstance(said, Ended):
            await self._talk.end_line()
            said = "interrupted: the tracker may have accepted it, or not"
        await self._talk.say(f" {said}")

    def receiver(self, before: str) -> Sequence[Choice] | Awaitable[Sequence[Choice]]:
        """What TAB offers for the arguments of `send`: accounts for the first."""
        return () if " " in before else self.accounts.any(before)

    async def _follow_until_left(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            if self._talk.with_person:
                await wait_end_of_input()
                nursery.cancel_scope.cancel()

    async def _follow(self) -> None:
        from listener.listening import Listening, listen

        showing = Showing(format="json" if self._json else "text", color="never", status=False)
        job = Listening(self._selection.accounts, Following(since=self._since), showing=showing)
        await listen(self._config, job, announce_to=dialogue())

    async def _deliver(self, account: int, data: bytes) -> str:
        """Send an event, again while the tracker is away. Returns what became of it."""
        from uuid import uuid4

        from listener.sending import send_event
        from listener.tracker import open_tracker, patiently

        key = uuid4().hex
        try:
            async with open_tracker(self._config) as tracker:
                position = await patiently(
                    tracker.part, lambda: send_event(tracker, account, data, key), self._config.give_up, tell
                )
        except (Refused, Misconfigured, Stop) as error:
            return escape(str(error))
        return f"accepted at: {escape(position)}"


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, Stop):
        return error.status in (Status.REFUSED, Status.USAGE)
    return isinstance(error, Refused | Misconfigured)
