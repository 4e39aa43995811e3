"""The event's bytes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import events
from shared.errors import Refused


def test_the_head_of_an_event_has_its_keys_in_order() -> None:
    draft = events.draft(7, b'"x"', 1_612_632_930_000_123_999)
    assert draft.head == b'{"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":"x"'


@given(st.integers(0, 4_102_444_800_000_000_000))
def test_timestamps(now_ns: int) -> None:
    head = events.draft(1, b"1", now_ns).head.decode()
    found = re.search(r'"Timestamp":"(.{19}\.\d{6}Z)"', head)
    assert found
    seconds = now_ns // 1_000_000_000
    parsed = datetime.fromisoformat(found[1])
    assert parsed == datetime.fromtimestamp(seconds, UTC).replace(microsecond=now_ns // 1000 % 1_000_000)


def test_an_event_is_read_back() -> None:
    line = events.draft(7, b'{"a":[1]}', 0).head + b',"Host":"h","Position":"e-0-1","Seq":42}'
    event = events.decode(line)
    assert (event.id, event.data, event.host, event.position, event.seq) == (7, {"a": [1]}, "h", "e-0-1", 42)
    for bad in (b"", b"{}", b"[]", line[:-1], b"\xff"):
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            events.decode(bad)


@given(st.integers(1, 10**399))
def test_account_ids(number: int) -> None:
    assert events.account_id(str(number)) == number
    assert events.account_id(f"0{number}"[:400]) in (number, number // 10)


@given(st.text())
def test_what_is_no_account_id_is_refused(text: str) -> None:
    if re.fullmatch(r"0*[1-9][0-9]*", text, re.ASCII):
        return
    with pytest.raises(Refused) as refused:
        events.account_id(text)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isprintable()


def test_numbers_keep_their_digits() -> None:
    for number in (b"1.10", b"1e5", b"-0", b"12345678901234567890123456789", b"0.30000000000000000004"):
        assert events.encode_json(b" " + number + b"\n") == number
