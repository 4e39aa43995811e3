"""Recordings with known faults, held against a log: exactly these faults are found."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener import faults
from listener.comparison import Comparison
from listener.faults import Kind
from listener.recording import Reader, Recording
from listener.verdict import MOST_SHOWN, Verdict
from shared.frames import Frame, Gap, Ready, decode_event, encode

EPOCH = "abcdefabcdef"


@dataclass(frozen=True)
class One:
    """An event."""

    account: int
    seq: int
    number: int
    data: object = "text"
    epoch: str = EPOCH

    @property
    def line(self) -> bytes:
        said = {
            "ID": self.account,
            "Timestamp": "2021-02-06T17:35:30.000123Z",
            "Data": self.data,
            "Host": "h",
            "Position": f"{self.epoch}-0-{self.number}",
            "Seq": self.seq,
        }
        return json.dumps(said, separators=(",", ":")).encode()


def make_log(accounts: Iterable[int], epoch: str = EPOCH) -> list[One]:
    seqs: Counter[int] = Counter()
    log = []
    for number, account in enumerate(accounts, 1):
        seqs[account] += 1
        log.append(One(account, seqs[account], number, epoch=epoch))
    return log


def written(events: Iterable[One | Frame | bytes]) -> bytes:
    def line(item: One | Frame | bytes) -> bytes:
        if isinstance(item, One):
            return item.line
        return item if isinstance(item, bytes) else encode(item)

    return b"".join(line(item) + b"\n" for item in events)


def read(*files: bytes, accounts: frozenset[int] | None = None, most_digests: int = 1000) -> Recording:
    recording = Recording(accounts, most_digests)
    reader = Reader(recording)
    for number, file in enumerate(files):
        reader.read(io.BytesIO(file), f"file {number}")
    reader.end()
    return recording


def verify(
    log: Sequence[One | Gap],
    *files: bytes,
    accounts: frozenset[int] | None = None,
    every_account: bool = False,
    to_end: bool = False,
    strict: bool = False,
    most_digests: int = 1000,
) -> Verdict:
    recording = read(*files, accounts=accounts, most_digests=most_digests)
    newest = recording.newest_log
    comparison = None
    if newest is not None:
        wanted = None if every_account else accounts or frozenset(newest.records)
        comparison = Comparison(newest, wanted, to_end=to_end)
        frames = [decode_event(item.line) if isinstance(item, One) else item for item in log]
        for frame in [*frames, Ready(f"{EPOCH}-0-{len(frames)}")]:
            if not comparison.take(frame):
                break
    return Verdict(recording, comparison, files=len(files), strict=strict)


def found(verdict: Verdict) -> dict[Kind, list[tuple[int, int]]]:
    """Account and Seq of each event that has a fault; of unreadable lines, file and line."""
    by_kind: dict[Kind, list[tuple[int, int]]] = {}
    for kind, of_kind in verdict.faults.items():
        if kind is Kind.UNREADABLE:
            by_kind[kind] = [(0, line) for one in of_kind for line in range(one.line or 0, (one.to_line or 0) + 1)]
        else:
            by_kind[kind] = [
                (one.account_id or 0, seq) for one in of_kind for seq in range(one.from_seq or 0, (one.to_seq or 0) + 1)
            ]
        assert of_kind.events == sum(one.events for one in of_kind)
    return {kind: sorted(which) for kind, which in by_kind.items() if which}


@dataclass
class Damage:
    """A log, and a recording of it after something was done to some of its lines."""

    log: list[One]
    lines: list[One | bytes] = field(default_factory=list)
    missing: set[tuple[int, int]] = field(default_factory=set)
    altered: list[tuple[int, int]] = field(default_factory=list)


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    log = make_log(draw(st.lists(st.integers(1, 4), min_size=1, max_size=40)))
    damage = Damage(log)
    later: list[tuple[int, One]] = []
    for at, event in enumerate(log):
        inner = 0 < at < len(log) - 1  # the first and the last one tell from when to when the recording is
        what = draw(st.sampled_from(["keep"] * 6 + ["drop", "double", "late", "alter", "junk"] * inner))
        if what == "drop":
            damage.missing.add((event.account, event.seq))
        elif what == "alter":
            damage.lines.append(replace(event, data=draw(st.sampled_from([1, None, "Text", ["text"]]))))
            damage.altered.append((event.account, event.seq))
        elif what != "late":
            damage.lines.append(event)
        if what in ("late", "double"):
            later.append((at + draw(st.integers(0, 5)), event))
        if what == "junk":
            damage.lines.append(draw(st.sampled_from([b"junk", b"{", b"[1]", b"null", b'{"ID":1}', b"\xff", b'"\x1b'])))
        damage.lines += [event for when, event in later if when == at]
    damage.lines += [event for when, event in later if when >= len(log)]
    recorded = {one.account for one in damage.lines if isinstance(one, One)}
    damage.missing = {one for one in damage.missing if one[0] in recorded}
    return damage


def doubled_and_reordered(lines: Iterable[One | bytes]) -> dict[Kind, list[tuple[int, int]]]:
    """By definition."""
    seen: dict[int, set[int]] = {}
    by_kind: dict[Kind, list[tuple[int, int]]] = {Kind.DOUBLED: [], Kind.REORDERED: []}
    for one in lines:
        if isinstance(one, One):
            seqs = seen.setdefault(one.account, set())
            if one.seq in seqs:
                by_kind[Kind.DOUBLED].append((one.account, one.seq))
            elif one.seq < max(seqs, default=0):
                by_kind[Kind.REORDERED].append((one.account, one.seq))
            seqs.add(one.seq)
    return by_kind


def sorted_without_empty(by_kind: dict[Kind, list[tuple[int, int]]]) -> dict[Kind, list[tuple[int, int]]]:
    return {kind: sorted(which) for kind, which in by_kind.items() if which}


@given(damages(), st.integers(1, 50))
def test_exactly_the_faults_that_were_made(damage: Damage, cut: int) -> None:
    expected = doubled_and_reordered(damage.lines)
    expected[Kind.MISSING] = list(damage.missing)
    expected[Kind.ALTERED] = damage.altered
    expected[Kind.UNREADABLE] = [(0, at) for at, one in enumerate(damage.lines, 1) if isinstance(one, bytes)]
    verdict = verify(damage.log, written(damage.lines))
    assert found(verdict) == sorted_without_empty(expected)
    assert verdict.whole == (not any(expected.values()))
    assert verdict.recording.events == sum(isinstance(one, One) for one in damage.lines)


@given(damages(), st.data())
def test_a_log_that_lost_its_old_events_knows_less(damage: Damage, data: st.DataObject) -> None:
    """Holes and disorder are found as before; what the log has no longer can't be told to be altered."""
    trimmed = {account: data.draw(st.integers(0, 5)) for account in range(1, 5)}
    lasts = Counter(one.account for one in damage.log)
    gone = {account: min(count, lasts[account]) for account, count in trimmed.items() if lasts[account]}
    gaps = [
        Gap(account_id=account, from_seq=1, to_seq=to_seq, reason="trimmed")
        for account, to_seq in gone.items()
        if to_seq
    ]
    verdict = verify([*gaps, *(one for one in damage.log if one.seq > gone[one.account])], written(damage.lines))
    recorded: dict[int, list[int]] = {}
    for one in damage.lines:
        if isinstance(one, One):
            recorded.setdefault(one.account, []).append(one.seq)
    expected = doubled_and_reordered(damage.lines)
    expected[Kind.MISSING] = [
        (account, seq)
        for account, seq in damage.missing
        if seq > gone[account] or min(recorded[account]) < seq < max(recorded[account])
    ]
    expected[Kind.ALTERED] = [(account, seq) for account, seq in damage.altered if seq > gone[account]]
    expected[Kind.UNREADABLE] = found(verdict).get(Kind.UNREADABLE, [])
    assert found(verdict) == sorted_without_empty(expected)
    distinct = {(account, seq) for account, seqs in recorded.items() for seq in seqs}
    assert verdict.absent == sum(seq <= gone[account] for account, seq in distinct)


