"""A bulk of events on its way: from items to the log, and from what became of them to what the client is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from shared.appending import Appended
from shared.errors import OutcomeUnknown, TrackerError, Unavailable
from shared.log import PART
from tracker import metrics
from tracker.http import problems
from tracker.http.bulk_items import Parsed
from tracker.tracking import Item, Tracking

LOT = 1000
"""How many items are committed together."""
LOT_BYTES = 1 << 20
"""How many bytes of data these may have, but for the last of them."""

Outcome = Appended | TrackerError

_NOT_TRIED = Unavailable(PART, "the items before did not get in")


class Bulk:
    """The items of one request."""

    def __init__(self, tracking: Tracking, key: str) -> None:
        """`key` is the request's idempotency key, or ''."""
        self._tracking = tracking
        self._key = key
        self._number = 0

    async def commit(self, parsed: Sequence[Parsed]) -> list[Outcome]:
        """Commit the next items, a lot at most; return what became of each. What was refused is counted."""
        items = [each for each in parsed if isinstance(each, Item)]
        if self._key:
            items = self._with_keys(parsed)
        self._number += len(parsed)
        accepted = iter(await self._tracking.accept_many(items))
        return _counted([next(accepted) if isinstance(each, Item) else each for each in parsed])

    async def commit_all(self, parsed: Sequence[Parsed]) -> list[Outcome]:
        """Commit items, lot by lot. If nothing of a lot gets in, the others are not tried: each could take as long."""
        outcomes: list[Outcome] = []
        tried: list[Outcome] = []
        for lot in _lots(parsed):
            if _in_vain(tried):
                outcomes += _counted([_NOT_TRIED if isinstance(each, Item) else each for each in lot])
            else:
                tried = await self.commit(lot)
                outcomes += tried
        return outcomes

    def _with_keys(self, parsed: Sequence[Parsed]) -> list[Item]:
        # No key that a client can give has an end of line.
        return [
            Item(each.account_id, each.data, f"{self._key}\n{number}")
            for number, each in enumerate(parsed, self._number)
            if isinstance(each, Item)
        ]


def size(parsed: Parsed) -> int:
    """How many bytes an item keeps in memory, roughly."""
    return len(parsed.data) if isinstance(parsed, Item) else 0


def _counted(outcomes: list[Outcome]) -> list[Outcome]:
    for outcome in outcomes:
        if isinstance(outcome, TrackerError):
            metrics.refused(outcome)
    return outcomes


def _lots(parsed: Sequence[Parsed]) -> Iterator[Sequence[Parsed]]:
    begin = held = 0
    for end, each in enumerate(parsed):
        if end - begin == LOT or held >= LOT_BYTES:
            yield parsed[begin:end]
            begin, held = end, 0
        held += size(each)
    if begin < len(parsed):
        yield parsed[begin:]


def _in_vain(outcomes: Iterable[Outcome]) -> bool:
    """Whether no event got in, for a reason that is not the client's."""
    own = [outcome for outcome in outcomes if isinstance(outcome, (Appended, Unavailable, OutcomeUnknown))]
    return bool(own) and not any(isinstance(outcome, Appended) for outcome in own)


def result(outcome: Outcome) -> bytes:
    """What a client is told of an item: where its event stands, or a problem document."""
    if isinstance(outcome, Appended):
        return b'{"Position":"%b","Seq":%d}' % (outcome.position.encode(), outcome.seq)
    return problems.of_error(outcome).body()
