"""How a batch of events gets into the log: the arguments of `append.lua`, its answer, and a connection of its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import msgspec
import trio

from shared.errors import OutcomeUnknown, Unavailable
from shared.events import Draft
from shared.position import Position
from shared.reading import META
from shared.redis_client import RedisRefused
from shared.redis_wire import RedisWire, open_wire

REMEMBER = 600
"""For how many seconds an idempotency key counts."""

_SCRIPT = files("shared").joinpath("append.lua").read_text()


class Appended(msgspec.Struct, frozen=True):
    """Where an event stands in the log."""

    position: str
    seq: int


@dataclass(frozen=True)
class Answer:
    """What became of a batch."""

    furthest: Position
    """The last Position that it names; number 0 if it names none."""
    repaired: int
    """How many foreign entries and keys stood in its way."""
    outcomes: list[Appended | Unavailable]
    """In the order of the drafts."""


class Appender:
    """Appends batches, for any task of this process while its service `run` is up."""

    def __init__(
        self, url: str, part: str, host: str, *, keep: int, expire: int, keep_index: int, go_channel: str
    ) -> None:
        """`part` names the connection in errors; the rest is as the script takes it."""
        self._url = url
        self._part = part
        sender = secrets.token_hex(8)
        self._settings = (msgspec.json.encode(host), keep, expire, keep_index, go_channel, sender)
        self._wire: RedisWire | None = None
        self._sha = b""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: hold the connection; ready when Redis has the script. Raises Unavailable when it is lost."""
        async with open_wire(self._url, self._part) as wire:
            self._sha = await wire.ask("SCRIPT", "LOAD", _SCRIPT)
            self._wire = wire
            try:
                task_status.started()
                await wire.keep()
            finally:
                self._wire = None

    async def append(self, batch: Sequence[Draft], number: int, seen: Position) -> Answer:
        """Commit a batch by one script call; `seen` is the furthest Position that is known here.

        Raises Unavailable if certainly nothing was appended by this call, and OutcomeUnknown if no answer came.
        """
        if (wire := self._wire) is None:
            raise Unavailable(self._part, "not connected")
        arguments: list[bytes | str | int] = [1, META, 0, secrets.token_hex(6), *self._settings, number, REMEMBER]
        arguments += [seen.epoch, seen.number]
        for draft in batch:
            arguments += (draft.account_id, draft.head, _digest(draft.key))
        try:
            answer = await wire.call("EVALSHA", self._sha, *arguments)
        except RedisRefused as error:
            if not error.reason.startswith("NOSCRIPT"):
                raise
            answer = await wire.call("EVAL", _SCRIPT, *arguments)
        if not _fits(answer, len(batch)):
            wire.give_up("its answers do not fit what was asked")
            raise OutcomeUnknown(self._part, "an answer that does not fit what was asked")
        epoch, repaired, *places = answer
        return self._read(epoch.decode(errors="replace"), repaired, places)

    def _read(self, epoch: str, repaired: int, places: list[Any]) -> Answer:
        before_number = str(Position(epoch, 0, 0))[:-1]
        furthest = 0
        outcomes: list[Appended | Unavailable] = []
        numbers = iter(places)
        for at, seq in zip(numbers, numbers, strict=True):
            if isinstance(at, bytes):
                outcomes.append(Unavailable(self._part, at.decode(errors="replace")))
                continue
            outcomes.append(Appended(f"{before_number}{at}", seq))
            if at > furthest:
                furthest = at
        return Answer(Position(epoch, 0, furthest), repaired, outcomes)


def _digest(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest() if key else ""


def _fits(answer: Any, events: int) -> bool:
    if not isinstance(answer, list) or len(answer) != 2 + 2 * events:
        return False
    if not isinstance(answer[0], bytes) or not isinstance(answer[1], int):
        return False
    return set(map(type, answer[2::2])) <= {int, bytes} and set(map(type, answer[3::2])) <= {int}
