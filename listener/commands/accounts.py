"""`listener accounts`: the accounts that a tracker knows."""

from __future__ import annotations

import click

from listener.commands import run, takes, until_signal
from listener.config import Config


def _checked_search(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    text = value or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("it is no text. Expected characters in UTF-8.", context, parameter) from None
    return text


@click.command("accounts")
@click.option(
    "--search",
    metavar="TEXT",
    callback=_checked_search,
    help="Only those whose names begin so, in any case. Digits are an ID, too.",
)
@click.option("--active/--inactive", default=None, help="Only those that take events, or only those that do not.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many. Without it: all.")
@click.option("--json", is_flag=True, help="Write each as a JSON object on a line, as the tracker has it.")
@takes()
def command(config: Config, search: str, active: bool | None, limit: int | None, json: bool) -> None:
    """List accounts by ID: a table on a terminal; elsewhere a line each, of ID, name, and active or inactive, with tabs
    between them.

    \b
    Examples:
      listener accounts --search ali
      listener accounts --inactive --json | jq -r .Name
      listener accounts --active | cut -f1 | xargs listener events
    """

    async def show() -> None:
        from listener.account_lines import Table, json_line, line
        from listener.account_search import Search
        from listener.terminal import STDERR, STDOUT, is_terminal, tell, write
        from listener.tracker import open_tracker, patiently

        shown = is_terminal(STDOUT)
        table = Table()
        none = True
        async with open_tracker(config) as tracker:
            found = Search(tracker, search, active=active, limit=limit)
            while page := await patiently(tracker.part, found.next, config.give_up, tell):
                none = False
                if json:
                    await write([json_line(account, safe=shown) for account in page], to=STDOUT)
                else:
                    await write(table.lines(page) if shown else map(line, page), to=STDOUT)
        if none:  # no fault: it was asked for, and what was found is on standard output
            some = search or active is not None
            await write(["There is no such account." if some else "There are no accounts."], to=STDERR)

    run(lambda: until_signal(show))
