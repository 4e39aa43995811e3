"""How an event looks in each format, and that none can drive a terminal."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener import moments
from listener.decoded import decode
from listener.formats import Look, csv_head, make
from listener.output import NoEvent, account_list, cut_to, escape, gap_line
from shared.errors import Misconfigured
from shared.frames import Gap

NOW = datetime(2021, 2, 6, 17, 35, 33, 500000, UTC)


def shown(raw: bytes, kind: str = "text", **settings: object) -> str:
    """An event in this format, at NOW."""
    form = make(Look(kind, now=lambda: NOW, **settings))  # type: ignore[arg-type]
    line = form(decode(raw), raw)
    return line.decode() if isinstance(line, bytes) else line


def line(raw: bytes) -> str:
    return shown(raw)


def json_line(raw: bytes, *, safe: bool) -> bytes:
    return shown(raw, "json", safe=safe).encode()


def message(data: object = "test data", **changes: object) -> bytes:
    event = {"ID": 1, "Timestamp": "2021-02-06T17:35:30.123999Z", "Data": data, "Host": "290ad619a440", **changes}
    return json.dumps(event).encode()


def test_the_line_of_the_go_cli() -> None:
    assert line(message()) == '<2021-02-06 17:35:30:123>: [1]: "test data" [290ad619a440]'


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        ("2021-02-06T17:35:30.000123Z", "2021-02-06 17:35:30:000"),
        ("2021-02-06T17:35:30Z", "2021-02-06 17:35:30:000"),
        ("2021-02-06T17:35:30.999999Z", "2021-02-06 17:35:30:999"),
        ("2021-02-06T17:35:30.123456789Z", "2021-02-06 17:35:30:123"),
        ("2021-02-06T18:35:30.5+01:00", "2021-02-06 17:35:30:500"),
        ("2021-02-06T17:35:30.5", "2021-02-06 17:35:30:500"),
    ],
)
def test_time_is_utc_with_cut_milliseconds(timestamp: str, time: str) -> None:
    assert line(message(Timestamp=timestamp)).startswith(f"<{time}>: ")


@pytest.mark.parametrize(
    ("data", "text"),
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
def test_data(data: object, text: str) -> None:
    assert line(message(data)) == f"<2021-02-06 17:35:30:123>: [1]: {text} [290ad619a440]"


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
    for_terminals = json_line(raw, safe=True)
    assert b"\\u009b\\u2028\xc3\xa9\\u202e" in for_terminals
    assert json.loads(for_terminals) == json.loads(raw)


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
    for kind in ("csv", "{Data} {Host}"):
        assert not drives_terminals(shown(raw, kind))
    assert not any(drives_terminals(one) for one in shown(raw, "pretty").split("\n"))
    as_json = json_line(raw, safe=True)
    assert not drives_terminals(as_json.decode())
    assert json.loads(as_json) == event


@given(raw=st.binary() | st.text().map(str.encode) | json_values.map(msgspec.json.encode))
def test_whatever_comes_is_shown_or_refused(raw: bytes) -> None:
    try:
        text = line(raw)
    except NoEvent as refusal:
        text = str(refusal)
    assert not drives_terminals(text)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{Timestamp} {Data}", "2021-02-06T17:35:30.123999Z a\\nb"),
        (r"{ID:>4}\t{Seq}\n{{{Host}}}", "   1\t0\n{290ad619a440}"),
        ("{Data.x}|{Position}", "|"),
    ],
)
def test_a_template_has_an_event_on_as_many_lines_as_itself(template: str, text: str) -> None:
    assert shown(message("a\nb"), template) == text
    assert shown(message("a\nb"), template, safe=False) == text


@pytest.mark.parametrize(("template", "said"), [("xml", "text, json, pretty, csv"), ("{Dta}", "Did you mean {Data}")])
def test_what_is_no_format(template: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        make(Look(template))


def test_csv_is_read_back_as_it_was() -> None:
    data = 'a,"b"\nc'
    row = shown(message(data, Seq=7, Position="p-1"), "csv", safe=False)
    [read] = csv.DictReader(io.StringIO(f"{csv_head()}\n{row}\n"))
    assert read == {
        "ID": "1",
        "Timestamp": "2021-02-06T17:35:30.123999Z",
        "Data": data,
        "Host": "290ad619a440",
        "Position": "p-1",
        "Seq": "7",
    }
    assert "\n" not in shown(message(data), "csv")


def test_pretty_shows_json_over_lines_and_text_with_its_own() -> None:
    head = "account 1  2021-02-06 17:35:30:123  event 0  290ad619a440"
    assert shown(message({"a": [1]}), "pretty").split("\n") == [
        head,
        "  {",
        '    "a": [',
        "      1",
        "    ]",
        "  }",
    ]
    assert shown(message("x\r\ny\x1b"), "pretty").split("\n") == [head, "  x", "  y\\x1b"]


@pytest.mark.parametrize("kind", ["text", "pretty", "csv", "{Timestamp}"])
def test_ages_and_local_times(kind: str) -> None:
    assert "3s ago" in shown(message(), kind, timestamps="relative")
    local = shown(message(), kind, timestamps="local")
    here = datetime(2021, 2, 6, 17, 35, 30, 123999, UTC).astimezone()
    assert here.isoformat(" ")[:16].replace(" ", "T") in local.replace(" ", "T")


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0.9, "now"), (-0.5, "now"), (59.9, "59s ago"), (61, "1m ago"), (7300, "2h ago"), (3e5, "3d ago"), (-5, "in 5s")],
)
def test_age(seconds: float, age: str) -> None:
    assert moments.age(seconds) == age


@pytest.mark.parametrize("kind", ["text", "pretty", "csv"])
@pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_first_and_last_times_that_there_are(kind: str, timestamp: str) -> None:
    for timestamps in ("utc", "local", "relative"):
        assert shown(message(Timestamp=timestamp), kind, timestamps=timestamps)


def test_colour_is_the_same_for_an_account_each_time() -> None:
    one, again, other = (
        shown(message(data, ID=account), color=True) for data, account in (("a", 1), ("b", 1), ("a", 2))
    )
    begins = [text[: text.index("m") + 1] for text in (one, again, other)]
    assert begins[0] == begins[1] != begins[2]
    assert one.count("\x1b[0m") == 2


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("hello", 5, "hello"),
        ("hello!", 5, "hell…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("漢字漢字", 6, "漢字…"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        ("x", 0, ""),
        ("x", -3, ""),
    ],
)
def test_text_is_cut_by_cells(text: str, width: int, cut: str) -> None:
    assert cut_to(text, width) == cut


def test_a_cut_line_fits_and_keeps_its_ends() -> None:
    cut = shown(message("漢" * 300), width=lambda: 80)
    assert cut.startswith('<2021-02-06 17:35:30:123>: [1]: "漢')
    assert cut.endswith("… [290ad619a440]")
    assert len(cut) + cut.count("漢") <= 80


def test_ages_are_from_now_on() -> None:
    moments_passed = iter([NOW, NOW + timedelta(minutes=2)])
    form = make(Look(timestamps="relative", now=lambda: next(moments_passed)))
    event = decode(message())
    assert [str(form(event, b""))[:9] for _ in range(2)] == ["<3s ago>:", "<2m ago>:"]
