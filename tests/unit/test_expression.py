"""Expressions over events: what they match, and where the fault is if they are none."""

from __future__ import annotations

import json

import pytest

from listener.decoded import Decoded, decode
from listener.expression import FUNCTIONS, Regex, Where
from shared.errors import Misconfigured


def event(data: object) -> Decoded:
    raw = {"ID": 7, "Timestamp": "2021-02-06T17:35:30.123Z", "Data": data, "Host": "h", "Position": "p-1", "Seq": 3}
    return decode(json.dumps(raw).encode())


ORDER = {"amount": 150, "price": 1.5, "tags": ["a", "b"], "who": {"name": "Zoë"}}


@pytest.mark.parametrize(
    ("expression", "is_true"),
    [
        ("Data.amount > 100", True),
        ("Data.amount > 150.5", False),
        ("Data.price == 1.5 && ID == 7", True),
        ("'a' in Data.tags", True),
        ("Data.tags.exists(tag, tag.startsWith('b'))", True),
        ("Data.who.name.matches('^Z.ë$')", True),
        ("has(Data.missing)", False),
        ("Data.missing > 1", False),
        ("Data.amount.startsWith('1')", False),
        ("Data.tags[7] == 'x'", False),
        ("Data.amount / 0 == 1", False),
        ("Data.amount", False),
        ("timestamp(Timestamp).getFullYear() == 2021 && Seq < 4", True),
        ("Host == 'h' || Data.missing == 1", True),
    ],
)
def test_what_is_true(expression: str, is_true: bool) -> None:
    assert Where(expression, "--where")(event(ORDER)) is is_true


@pytest.mark.parametrize("data", ["text", 7, None, [], {}, True])
def test_other_data_just_do_not_match(data: object) -> None:
    assert not Where("Data.amount > 100", "--where")(event(data))


@pytest.mark.parametrize(
    ("expression", "place", "said", "caret"),
    [
        ("Data.amount >", "column 14", "mismatched input", 13),
        ("Data.amount > 1 &&& x", "column 19", "token recognition", 18),
        ("amount > 3", "column 1", "'amount' is unknown: expected ID, Timestamp", 0),
        ("Data.a == 1 && nope(Data)", "column 16", "'nope' is unknown: expected one of bytes", 15),
        ("Data.nope()", "column 6", "'nope' is unknown", 5),
        ("'漢字' == Data.x +", "column 17", "mismatched input", 18),
        ("Data.x ==\n  oops", "line 2, column 3", "'oops' is unknown", 2),
        ("", "column 1", "mismatched input", 0),
        ("\x1b[2J", "column 1", "token recognition", 0),
    ],
)
def test_a_fault_is_shown_where_it_is(expression: str, place: str, said: str, caret: int) -> None:
    with pytest.raises(Misconfigured) as caught:
        Where(expression, "--where")
    first, shown, mark = str(caught.value).split("\n")
    assert f"--where is wrong at {place}: " in first
    assert said in first
    assert mark == "  " + " " * caret + "^"
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    "expression", ["(" * 5000 + "1" + ")" * 5000, "1" + " + 1" * 5000, "[" * 400, "-" * 5000 + "1"]
)
def test_what_is_too_much_is_refused(expression: str) -> None:
    with pytest.raises(Misconfigured):
        Where(expression, "--where")


def test_the_functions_are_those_that_there_are() -> None:
    calls = {
        "has": "has(Data.a)",
        "contains": "''.contains('')",
        "startsWith": "''.startsWith('')",
        "endsWith": "''.endsWith('')",
        "matches": "''.matches('')",
        "timestamp": "timestamp(Timestamp) == timestamp(Timestamp)",
        "duration": "duration('1s') == duration('1s')",
        "type": "type(1) == type(2)",
        "dyn": "dyn(1) == 1",
        "size": "size('') == 0",
    }
    for name in FUNCTIONS:
        call = calls.get(name)
        if name.startswith("get"):
            call = f"timestamp(Timestamp).{name}() >= 0"
        Where(call or f"{name}('1') == {name}('1')", "--where")
        assert Where(call or f"{name}('1') == {name}('1')", "--where")(event({"a": 1})), name


@pytest.mark.parametrize(
    ("pattern", "data", "found"),
    [
        ("wor", "hello world", True),
        ("^wor", "hello world", False),
        (r"\d{3}", {"amount": 150}, True),
        ('"amount":15.', {"amount": 150}, True),
        ("(?i)ZOË", "zoë", True),
        ("(a|aa)+$", "a" * 5000 + "b", False),
    ],
)
def test_regular_expressions(pattern: str, data: object, found: bool) -> None:
    assert Regex(pattern, "--regex")(event(data)) is found


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?=x)", "(a{1000}){1000}{1000}", "\x1b("])
def test_a_pattern_that_is_none_is_shown(pattern: str) -> None:
    with pytest.raises(Misconfigured, match="--regex is no regular expression") as caught:
        Regex(pattern, "--regex")
    assert "\x1b" not in str(caught.value)
