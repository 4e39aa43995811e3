"""Which accounts, and which of their events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from shared.errors import Refused

if TYPE_CHECKING:
    from listener.decoded import Decoded
    from listener.settings import Choosing

EXPECTED = (
    "Expected account IDs, whole numbers from 1 up with spaces between them: listener events 1 2 3 (or 1-20, or all)"
)
MOST_OF_A_RANGE = 100_000


def parse_accounts(text: str) -> frozenset[int] | None:
    """Return the accounts of one word: `7`, `1-20`, or `all`, which gives None. Raises Refused."""
    from shared.events import account_id

    if text == "all":
        return None
    first, dash, last = text.partition("-")
    if not dash or not first:
        return frozenset({account_id(text)})
    begin, end = account_id(first), account_id(last)
    if end < begin:
        raise Refused(f"{text[:40]!r} is no range: expected the smaller account first, {last[:20]}-{first[:20]}.")
    if end - begin >= MOST_OF_A_RANGE:
        raise Refused(f"{text[:40]!r} is too long: expected at most {MOST_OF_A_RANGE} accounts in a range, or all.")
    return frozenset(range(begin, end + 1))


class AccountsArgument(click.ParamType[Any]):
    """Words for accounts on a command line."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_accounts(value)
        except Refused as error:
            return self.fail(f"{error} {EXPECTED}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from listener.account_completion import complete_account

        every = [CompletionItem("all", help="every account")] if "all".startswith(incomplete) else []
        return [*complete_account(ctx, param, incomplete), *every]


def chosen(settings: Choosing) -> Callable[[Decoded], bool]:
    """Return what tells of each event whether it is wanted. Raises Misconfigured."""
    conditions: list[Callable[[Decoded], bool]] = []
    text, host = settings.match, settings.host
    if host is not None:
        conditions.append(lambda event: event.host == host)
    if text is not None:
        conditions.append(lambda event: text in event.data_text)
    if settings.regex is not None or settings.where is not None:
        from listener.expression import Regex, Where  # it takes a while to load

        if settings.regex is not None:
            conditions.append(Regex(settings.regex, "--regex"))
        if settings.where is not None:
            conditions.append(Where(settings.where, "--where"))
    return lambda event: all(condition(event) for condition in conditions)
