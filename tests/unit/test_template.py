"""What a template takes, what it makes of an event, and what is said of a bad one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decoded import Decoded, decode
from listener.template import Template
from shared.errors import Refused

EVENT = (
    b'{"ID":7,"Timestamp":"2021-02-06T17:35:30.000123Z","Data":%s,"Host":"290ad619a440","Position":"0a-0-9","Seq":42}'
)


def event(data: bytes = b'"test data"') -> Decoded:
    return decode(EVENT % data)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{Timestamp} {Data}", "2021-02-06T17:35:30.000123Z test data"),
        ("{ID}/{Seq}@{Position} on {Host}", "7/42@0a-0-9 on 290ad619a440"),
        ("{{{ID}}} {{}}", "{7} {}"),
        ("{{{ID}", "{7"),
        ("{ID:>6}|{ID:<3}|{Seq:04}|{ID:^3}|{Seq:+d}", "     7|7  |0042| 7 |+42"),
        ("{Data:>12}|{Data:.4}|{Data:_<10.4}", "   test data|test|test______"),
        (r"\t{ID}\n", r"\t7\n"),
        ("{ID}\n", "7\n"),
    ],
)
def test_an_event_is_filled_in(template: str, filled: str) -> None:
    assert Template(template).render(event()) == filled


@pytest.mark.parametrize(("template", "filled"), [(r"{ID}\t{Seq}\n", "7\t42\n"), (r"\\t", r"\t"), (r"\\{ID}", r"\7")])
def test_escapes(template: str, filled: str) -> None:
    assert Template(template, escapes=True).render(event()) == filled


@pytest.mark.parametrize(
    ("data", "template", "filled"),
    [
        (b'"in \\"quotes\\""', "{Data}", 'in "quotes"'),
        (b'"{ID} {0.__class__}"', "{Data}", "{ID} {0.__class__}"),
        (b'{ "a" : [ 1.10, null ] }', "{Data}", '{"a":[1.10,null]}'),
        (b'{"amount":1.10}', "{Data.amount:>6}", "  1.10"),
        (b'{"amount":123456789012345678901234567890}', "{Data.amount}", "123456789012345678901234567890"),
        (b'{"items":[{"name":"x"}]}', "{Data.items.0.name}", "x"),
        (b'{"items":[{"name":"x"}]}', "{Data.items}", '[{"name":"x"}]'),
        (b'{"items":[1]}', "<{Data.items.1}{Data.items.-1}{Data.items.99999999999999999999}{Data.items.x}>", "<>"),
        (b'{"0":"key"}', "{Data.0}", "key"),
        (b'{"a":null,"b":false,"c":""}', "{Data.a},{Data.b},{Data.c}", "null,false,"),
        (b'{"a":1,"a":2}', "{Data.a}", "2"),
        (b'"text"', "<{Data.a}>", "<>"),
        (b"[1]", "<{Data.__class__}>", "<>"),
        ('{"gr\xfc\xdfe":"\U0001f389"}'.encode(), "{Data.gr\xfc\xdfe}", "\U0001f389"),
    ],
)
def test_data(data: bytes, template: str, filled: str) -> None:
    assert Template(template).render(event(data)) == filled


def test_what_an_event_says_can_be_escaped_and_the_template_is_not() -> None:
    assert Template("\t{Data:>4}\t{ID}").render(event(b'"a\\tb"'), lambda text: text.replace("\t", "")) == "\t  ab\t7"


def test_whether_anything_is_filled_in() -> None:
    assert Template("{ID}").has_placeholders
    assert not Template("{{ID}}").has_placeholders
    assert Template("a {{ID}} b").literal == "a {ID} b"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("ab {Dta}", "column 4: there is no {Dta}. Did you mean {Data}? Expected {ID}, {Timestamp}"),
        ("{id}", "Did you mean {ID}?"),
        ("{time}", "there is no {time}"),
        ("{}", "column 1: there is no {}."),
        ("{0}", "there is no {0}"),
        ("{ID!r}", "there is no {ID!r}"),
        ("{ID.real}", "nothing is inside of ID, only of Data"),
        ("{ID[0]}", "there is no {ID[0]}"),
        ("{Data..a}", "a name is missing between dots"),
        ("{Data.}", "a name is missing between dots"),
        ("{ID", "column 1: this { is never closed"),
        ("x}", "column 2: this } closes nothing"),
        ('{"a":{"b":1}}', "column 1: this { is never closed"),
        ('{"a":1}', 'column 1: there is no {"a"}'),
        ("{ID:x}", "column 1: x is no format of ID. Expected one such as {ID:>6} or {ID:06}."),
        ("{ID:>99999}", "is no format of ID"),
        ("{Data:06}", "is no format of Data"),
        ("{Data.amount:.2f}", "Expected one such as {Data.amount:<20}"),
        ("{Data:{ID}}", "column 1: this { is never closed"),
    ],
)
def test_what_is_wrong_and_where(template: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        Template(template)
    assert said in str(refused.value)
    assert "Expected" in str(refused.value)


@pytest.mark.parametrize(("template", "said"), [(r"a\x", r"column 2: \x means nothing"), ("\\", "column 1: \\ means")])
def test_escapes_that_there_are_not(template: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        Template(template, escapes=True)
    assert said in str(refused.value)
    Template(template)


@given(text=st.text(alphabet="{}ID.Data:0>\\tn x"), escapes=st.booleans())
def test_whatever_is_taken_can_be_filled_in(text: str, escapes: bool) -> None:
    try:
        template = Template(text, escapes=escapes)
    except Refused:
        return
    template.render(event(b'{"a":[1]}'))


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_data_are_never_read_as_a_template(text: str) -> None:
    assert Template("<{Data}>").render(event(json.dumps(text).encode())) == f"<{text}>"
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template(doubled).render(event()) == text
