"""The items of a bulk, however they come."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import Refused
from shared.events import DataTooLarge
from tracker.http.bulk_items import SPARE, Array, Lines, Parsed, item
from tracker.tracking import Item

LIMIT = 100

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
GOOD = st.fixed_dictionaries({"ID": st.integers(1, 2000), "Data": JSON})
SPACE = st.text(" \t\r", max_size=3)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """JSON on one line, most of it items."""
    value = draw(GOOD | JSON)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return (draw(SPACE) + text + draw(SPACE)).encode("utf-8", "surrogatepass")


def plain(parsed: list[Parsed]) -> list[Any]:
    """What can be compared."""
    return [each if isinstance(each, Item) else (type(each), str(each)) for each in parsed]


def all_lines(pieces: list[bytes], most: int = 7) -> list[Parsed]:
    lines, found = Lines(LIMIT), []
    for piece in pieces:
        lines.feed(piece)
        while lines.waiting:
            found += lines.take(most)
    lines.end()
    while lines.waiting:
        found += lines.take(most)
    return found


def all_items(body: bytes, most: int = 7) -> tuple[list[Parsed], str]:
    array, found = Array(body, LIMIT), []
    while not array.over:
        taken = array.take(most)
        assert len(taken) <= most
        found += taken
    return found, array.fault


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b'{"ID":7,"Data":"x"}', b'"x"'),
        (b' { "Data" : [ 1 , 2.50 , { "a" : 1e3 } ] , "ID" : 7 } \r', b'[1,2.50,{"a":1e3}]'),
        (b'{"ID":7,"Data":null}', b"null"),
        (b'{"ID":7,"Data":""}', b'""'),
        ('{"ID":7,"Data":"ä\\u00e4\\n"}'.encode(), '"ä\\u00e4\\n"'.encode()),
        (b'{"ID":7,"Data":123456789012345678901234567890}', b"123456789012345678901234567890"),
        (b'{"ID":7,"Data":"%b"}' % (b"a" * (LIMIT - 2)), b'"%b"' % (b"a" * (LIMIT - 2))),
        (b'{"ID":7,"Data":[%b]}' % (b" " * 2 * LIMIT), b"[]"),
    ],
)
def test_items(text: bytes, data: bytes) -> None:
    assert item(text, LIMIT) == Item(7, data)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "expected here"),
        (b"junk", "malformed"),
        (b"7", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `ID`"),
        (b'{"ID":7}', "missing required field `Data`"),
        (b'{"ID":"7","Data":1}', "Expected `int`"),
        (b'{"ID":7.0,"Data":1}', "Expected `int`"),
        (b'{"ID":true,"Data":1}', "Expected `int`"),
        (b'{"ID":0,"Data":1}', ">= 1"),
        (b'{"ID":-7,"Data":1}', ">= 1"),
        (b'{"ID":7,"Data":1,"Host":"h"}', "unknown field `Host`"),
        (b'{"ID":7,"Data":1}{"ID":7,"Data":1}', "trailing"),
        (b'{"ID":7,"Data":NaN}', "malformed"),
        (b'{"ID":7,"Data":1e999}', "out of range"),
        (b'{"ID":7,"Data":"\xff"}', "utf-8"),
        (b'{"ID":7,"Data":"\\ud800"}', ""),
        (b'{"ID":7,"Data":"a\x01b"}', "malformed"),
        (b'\xef\xbb\xbf{"ID":7,"Data":1}', "malformed"),
        (b'{"ID":7,"Data":%b}' % (b"[" * 190 + b"]" * 190), "380 bytes"),
    ],
)
def test_no_items(text: bytes, says: str) -> None:
    refused = item(text, LIMIT)
    assert isinstance(refused, Refused)
    assert says in str(refused)


def test_an_item_nested_too_deeply() -> None:
    refused = item(b'{"ID":7,"Data":%b}' % (b"[" * 20_000 + b"]" * 20_000), 1 << 20)
    assert type(refused) is Refused
    assert "nested too deeply" in str(refused)


def test_too_large() -> None:
    for text in (b'{"ID":7,"Data":"%b"}' % (b"a" * (LIMIT - 1)), b" " * (SPARE * LIMIT) + b'{"ID":7,"Data":1}'):
        assert isinstance(item(text, LIMIT), DataTooLarge)


@given(st.lists(texts()), st.lists(st.integers(0)), st.integers(1, 9), st.sampled_from([b"", b"\n", b"\r\n \n\n"]))
def test_lines_may_be_cut_anywhere(lines: list[bytes], places: list[int], most: int, end: bytes) -> None:
    body = b"\n".join(lines) + end
    expected = [item(line, LIMIT) for line in lines if line.strip()]
    assert plain(all_lines(cut(body, places), most)) == plain(expected)


@given(st.binary(), st.lists(st.integers(0)))
@example(b"\n" * 50, [3])
def test_whatever_comes_as_lines_is_an_item_or_a_refusal(body: bytes, places: list[int]) -> None:
    expected = [item(line, LIMIT) for line in body.split(b"\n") if line and not line.isspace()]
    assert plain(all_lines(cut(body, places))) == plain(expected)


def test_of_a_line_without_end_little_is_kept() -> None:
    lines = Lines(LIMIT)
    for _ in range(1000):
        lines.feed(b"x" * 1000)
        assert not lines.waiting
        assert len(lines._begun) <= SPARE * LIMIT + 1
    lines.feed(b'x\n{"ID":7,"Data":1}\n')
    long, after = lines.take(9)
    assert isinstance(long, DataTooLarge)
    assert after == Item(7, b"1")


@given(st.lists(texts().filter(lambda text: text.strip() != b"")), st.integers(1, 9), SPACE, SPACE)
def test_arrays(values: list[bytes], most: int, before: str, behind: str) -> None:
    body = before.encode() + b"[" + b",".join(values) + b"]" + behind.encode()
    found, fault = all_items(body, most)
    assert fault == ""
    assert plain(found) == plain([item(value, LIMIT) for value in values])


@given(st.lists(texts(), min_size=1), st.integers(0))
def test_of_a_broken_array_the_items_before_the_break_are_found(values: list[bytes], place: int) -> None:
    body = b"[" + b",".join(values) + b"]"
    whole = plain(all_items(body)[0])
    found, fault = all_items(body[: place % len(body)])
    assert fault
    assert plain(found) == whole[: len(found)]


@given(st.binary() | st.text('[]{},:" \\1x\n').map(str.encode), st.integers(1, 9))
def test_any_array_ends(body: bytes, most: int) -> None:
    found, fault = all_items(b"[" + body, most)
    try:
        parsed = json.loads(b"[" + body)
    except (ValueError, RecursionError):
        return
    assert fault == ""
    assert len(found) == len(parsed)


@pytest.mark.parametrize(
    ("body", "items", "fault"),
    [
        (b"", 0, "begins with ["),
        (b'{"ID":7,"Data":1}', 0, "begins with ["),
        (b"[", 0, "no end (byte 1)"),
        (b"[1", 0, "no end (byte 2)"),
        (b"[1,2", 1, "no end (byte 4)"),
        (b'[1,"2', 1, "a string has no end (byte 3)"),
        (b'[1,"\\"]', 1, "a string has no end (byte 3)"),
        (b"[1]]", 1, "more behind the array (byte 3)"),
        (b"[1] \n x", 1, "more behind the array (byte 6)"),
        (b"[]x", 0, "more behind the array (byte 2)"),
        (b"[1,2},3]", 1, "closes nothing (byte 4)"),
        (b'[1,{"a":2,3]', 1, "no end"),
        (b"[]", 0, ""),
        (b" \r\n[ \t] ", 0, ""),
        (b"[1,]", 2, ""),
        (b'[{"ID":7 "Data":1},{"ID":7,"Data":1}]', 2, ""),
        (b'[{"ID":7]},{"ID":7,"Data":1}]', 0, "closes nothing"),
    ],
)
def test_what_breaks_an_array(body: bytes, items: int, fault: str) -> None:
    found, said = all_items(body)
    assert len(found) == items
    assert fault in said if fault else said == ""


def test_steps_through_an_array_are_bounded() -> None:
    array = Array(b"[" * 100_000, LIMIT)
    steps = 0
    while not array.over:
        assert array.take(500) == []
        steps += 1
    assert steps >= 5