@given(damages(), st.lists(st.integers(0, 5000), max_size=3))
def test_files_cut_anywhere_are_one_recording(damage: Damage, cuts: list[int]) -> None:
    content = written(damage.lines)
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    files = [content[begin:end] for begin, end in itertools.pairwise(edges)]
    whole, pieces = found(verify(damage.log, content)), found(verify(damage.log, *files))
    for kind in (Kind.MISSING, Kind.ALTERED, Kind.DOUBLED, Kind.REORDERED):
        assert pieces.get(kind) == whole.get(kind)


@pytest.mark.parametrize("cuts", [[1, 2], [1, 2, 3], [40, 41, 80]])
def test_a_line_may_be_cut_more_than_once(cuts: list[int]) -> None:
    log = make_log([1, 1, 1])
    content = written(log)
    pieces = [content[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(content)])]
    assert verify(log, *pieces).whole
    assert found(verify(log, *pieces)) == {}


def test_a_cut_line_at_the_end_is_no_fault() -> None:
    log = make_log([1, 1, 1])
    verdict = verify(log, written(log)[:-30])
    assert verdict.whole
    assert verdict.recording.torn == [("file 0", 3)]
    assert verify(log, written(log)[:-1]).recording.torn_count == 0


def test_a_line_that_was_cut_before_a_whole_one() -> None:
    """As when a listener that was killed is started again with the same file."""
    log = make_log([1, 1, 1])
    for torn in (log[1].line[:1], log[1].line[:40], log[1].line[:-1], b'{"Frame":"re'):
        verdict = verify(log, log[0].line + b"\n" + torn + written(log[1:]))
        assert verdict.whole, list(verdict.lines(every=True))
        assert verdict.recording.torn == [("file 0", 2)]


