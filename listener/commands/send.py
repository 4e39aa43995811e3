"""`listener send`: an event for an account, or many from a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import trio
from click.shell_completion import CompletionItem

from listener.commands import run, takes, until_signal
from listener.config import Config
from listener.status import Status, Stop
from shared.errors import Refused

LONGEST = 16 << 20
"""How much is read of standard input. What a tracker takes is less, and for it to say."""

_EXAMPLES = """\b
Examples:
  listener send 1 'hello, world'
  listener send 1 --json '{"amount": 7}'
  date | listener send 1
  listener send 1 -- --this-begins-with-dashes
  listener events 1 --since "$(listener send 1 begin)"
  listener send --bulk events.ndjson
  zcat events.ndjson.gz | listener send --bulk -

\b
A bulk is NDJSON: {"ID":1,"Data":...} on each line. Events as `listener events --json` writes them and files of
--dead-letter will do: ID and Data are sent, other keys and control frames are left out. What the tracker confirmed
is saved after each chunk of up to 1000 lines. Started again, it goes on from there with the same Idempotency-Keys:
nothing is lost, and nothing is doubled if that is within 10 minutes. So long the log remembers keys; later, up to
1000 events that were under way may come twice, and you are told so.

\b
Exit codes: 0 all was accepted, 1 fault or interrupted, 2 usage, 3 the tracker was away for longer than --give-up
(30s), 4 the tracker refused: the token, the event, or some lines of a bulk.
"""
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


class AccountID(click.ParamType[int]):
    """One account."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from shared.events import account_id

        try:
            return account_id(str(value))
        except Refused as error:
            return self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        from listener.account_completion import complete_account

        return complete_account(ctx, param, incomplete)


class _Send(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = "Data that begins with - goes behind --, as in: listener send 1 -- -5"
            raise click.UsageError(f"{error.format_message()} {hint}", ctx) from error


def _checked_key(context: click.Context, parameter: click.Parameter, key: str | None) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        raise click.BadParameter("Expected 1 to 255 visible characters of ASCII.", context, parameter)
    return key


@click.command("send", cls=_Send, epilog=_EXAMPLES)
@click.argument("account", metavar="ID", required=False, type=AccountID())
@click.argument("data", metavar="[DATA|-]", required=False)
@click.option("--json", is_flag=True, help="The data is JSON, not text.")
@click.option(
    "--key",
    metavar="KEY",
    callback=_checked_key,
    help="The event's Idempotency-Key: sent again with the same one within 10 minutes, it is not doubled. Without it: "
    "a new one each time.",
)
@click.option(
    "--bulk",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Send the events of a file, a line of JSON each; - is standard input.",
)
@click.option(
    "--progress",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep in this file how far a bulk is. Without it: that of --bulk with .sent added.",
)
@click.option("--restart", is_flag=True, help="Send a file from its beginning, whatever was sent of it.")
@takes()
def command(
    config: Config,
    account: int | None,
    data: str | None,
    json: bool,
    key: str | None,
    bulk: Path | None,
    progress: Path | None,
    restart: bool,
) -> None:
    """Send an event for an account, and write its Position to standard output once it is in the log.

    DATA is text. Without it, or with -, it is read from standard input, where a line end at its end does not count.
    While the tracker is away it tries again, and never doubles the event by that.

    With --bulk: send the events of a file, in their order.
    """
    if bulk is not None:
        for given, what in ((account, "an account"), (json or None, "--json"), (key, "--key")):
            if given is not None:
                raise click.UsageError(f"--bulk stands without {what}: each line of the file says what to send.")
        _run_bulk(config, None if str(bulk) == "-" else bulk, progress, restart)
        return
    if progress is not None or restart:
        raise click.UsageError("--progress and --restart are for --bulk.")
    if account is None:
        raise click.UsageError("There is no account. Expected: listener send ID [DATA|-], or listener send --bulk FILE")
    if data is None and os.isatty(0):
        raise click.UsageError(
            "There is no data. Expected it behind the account, or on standard input (listener send 1 - reads what you "
            "type, until Ctrl+D)."
        )
    typed = None if data in (None, "-") else os.fsencode(data)
    _run_one(config, account, typed, is_json=json, key=key or uuid4().hex)


def _run_one(config: Config, account: int, typed: bytes | None, *, is_json: bool, key: str) -> None:
    async def program() -> None:
        from listener.output import escape
        from listener.received import is_position
        from listener.sending import JSON, REMEMBERED, TEXT, Attempts, send_event
        from listener.terminal import STDOUT, tell, write
        from listener.tracker import open_tracker, patiently

        attempts = Attempts()
        position: str | None = None

        def unsent(why: str) -> str:
            why = why.rstrip(".")
            if not attempts.uncertain:
                return f"{why}. The event was not accepted."
            return (
                f"{why}. The event may have been accepted: to send it again within {REMEMBERED / 60:.0f} minutes "
                f"without doubling it, give --key {escape(key)}"
            )

        async def send() -> None:
            nonlocal position
            data = _checked(await _read_all() if typed is None else typed, is_json=is_json)
            async with open_tracker(config) as tracker:
                try:
                    position = await patiently(
                        tracker.part,
                        lambda: attempts.make(
                            lambda begun: send_event(tracker, account, data, key, JSON if is_json else TEXT, begun)
                        ),
                        config.give_up,
                        tell,
                    )
                except Stop as error:
                    raise Stop(error.status, unsent(error.text)) from error
                if not is_position(position):
                    raise Stop(Status.FAULT, f"{tracker.part} answers as no tracker does: it gave no Position.")

        await until_signal(send)
        if position is None:
            raise Stop(Status.FAULT, unsent("interrupted"))
        if attempts.too_late:
            tell(f"! it took longer than {REMEMBERED / 60:.0f} minutes: the event may have come twice")
        await write([position], to=STDOUT)

    run(program, interrupted=Status.FAULT)


def _run_bulk(config: Config, source: Path | None, progress: Path | None, restart: bool) -> None:
    async def program() -> None:
        from listener.bulk_sending import Bulk, Job

        bulk = Bulk(config, Job(source, progress, restart))
        await until_signal(bulk.run)
        if not bulk.is_done:
            raise bulk.stopped(Status.FAULT, "interrupted")

    run(program, interrupted=Status.FAULT)


async def _read_all() -> bytes:
    """What is on standard input. Raises Stop."""
    from listener.terminal import STDIN, read_from

    parts: list[bytes] = []
    size = 0
    try:
        while part := await trio.to_thread.run_sync(read_from, STDIN, 1 << 20, abandon_on_cancel=True):
            parts.append(part)
            size += len(part)
            if size > LONGEST:
                raise Stop(Status.USAGE, f"Standard input has more than {LONGEST >> 20} MiB, which is the most.")
    except OSError as error:
        raise Stop(Status.FAULT, f"Standard input can't be read: {error.strerror}.") from error
    whole = b"".join(parts)
    return whole.removesuffix(b"\n").removesuffix(b"\r") if whole.endswith(b"\n") else whole


def _checked(data: bytes, *, is_json: bool) -> bytes:
    """Raises Stop if it is nothing, or no UTF-8."""
    if not data:
        raise Stop(Status.USAGE, "The data is empty: expected some.")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        what = "JSON" if is_json else "text"
        raise Stop(
            Status.USAGE, f"The data is no {what}: expected UTF-8, but there is {error.reason} at byte {error.start}."
        ) from error
    return data
