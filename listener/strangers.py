"""Accounts that do not exist: the log knows nothing of accounts, so of those one follows there the tracker is asked."""

from __future__ import annotations

from collections.abc import Collection

from listener.config import Config
from listener.output import account_list
from listener.status import Status, Stop
from listener.terminal import tell
from listener.tracker import open_tracker
from shared.errors import OutcomeUnknown, Refused, Unavailable

PAGE = 1000
MOST_PAGES = 100
"""How many pages of accounts are asked for at most."""


async def look_for_strangers(config: Config, accounts: Collection[int]) -> None:
    """Warn of accounts that do not exist. Raises Stop (REFUSED) if none does. Says nothing if the tracker is away."""
    wanted = sorted(accounts)
    missing: list[int] = []
    try:
        async with open_tracker(config) as tracker:
            at = 0
            for _ in range(MOST_PAGES):
                if at == len(wanted):
                    break
                page = [account.id for account in await tracker.accounts(after=wanted[at] - 1, limit=PAGE)]
                there, last = set(page), page[-1] if len(page) == PAGE else wanted[-1]
                while at < len(wanted) and wanted[at] <= last:
                    if wanted[at] not in there:
                        missing.append(wanted[at])
                    at += 1
    except (Unavailable, OutcomeUnknown, Refused):
        return
    if len(missing) == len(wanted):
        raise Stop(Status.REFUSED, f"There {_are(missing)}.")
    if missing:
        tell(f"! There {_are(missing)}: the others are followed.")


def _are(missing: list[int]) -> str:
    shown = account_list(missing[:20]).strip("[]").replace(" ", ", ")
    more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
    return f"is no account {shown}" if len(missing) == 1 else f"are no accounts {shown}{more}"
