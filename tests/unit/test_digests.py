"""What counts as the same event, and how much of that is remembered."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.digests import Digests, digest
from listener.formats import json_line

EVENT = b'{"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":%s,"Host":"h","Position":"abcdefabcdef-0-1","Seq":1}'


@given(st.text())
def test_a_terminal_changes_nothing(text: str) -> None:
    line = EVENT % msgspec.json.encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    assert digest(json_line(line, safe=True)) == digest(line)
    assert digest(json.dumps(json.loads(line), sort_keys=True, indent=1).encode()) == digest(line)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"2"),
        (b"1.10", b"1.1"),
        (b"1.5", b'"1.5"'),
        (b"123456789012345678901234567890", b"123456789012345678901234567891"),
        (b"0.12345678901234567890", b"0.12345678901234567891"),
        (b'"a"', b'"A"'),
        (b"[1,2]", b"[2,1]"),
        (b'{"a":1}', b'{"a":1,"b":1}'),
        (b"null", b"false"),
    ],
)
def test_other_data_are_another_event(one: bytes, other: bytes) -> None:
    assert digest(EVENT % one) != digest(EVENT % other)


def test_nested_too_deeply_to_tell() -> None:
    assert digest(EVENT % (b"[" * 5000 + b"]" * 5000)) is None


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(-(2**63), 2**63 - 1))), st.integers(0, 30))
def test_the_newest_by_seq(given: list[tuple[int, int]], count: int) -> None:
    digests = Digests()
    for seq, one in given:
        digests.add(seq, one)
    assert digests.keep_newest(count) == max(len(given) - count, 0)
    kept = given[max(len(given) - count, 0) :]
    assert len(digests) == len(kept)
    for seq in range(1, 22):
        assert sorted(digests.of(seq)) == sorted(one for of, one in kept if of == seq)
