"""How an event looks, and that none can drive a terminal."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.output import NoEvent, account_list, escape, gap_line, json_line, line
from shared.frames import Gap


def message(data: object = "test data", **changes: object) -> bytes:
    event = {"ID": 1, "Timestamp": "2021-02-06T17:35:30.123999Z", "Data": data, "Host": "290ad619a440", **changes}
    return json.dumps(event).encode()


def test_the_line_of_the_go_cli() -> None:
    assert line(message()) == '<2021-02-06 17:35:30:123>: [1]: "test data" [290ad619a440]'


@pytest.mark.parametrize(
    ("timestamp", "shown"),
    [
        ("2021-02-06T17:35:30.000123Z", "2021-02-06 17:35:30:000"),
        ("2021-02-06T17:35:30Z", "2021-02-06 17:35:30:000"),
        ("2021-02-06T17:35:30.999999Z", "2021-02-06 17:35:30:999"),
        ("2021-02-06T17:35:30.123456789Z", "2021-02-06 17:35:30:123"),
        ("2021-02-06T18:35:30.5+01:00", "2021-02-06 17:35:30:500"),
        ("2021-02-06T17:35:30.5", "2021-02-06 17:35:30:500"),
    ],
)
def test_time_is_utc_with_cut_milliseconds(timestamp: str, shown: str) -> None:
    assert line(message(Timestamp=timestamp)).startswith(f"<{shown}>: ")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("plain", '"plain"'),
        ('"in quotes"', '"in quotes"'),
        ('"', '"""'),
        ('""', '""'),
        ("", '""'),
        ('"open', '""open"'),
        ("tab\tline\n", '"tab\\tline\\n"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("\u202egnp.exe", '"\\u202egnp.exe"'),
        ("Grüße 🎉", '"Grüße 🎉"'),
        ({"a": [1, None, "x y"]}, '{"a":[1,null,"x y"]}'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_data(data: object, shown: str) -> None:
    assert line(message(data)) == f"<2021-02-06 17:35:30:123>: [1]: {shown} [290ad619a440]"


@pytest.mark.parametrize("number", ["1.10", "1e400", "123456789012345678901234567890", "-0"])
def test_numbers_keep_their_digits(number: str) -> None:
    raw = b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":%s,"Host":"h"}' % number.encode()
    assert f" {number} " in line(raw)


def test_a_host_is_escaped_too() -> None:
    assert line(message(Host="a\x9bb")).endswith(" [a\\x9bb]")


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\xfe",
        b"no JSON",
        b"[]",
        b"{}",
        message()[:-1],
        message() + b"}",
        message(ID="1"),
        message(Host=None),
        message(Timestamp="yesterday"),
        message(Timestamp="0001-01-01T00:00:00+14:00"),
        message(Timestamp=7),
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"\xff","Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"h","Host":"\\ud800"}',
        b'{"ID":' + b"1" * 5000 + b',"Timestamp":"2021-02-06T17:35:30Z","Data":"h","Host":"h"}',
        b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":' + b"[" * 9999 + b"]" * 9999 + b',"Host":"h"}',
    ],
)
def test_what_is_no_event_is_said_to_be_none(damaged: bytes) -> None:
    with pytest.raises(NoEvent):
        line(damaged)
    with pytest.raises(NoEvent):
        json_line(damaged, safe=True)


def test_json_is_passed_on_as_it_came() -> None:
    raw = b'{ "ID":1, "Timestamp":"2021-02-06T17:35:30Z","Data":"\xc2\x9b", "Host":"h", "More":[1.10] }'
    assert json_line(raw, safe=False) == raw


def test_json_is_one_line_even_if_it_came_as_several() -> None:
    raw = b'{\n  "ID": 1,\r\n  "Timestamp": "2021-02-06T17:35:30Z", "Data": 1.10, "Host": "h"\n}'
    assert json_line(raw, safe=False) == b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":1.10,"Host":"h"}'


def test_json_for_a_terminal_has_the_same_values() -> None:
    raw = '{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"\x9b\u2028é\u202e","Host":"h"}'.encode()
    shown = json_line(raw, safe=True)
    assert b"\\u009b\\u2028\xc3\xa9\\u202e" in shown
    assert json.loads(shown) == json.loads(raw)


def test_json_with_bytes_that_are_no_text_is_no_event() -> None:
    raw = b'{"ID":1,"Timestamp":"2021-02-06T17:35:30Z","Data":"h","Host":"h","More":"\xff"}'
    with pytest.raises(NoEvent):
        json_line(raw, safe=False)


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Gap(account_id=7, from_seq=12, to_seq=19, reason="expired"), "account 7: events 12 to 19 are gone (expired)"),
        (Gap(account_id=7, from_seq=12, to_seq=12, reason="damaged"), "account 7: event 12 is gone (damaged)"),
        (Gap(account_id=7, reason="trimmed"), "account 7: some events are gone (trimmed)"),
        (Gap(reason="epoch"), "the log began anew (epoch): what was not received of the old one is gone"),
        (Gap(reason="\x1b"), "some events are gone (\\x1b)"),
    ],
)
def test_gaps(gap: Gap, said: str) -> None:
    assert gap_line(gap) == f"! {said}"


def test_accounts_are_listed_in_order() -> None:
    assert account_list({10, 9, 1}) == "[1 9 10]"
    assert account_list(None) == "all"
    assert account_list(range(1, 101)) == f"[{' '.join(map(str, range(1, 101)))}]"
    assert account_list({*range(1, 2001), 2002, *range(2010, 2012)}) == "[1-2000 2002 2010-2011]"
    assert account_list(range(1, 1000, 2)).endswith(" 197 199 and more: 500 accounts]")


def drives_terminals(text: str) -> bool:
    """By the Unicode database, so that the test knows otherwise than the code."""
    return any(
        unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(char) in ("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for char in text
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text(alphabet=st.characters()))
def test_nothing_escaped_drives_a_terminal(text: str) -> None:
    assert not drives_terminals(escape(text))


@given(data=json_values, host=st.text(), ascii_only=st.booleans())
def test_no_event_drives_a_terminal(data: object, host: str, ascii_only: bool) -> None:
    event = {"ID": 1, "Timestamp": "2021-02-06T17:35:30.123Z", "Data": data, "Host": host}
    raw = json.dumps(event, ensure_ascii=ascii_only).encode()
    assert not drives_terminals(line(raw))
    shown = json_line(raw, safe=True)
    assert not drives_terminals(shown.decode())
    assert json.loads(shown) == event


@given(raw=st.binary() | st.text().map(str.encode) | json_values.map(msgspec.json.encode))
def test_whatever_comes_is_shown_or_refused(raw: bytes) -> None:
    try:
        shown = line(raw)
    except NoEvent as refusal:
        shown = str(refusal)
    assert not drives_terminals(shown)
