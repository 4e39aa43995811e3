"""From accounts to lines for people or for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.cells import cell_len

from listener.output import escape, escape_json
from listener.tracker import Account

_LONGEST = 40
"""One name that is longer, in cells, does not push away the states of all the others."""


def json_line(account: Account, *, safe: bool) -> str:
    """An account as the tracker has it. If `safe`, what drives a terminal is JSON-escaped."""
    text = msgspec.json.encode(account).decode()
    return escape_json(text) if safe else text


def line(account: Account) -> str:
    """An account's ID, name and state, with tabs between them."""
    return f"{account.id}\t{escape(account.name)}\t{_state(account)}"


class Table:
    """Aligned columns, page after page: they only ever become wider."""

    def __init__(self) -> None:
        self._id = self._name = 0  # widths, in cells
        self._headed = False

    def lines(self, page: Sequence[Account]) -> Iterator[str]:
        """The next lines; above the first ones, the headings."""
        rows = [(str(account.id), escape(account.name), _state(account)) for account in page]
        if not self._headed:
            rows.insert(0, ("ID", "NAME", "STATE"))
            self._headed = True
        self._id = max(self._id, *(len(number) for number, _, _ in rows))
        self._name = max(self._name, *(min(_LONGEST, cell_len(name)) for _, name, _ in rows))
        for number, name, state in rows:
            yield f"{number:>{self._id}}  {name}{' ' * (self._name - cell_len(name))}  {state}"


def _state(account: Account) -> str:
    return "active" if account.is_active else "inactive"