def test_what_is_told_to_be_gone_is_apart() -> None:
    log = make_log([1] * 10)
    recorded = [log[0], Gap(account_id=1, from_seq=2, to_seq=4, reason="trimmed"), *log[4:7], *log[8:]]
    verdict = verify(log, written(recorded))
    assert found(verdict) == {Kind.TOLD: [(1, 2), (1, 3), (1, 4)], Kind.MISSING: [(1, 8)]}
    only_told = written([*recorded[:5], log[7], *log[8:]])
    assert verify(log, only_told).whole
    assert not verify(log, only_told, strict=True).whole


def test_a_gap_that_names_no_account() -> None:
    log = make_log([1, 2] * 5)
    recorded = [*log[:2], Gap(reason="trimmed"), log[4], *log[7:]]
    assert found(verify(log, written(recorded))) == {Kind.TOLD: [(1, 2), (2, 2), (2, 3)], Kind.MISSING: [(1, 4)]}


def test_what_the_log_has_elsewhere_counts_by_position() -> None:
    log = make_log([1, 2, 1, 2, 3, 2, 1, 2])
    recorded = written([log[1], log[2], log[6]])  # 1 has its second and third, 2 only its first
    assert found(verify(log, recorded)) == {Kind.MISSING: [(2, 2), (2, 3)]}
    assert found(verify(log, recorded, to_end=True)) == {Kind.MISSING: [(2, 2), (2, 3), (2, 4)]}
    assert found(verify(log, recorded, every_account=True)) == {Kind.MISSING: [(2, 2), (2, 3), (3, 1)]}
    assert found(verify(log, recorded, accounts=frozenset({1, 3}))) == {Kind.MISSING: [(3, 1)]}


def test_ready_frames_say_how_far_it_goes() -> None:
    log = make_log([1] * 6)
    begin, end = Ready(f"{EPOCH}-0-1"), Ready(f"{EPOCH}-0-5")
    assert found(verify(log, written([begin, *log[2:4]]))) == {Kind.MISSING: [(1, 2)]}
    assert found(verify(log, written([*log[2:4], end]))) == {Kind.MISSING: [(1, 5)]}
    assert verify(log, written([Ready("start-0-0"), *log])).whole


def test_a_log_that_began_anew() -> None:
    old, new = make_log([1, 1, 1]), make_log([1, 1, 1, 1], epoch="bbbbbbbbbbbb")
    anew = Gap(reason="epoch")
    told = [*old, anew, Gap(account_id=1, from_seq=1, to_seq=1, reason="trimmed"), *new[1:]]
    assert found(verify(new, written(told))) == {Kind.TOLD: [(1, 1)]}
    assert verify(new, written([old[0], old[2], anew, *new])).faults[Kind.MISSING].events == 1
    untold = found(verify(new, written([*old, *new])))
    assert untold == {Kind.FOREIGN: [(1, 1), (1, 2), (1, 3)]}
    assert found(verify(new, written([*old, anew, *new]), strict=True)) == untold


