"""An event's fields, and what is no event."""

from __future__ import annotations

import pytest

from listener.decoded import decode
from listener.output import NoEvent


def test_what_an_event_says() -> None:
    event = decode(
        b'{"ID":7,"Timestamp":"2021-02-06T17:35:30Z","Data":{ "a": 1.10 },"Host":"h","Position":"p","Seq":42,"More":[]}'
    )
    assert (event.id, event.timestamp, event.host, event.position, event.seq) == (
        7,
        "2021-02-06T17:35:30Z",
        "h",
        "p",
        42,
    )
    assert bytes(event.data) == b'{ "a": 1.10 }'
    assert event.data_text == '{"a":1.10}'
    assert event.text_at(["a"]) == "1.10"


def test_an_old_one_has_no_place() -> None:
    event = decode(b'{"ID":7,"Timestamp":"2021-02-06T17:35:30Z","Data":"text","Host":"h"}')
    assert (event.position, event.seq, event.data_text) == ("", 0, "text")


@pytest.mark.parametrize("number", [b"1.10", b"1e400", b"123456789012345678901234567890", b"-0"])
def test_numbers_keep_their_digits(number: bytes) -> None:
    assert (
        decode(b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":%s,"Host":"h"}' % number).data_text
        == number.decode()
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"ID":"1","Timestamp":"2021-02-06T17:35:30Z","Data":"","Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"","Host":null}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"\xff","Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":{"a":["\xff"]},"Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"\\ud800","Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"","Host":"h","Seq":' + b"1" * 5000 + b"}",
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":' + b"[" * 9999 + b"]" * 9999 + b',"Host":"h"}',
    ],
)
def test_what_is_no_event(damaged: bytes) -> None:
    with pytest.raises(NoEvent):
        decode(damaged)
