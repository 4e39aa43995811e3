"""An event's data, from what a client sent."""

from __future__ import annotations

import contextlib
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from shared.errors import Refused
from shared.events import DataTooLarge
from tracker.http.intake import event_data, idempotency_key

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@given(TEXT)
def test_every_text_arrives_as_it_is(text: str) -> None:
    as_json = json.encode(text)
    assert json.decode(as_json) == text
    assert b"\n" not in as_json
    for query in (quote(text, safe=""), quote_plus(text)):
        assert event_data(f"a=b&data={query}&c".encode(), "", b"", 1 << 20) == as_json
    for content_type in ("", "text/plain", "Text/Plain ; charset=utf-8"):
        assert event_data(b"", content_type, text.encode(), 1 << 20) == as_json


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
        max_leaves=20,
    )
)
def test_every_json_value_arrives_as_it_is(value: object) -> None:
    spaced = json.format(json.encode(value), indent=3)
    assert event_data(b"", "application/json", spaced, 1 << 20) == json.encode(value)


@given(st.binary(), st.sampled_from(["", "text/plain", "application/json", "x"]), st.binary())
def test_whatever_comes_is_taken_or_refused(query: bytes, content_type: str, body: bytes) -> None:
    for search in (query, b"data=" + query):
        with contextlib.suppress(Refused):
            data = event_data(search, content_type, body, 1000)
            json.decode(data)
            assert b"\n" not in data
            assert len(data) <= 1000


@pytest.mark.parametrize(("size", "fits"), [(98, True), (99, False)])
def test_the_limit_is_on_the_encoded_size(size: int, fits: bool) -> None:
    text = b"a" * size
    for query, content_type, body in (
        (b"data=" + text, "", b""),
        (b"", "", text),
        (b"", "application/json", b' "%b" ' % text),
    ):
        if fits:
            assert event_data(query, content_type, body, 100) == b'"%b"' % text
        else:
            with pytest.raises(DataTooLarge, match="takes 101 bytes as JSON; an event carries at most 100"):
                event_data(query, content_type, body, 100)


PIECES = st.sampled_from(["%", "a", "0", "C3", "%A4", "%C3%A4", "%2B", "%26", "+", "=", ";", "data=", "%ED%A0%80", "?"])


@given(st.lists(PIECES))
def test_one_piece_of_data_is_read_as_one_among_others(pieces: list[str]) -> None:
    query = "data=" + "".join(pieces)
    read = []
    for whole in (query, query + "&", "a=b&" + query):
        try:
            read.append(event_data(whole.encode(), "", b"", 1 << 20))
        except Refused as refused:
            read.append(str(refused).encode())
    assert read[0] == read[1] == read[2]


def test_a_key_that_only_looks_like_data() -> None:
    for query in (b"mydata=x", b"data%20=x", b"a=data"):
        with pytest.raises(Refused, match="There is no data"):
            event_data(query, "", b"", 100)
    assert event_data(b"dat%61=x", "", b"", 100) == b'"x"'


def test_what_is_refused_is_said_briefly() -> None:
    with pytest.raises(Refused) as refused:
        event_data(b"", "a" * 100_000, b"x", 100)
    assert len(str(refused.value)) < 300


def test_idempotency_keys() -> None:
    assert idempotency_key([]) == ""
    for key in ("k", "8e03978e-40d5-43e8-bc93-6894a57f9324", '"quoted key"', "x" * 255):
        assert idempotency_key([key]) == key
    for values in ([""], [" "], ["x" * 256], ["a", "b"], ["a\tb"], ["é"], ["a "]):
        with pytest.raises(Refused, match="1 to 255 visible ASCII"):
            idempotency_key(values)