def test_a_recording_of_another_log() -> None:
    recorded = written(make_log([1, 2, 1], epoch="bbbbbbbbbbbb"))
    verdict = verify([Gap(reason="epoch"), *make_log([1, 1, 2, 2])], recorded)
    assert found(verdict) == {Kind.FOREIGN: [(1, 1), (1, 2), (2, 1)]}
    assert any("another one" in note for note in verdict.notes())


def test_what_the_log_never_gave() -> None:
    log = make_log([1, 1, 2])
    forged = [*log, One(1, 2**62, 3), One(9, 1, 2)]
    assert found(verify(log, written(forged))) == {Kind.FOREIGN: [(1, 2**62), (9, 1)]}
    unknown = [Gap(reason="trimmed"), *log]  # of 9 it may have had something
    assert found(verify(unknown, written(forged))) == {Kind.FOREIGN: [(1, 2**62)]}


@pytest.mark.parametrize(
    "line",
    [
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"of the Go system [h]"}',
        One(0, 1, 1).line,
        One(1, 0, 1).line,
        One(1, 2**63, 1).line,
        One(2**70, 1, 1).line,
        One(1, 1, 1, epoch="start").line,
        One(1, 1, 1, epoch="x").line,
        b'{"Frame":"ready","Position":"x"}',
        b'{"Frame":"unheard-of"}',
        b'{"Frame":',
        b"x" * 100_000,
    ],
)
def test_lines_that_are_no_events(line: bytes) -> None:
    log = make_log([1, 1])
    verdict = verify(log, written([log[0], line, log[1], b"", b"  \r"]))
    assert found(verdict) == {Kind.UNREADABLE: [(0, 2)]}


def test_every_frame_that_is_no_event() -> None:
    log = make_log([1, 1])
    others = [b'{"Frame":"lagging","Behind":3}', b'{"Frame":"error","ID":3,"Detail":"no"}', b"", b"\r"]
    bye = b'{"Frame":"bye","Reason":"shutdown","Retry":true}'
    assert verify(log, written([log[0], *others, bye, log[1]])).whole


def test_of_long_recordings_the_newest_are_compared() -> None:
    log = make_log([1, 2] * 500)
    altered = [replace(one, data="other") for one in log]
    verdict = verify(log, written(altered), most_digests=100)
    checked = verdict.faults[Kind.ALTERED].events
    assert verdict.comparison is not None
    assert verdict.comparison.unchecked + checked == 1000
    assert 50 <= checked <= 100
    assert {seq for _, seq in found(verdict)[Kind.ALTERED]} == set(range(501 - checked // 2, 501))
    assert any("not checked" in note for note in verdict.notes())


def test_as_people_read_it() -> None:
    log = make_log([7] * 30)
    recorded = [
        *log[:4],
        *log[6:8],
        log[8],
        log[8],
        log[8],
        log[10],
        log[9],
        *log[11:20],
        *log[15:30],
        b"\x1b[31m",
        b"x",
    ]
    recorded[2] = replace(log[2], data="other")
    verdict = verify(log, written(recorded))
    assert list(verdict.lines(every=False)) == [
        "account 7: missing 5 to 6 (2 events)",
        "account 7: altered 3",
        "lines 36 to 37: no event (JSON is malformed: invalid character (byte 0))",
        "account 7: doubled 9 (2 more, line 8)",
        "account 7: doubled 16 to 20 (5 more, line 21)",
        "account 7: reordered 10 after 11 (line 11)",
        "1 account, 35 events, 2 missing, 7 doubled, 1 reordered, 1 altered, 2 unreadable",
    ]
    assert "file 1 line 1: no event" in "\n".join(verify(log, written(log), b"\x1b\n").lines(every=False))


def test_long_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    log = make_log([1] * 401)
    verdict = verify(log, written(log[::2]))
    few, every = list(verdict.lines(every=False)), list(verdict.lines(every=True))
    assert (len(few), few[-2]) == (MOST_SHOWN + 2, "… and 150 more missing (--all lists them)")
    assert len(every) == 201
    assert json.loads(verdict.json(every=False))["Unlisted"] == 150
    monkeypatch.setattr(faults, "MOST_KEPT", 60)
    few = list(verify(log, written(log[::2])).lines(every=True))
    assert few[-2:] == ["… and 140 more missing", few[-1]]
    assert "200 missing" in few[-1]


def test_nothing_recorded() -> None:
    for content in (b"", b"\n\n"):
        verdict = verify([], content)
        assert verdict.whole
        assert "nothing to hold against" in next(verdict.notes())
