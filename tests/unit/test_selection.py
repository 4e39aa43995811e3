"""The accounts selected at the prompt, changed by words."""

from __future__ import annotations

import pytest

from listener.selection import Selection


def test_it_begins_empty_and_grows() -> None:
    selection = Selection()
    assert str(selection) == "[]"
    assert selection.add(["3", "1-2", "3", "007"]) == []
    assert str(selection) == "[1 2 3 7]"


@pytest.mark.parametrize("word", ["", "x", "0", "-1", "+1", "1_0", "1-", "-", "1-2-3", "ALL", "٣", "1\x1b", "\udcff"])
def test_words_that_are_no_accounts(word: str) -> None:
    selection = Selection()
    selection.add(["5"])
    shown = {"1\x1b": "1\\x1b", "\udcff": "\\udcff"}.get(word, word)
    assert selection.add([word, "6"]) == [f' "{shown}" should be an (positive) number']
    assert selection.remove([word, "6"]) == [f' "{shown}" should be an (positive) number']
    assert str(selection) == "[5]"


@pytest.mark.parametrize(
    ("word", "why"), [("3-1", "is no range"), ("1-999999999", "is too long"), ("0-3", "'0' is no")]
)
def test_ranges_that_are_no_good_are_explained(word: str, why: str) -> None:
    selection = Selection()
    [complaint] = selection.add([word])
    assert why in complaint
    assert selection.remove([word]) == [complaint]
    assert str(selection) == "[]"


def test_all() -> None:
    selection = Selection()
    selection.add(["1", "all", "2"])
    assert str(selection) == "all"
    assert selection.remove(["2"]) == [' 2 can\'t be taken out of all: "remove all" first, then select the others']
    assert selection.remove(["all", "2"]) == [" 2 was not selected"]
    assert selection.accounts == set()


def test_what_was_not_selected_is_told() -> None:
    selection = Selection()
    selection.add(["1-5"])
    assert selection.remove(["2", "2", "4-9", "6-9"]) == [" 2 was not selected", " 6-9 was not selected"]
    assert str(selection) == "[1 3]"
