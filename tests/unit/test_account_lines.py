"""How accounts are listed."""

from __future__ import annotations

import json

from listener.account_lines import Table, json_line, line
from listener.tracker import Account

HOSTILE = Account(3, "a\tb\nc\x1b[31m\u202e\u0085", False)


def test_a_line_for_programs() -> None:
    assert line(Account(1, "Grüße", True)) == "1\tGrüße\tactive"
    assert line(HOSTILE) == "3\ta\\tb\\nc\\x1b[31m\\u202e\\x85\tinactive"


def test_json_is_the_account() -> None:
    assert json_line(Account(1, "Grüße", True), safe=True) == '{"ID":1,"Name":"Grüße","IsActive":true}'
    for safe in (False, True):
        text = json_line(HOSTILE, safe=safe)
        assert json.loads(text) == {"ID": 3, "Name": HOSTILE.name, "IsActive": False}
        assert "\n" not in text
        assert ("\u202e" in text) is not safe


def test_the_table_is_aligned_and_only_becomes_wider() -> None:
    table = Table()
    first = list(table.lines([Account(1, "日本", True), Account(20, "plain", False)]))
    assert first == ["ID  NAME   STATE", " 1  日本   active", "20  plain  inactive"]
    assert list(table.lines([Account(300, "x" * 9, True)])) == ["300  xxxxxxxxx  active"]
    assert list(table.lines([Account(301, "x", True)])) == ["301  x          active"]
    assert list(table.lines([Account(302, "x" * 99, True), Account(303, "", True)]))[1] == f"303  {'':40}  active"
