"""The accounts selected at the prompt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from listener.choosing import parse_accounts
from listener.output import account_list, escape
from shared.errors import Refused

_RANGE = re.compile(r"[0-9]+-[0-9]+")


class Selection:
    """Which accounts to watch; changed by what a person types, in words: `7`, `1-20`, `all`."""

    def __init__(self) -> None:
        self.accounts: set[int] | None = set()
        """Their IDs, or None: all there are."""

    def __str__(self) -> str:
        return account_list(self.accounts)

    def add(self, words: Iterable[str]) -> list[str]:
        """Select these as well. Returns a line for each word that is no good; the others count."""
        return _each(words, self._add)

    def remove(self, words: Iterable[str]) -> list[str]:
        """Take these out. Returns a line for each word that is no good, or names nothing that was selected."""
        return _each(words, self._remove)

    def _add(self, word: str, accounts: frozenset[int] | None) -> None:
        if accounts is None:
            self.accounts = None
        elif self.accounts is not None:
            self.accounts |= accounts

    def _remove(self, word: str, accounts: frozenset[int] | None) -> str | None:
        if accounts is None:
            self.accounts = set()
        elif self.accounts is None:
            return f' {word} can\'t be taken out of all: "remove all" first, then select the others'
        elif self.accounts.isdisjoint(accounts):
            return f" {word} was not selected"
        else:
            self.accounts -= accounts
        return None


def _each(words: Iterable[str], change: Callable[[str, frozenset[int] | None], str | None]) -> list[str]:
    complaints: list[str | None] = []
    for word in words:
        try:
            complaints.append(change(word, parse_accounts(word)))
        except Refused as error:
            complaints.append(f" {escape(str(error))}" if _RANGE.fullmatch(word) else no_number(word))
    return [complaint for complaint in complaints if complaint is not None]


def no_number(word: str) -> str:
    """What is said of a word that should be an account ID."""
    return f' "{escape(word)}" should be an (positive) number'
