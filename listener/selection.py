"""The accounts selected at the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
        complaints = []
        for word in words:
            try:
                chosen = parse_accounts(word)
            except Refused as error:
                complaints.append(_complaint(word, error))
                continue
            if chosen is None:
                self.accounts = None
            elif self.accounts is not None:
                self.accounts |= chosen
        return complaints

    def remove(self, words: Iterable[str]) -> list[str]:
        """Take these out. Returns a line for each word that is no good, or names nothing that was selected."""
        complaints = []
        for word in words:
            try:
                chosen = parse_accounts(word)
            except Refused as error:
                complaints.append(_complaint(word, error))
                continue
            if chosen is None:
                self.accounts = set()
            elif self.accounts is None:
                complaints.append(f' {word} can\'t be taken out of all: "remove all" first, then select the others')
            elif self.accounts.isdisjoint(chosen):
                complaints.append(f" {word} was not selected")
            else:
                self.accounts -= chosen
        return complaints


def _complaint(word: str, error: Refused) -> str:
    return f" {escape(str(error))}" if _RANGE.fullmatch(word) else no_number(word)


def no_number(word: str) -> str:
    """What is said of a word that should be an account ID."""
    return f' "{escape(word)}" should be an (positive) number'
