"""What became of every event, by the log, by what its writer was told, and by what each follower was shown."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import redis

from tests.faults.records import Place, Record, Seen
from tests.faults.writers import Writers

MAY_REPEAT = 0.2
"""Seconds. What a listener wrote in this time before it was killed may come again: so often it saves its position."""


@dataclass
class Verdict:
    """What is wrong, each a line for people. `repeated` are those that a killed listener may write again."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)
    repeated: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.otherwise)


def read_log(url: str) -> list[Seen]:
    """All events of the log, in order of Position."""
    events = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match="{events:0}:*", count=10_000, _type="stream"):
            account = key.decode().rpartition(":")[2]
            if account.isdigit():
                events += [Seen.of(json.loads(fields[b"event"])) for _, fields in client.xrange(key)]
    return sorted(events, key=lambda seen: seen.place.number)


def judge(log: list[Seen], writers: Writers, records: Iterable[Record], *, emptied: bool) -> Verdict:
    """`emptied`: the log was lost once, and everyone had to be told."""
    verdict = Verdict(otherwise=[*writers.complaints])
    epochs = {seen.place.epoch for seen in log}
    if len(epochs) != 1:
        verdict.otherwise.append(f"the log has events of {len(epochs)} epochs: {epochs}")
    _judge_log(log, verdict)
    _judge_answers(log, writers, verdict, emptied=emptied)
    for record in records:
        verdict.otherwise += record.complaints
        _judge_order(record, verdict)
        _judge_completeness(log, record, verdict, emptied=emptied)
    return verdict


def _judge_log(log: list[Seen], verdict: Verdict) -> None:
    by_name: dict[str, list[Seen]] = defaultdict(list)
    last: Counter[int] = Counter()
    numbers: set[int] = set()
    for seen in log:
        by_name[seen.name].append(seen)
        if seen.seq != last[seen.account] + 1:
            verdict.otherwise.append(f"the log: {seen} comes after Seq {last[seen.account]}")
        if seen.place.number in numbers:
            verdict.otherwise.append(f"the log: {seen} has the Position of another event")
        last[seen.account] = seen.seq
        numbers.add(seen.place.number)
    for same in by_name.values():
        verdict.doubled += [f"in the log twice: {same[0]} is there as {again}" for again in same[1:]]


def _judge_answers(log: list[Seen], writers: Writers, verdict: Verdict, *, emptied: bool) -> None:
    logged = {seen.name: seen for seen in reversed(log)}
    epoch = log[0].place.epoch if log else None
    for name, sent in writers.sent.items():
        found = logged.get(name)
        if sent.outcome == "accepted":
            place = Place.of(sent.position)
            if place.epoch != epoch:
                if not emptied:
                    verdict.lost.append(f"accepted and not in the log: {name} at {sent.position}, of another epoch")
            elif found is None:
                verdict.lost.append(f"accepted and not in the log: {name} at {sent.position}")
            elif (found.place, found.account) != (place, sent.account):
                verdict.otherwise.append(f"accepted for account {sent.account} at {sent.position}: {found}")
        elif sent.outcome == "refused" and found is not None:
            verdict.otherwise.append(f"refused and in the log: {found}")
        elif sent.outcome == "under way":
            verdict.otherwise.append(f"never answered: {name}")
        if name.startswith("keyed") and sent.outcome != "accepted":
            verdict.otherwise.append(f"tried with its key to the end, and never accepted: {name} ({sent.outcome})")


def _judge_order(record: Record, verdict: Verdict) -> None:
    """Positions ascend, Seqs ascend, an epoch that is over does not come back."""
    shown: dict[str, dict[int, Seen]] = {}
    seqs: Counter[tuple[str, int]] = Counter()
    newest: Seen | None = None
    for seen in record.events:
        epoch, number = seen.place.epoch, seen.place.number
        of_epoch = shown.setdefault(epoch, {})
        if first := of_epoch.get(number):
            if _may_repeat(record, first, seen):
                verdict.repeated += 1
            else:
                verdict.doubled.append(f"shown to {record.name} twice, after {seen.at - first.at:.3f} s: {seen}")
            continue
        last = seqs[epoch, seen.account]
        if newest and (number < newest.place.number if epoch == newest.place.epoch else of_epoch):
            verdict.disordered.append(f"shown to {record.name}: {seen} after {newest}")
        elif seen.seq <= last:
            verdict.disordered.append(f"shown to {record.name}: {seen} after Seq {last}")
        of_epoch[number] = newest = seen
        seqs[epoch, seen.account] = max(seen.seq, last)


def _may_repeat(record: Record, first: Seen, again: Seen) -> bool:
    """Whether it was killed in between, just after the first time."""
    return any(first.at >= death - MAY_REPEAT and again.at > death for death in record.deaths)


def _judge_completeness(log: list[Seen], record: Record, verdict: Verdict, *, emptied: bool) -> None:
    epoch = log[0].place.epoch if log else None
    shown = {seen.place.number: seen for seen in record.events if seen.place.epoch == epoch}
    for seen in log:
        if record.accounts is not None and seen.account not in record.accounts:
            continue
        found = shown.pop(seen.place.number, None)
        if found is None:
            verdict.lost.append(f"not shown to {record.name}: {seen}")
        elif (found.account, found.seq, found.name) != (seen.account, seen.seq, seen.name):
            verdict.otherwise.append(f"shown to {record.name}: {found}, which is {seen} in the log")
    verdict.lost += _holes(record, epoch)
    verdict.otherwise += [f"shown to {record.name} and not in the log: {seen}" for seen in shown.values()]
    verdict.otherwise += [f"{record.name} was told of a gap that is none: {gap}" for gap in record.gaps]
    if record.epochs_told < emptied:
        verdict.lost.append(f"{record.name} was not told that the log began anew")
    elif record.epochs_told > emptied:
        verdict.otherwise.append(f"{record.name} was told {record.epochs_told} times that the log began anew")


def _holes(record: Record, epoch: str | None) -> list[str]:
    """What is missing between the events shown of logs that are no more."""
    seqs: dict[tuple[str, int], set[int]] = defaultdict(set)
    for seen in record.events:
        if seen.place.epoch != epoch:
            seqs[seen.place.epoch, seen.account].add(seen.seq)
    return [
        f"not shown to {record.name}: Seq {seq} of account {account} in the log {old}"
        for (old, account), shown in seqs.items()
        for seq in sorted(set(range(1, max(shown))) - shown)
    ]
