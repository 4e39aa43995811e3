"""A command that a person gave, run as a child: once for each event, or when something has happened."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import trio

from listener.decoded import Decoded
from listener.output import escape
from listener.template import NAMES, Template
from listener.terminal import STDERR
from shared.errors import Misconfigured, Refused

GRACE = 2.0
"""For how many seconds a command may clean up after SIGTERM before it gets SIGKILL; and how long that may take."""

LONGEST_WORD = 128 * 1024 - 1
"""How many bytes Linux takes as one argument or variable (MAX_ARG_STRLEN, with the NUL at its end)."""

_POLL = 0.02
_SHELL = "/bin/sh"
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "su"}
_VARIABLES = tuple(f"EVENT_{name}" for name in ("ID", "TIMESTAMP", "DATA", "HOST", "POSITION", "SEQ", "ATTEMPT"))
_OPERATORS = {"|", "||", "&", "&&", ";", "<", ">", ">>", "2>&1"}
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_PLACE = re.compile(rf"(?<!\$)\{{({'|'.join(NAMES)})(?:[.:][^{{}}]*)?\}}")
_READ_THEM = (
    'In a shell, text of an event would become part of the program. Expected "$EVENT_ID", "$EVENT_DATA" and the like, '
    "in double quotes, or to read the event's JSON from standard input."
)


class Outcome(NamedTuple):
    """How a command ended: `failure` says what went wrong, and is empty if nothing did. `again`: whether another try
    may end better."""

    failure: str = ""
    again: bool = True


class Command:
    """A command line, made sure of once, run any number of times."""

    def __init__(self, text: str, *, shell: bool, option: str = "--exec", of_event: bool = True) -> None:
        """`shell` gives the text to /bin/sh as it is. Without it the text is split into words as a shell does it, and
        then the placeholders of each word are filled in, so that data never becomes more words.

        `of_event` is off for a command that is run without one, and so has no placeholders. Raises Misconfigured, with
        `option` at its begin.
        """
        self._words: list[str | Template]
        try:
            if not text.strip():
                raise Refused("it is empty. Expected a command, such as: logger -t tracker {ID} {Data}")
            if "\0" in text:
                raise Refused("it has a NUL character in it, which no command can have.")
            self._words = _script(text) if shell else _words(text, of_event=of_event)
        except Refused as error:
            raise Misconfigured(f"{option} {text[:200]!r} can't be run: {escape(str(error))}") from None

    async def run(self, event: Decoded | None, stdin: bytes, variables: Mapping[str, str], within: float) -> Outcome:
        """Run it once, and wait for its end.

        It reads `stdin`; what it writes goes to our standard error. Its environment is ours with EVENT_ID and so on
        of the event, and these `variables`; one that a system can't pass on (with a NUL character, or too long) is not
        there. After `within` seconds, or when cancelled, it is ended, with all that it has started in its process
        group: that takes 2 * GRACE seconds at most. What it leaves running when it ends by itself is its own affair.
        """
        words = [_encoded(word if isinstance(word, str) else _filled(word, event)) for word in self._words]
        for word in words:
            if b"\0" in word:
                return Outcome("an argument with a NUL character can't be passed", again=False)
            if len(word) > LONGEST_WORD:
                return Outcome(f"an argument of {len(word)} bytes is too long to be passed", again=False)
        try:
            process = await trio.lowlevel.open_process(
                words,
                stdin=subprocess.PIPE,
                stdout=STDERR,
                env=_environment(event, variables),
                # Away from our terminal: Ctrl+C there is for us to answer, and what is typed there is not for it.
                start_new_session=True,
            )
        except OSError as error:
            return Outcome(f"can't be started: {error.strerror}", again=error.errno != errno.E2BIG)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, process, stdin)
                with trio.move_on_after(within) as limit:
                    await process.wait()
                nursery.cancel_scope.cancel()  # what it did not read nobody will, or only what it has left running
        finally:
            if process.returncode is None:
                await _end(process)
        if limit.cancelled_caught:
            stays = ", and can't be ended" if process.returncode is None else ""
            return Outcome(f"took longer than {within:g} s{stays}")
        assert process.returncode is not None
        return _outcome(process.returncode)


def _words(text: str, *, of_event: bool) -> list[str | Template]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Refused(f"{str(error).lower()}. Expected words as for a shell, with each quote closed.") from None
    if operators := _OPERATORS.intersection(_QUOTED.sub("x", text).split()):
        raise Refused(f"only a shell knows what {min(operators)} means. Expected it in quotes, or --shell.")
    templates = [_template(word) for word in words]
    if templates[0].has_placeholders:
        raise Refused("its first word names the program, and no event may choose that.")
    if shutil.which(templates[0].literal) is None:
        there = "is no program that can be run" if os.path.exists(words[0]) else "is not found"
        raise Refused(
            f"{words[0]!r} {there}. Expected a program in PATH, or the path of one; variables and what else "
            "only a shell knows need --shell."
        )
    for number, template in enumerate(templates):
        if template.has_placeholders and not of_event:
            raise Refused(f"{words[number]!r} has a placeholder, but it is run without an event.")
        if template.has_placeholders and _is_script(words[:number]):
            raise Refused(f"{words[number]!r} is a shell's program. {_READ_THEM}")
    return [template if template.has_placeholders else template.literal for template in templates]


def _script(text: str) -> list[str | Template]:
    if found := _PLACE.search(text):
        raise Refused(f"it has {found[0]} in column {found.start() + 1}. {_READ_THEM}")
    checked = subprocess.run([_SHELL, "-n", "-c", text], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if checked.returncode:
        raise Refused(f"{' '.join(checked.stderr.decode(errors='replace').split())}.")
    return [_SHELL, "-c", text]


def _template(word: str) -> Template:
    try:
        return Template(word)
    except Refused as error:
        raise Refused(f"in {word[:40]!r}: {error}") from None


def _is_script(before: list[str]) -> bool:
    """Whether what comes after these words is a program for a shell: env bash -ec …"""
    return bool(re.fullmatch(r"-\w*c", before[-1])) and not _SHELLS.isdisjoint(map(os.path.basename, before[:-1]))


def _filled(word: Template, event: Decoded | None) -> str:
    assert event is not None, "made for events, and run without one"
    return word.render(event)


def _environment(event: Decoded | None, more: Mapping[str, str]) -> dict[str, str]:
    # Those of a listener whose command we are tell of another event.
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    variables = dict(more)
    if event is not None:
        values = (event.id, event.timestamp, event.data_text, event.host, event.position, event.seq)
        variables |= zip(_VARIABLES, map(str, values), strict=False)
    for name, value in variables.items():
        encoded = _encoded(value)
        if b"\0" not in encoded and len(name) + 1 + len(encoded) <= LONGEST_WORD:
            environment[name] = os.fsdecode(encoded)
    return environment


def _encoded(text: str) -> bytes:
    """UTF-8, whatever the locale says; what came by our own command line as it came."""
    return text.encode("utf-8", "surrogateescape")


async def _feed(process: trio.Process, data: bytes) -> None:
    assert process.stdin is not None
    async with process.stdin:
        with suppress(trio.BrokenResourceError):  # it does not want to know
            await process.stdin.send_all(data)


async def _end(process: trio.Process) -> None:
    with trio.CancelScope(shield=True):
        there = _send(process, signal.SIGTERM)
        with trio.move_on_after(GRACE):
            while process.poll() is None or there:
                await trio.sleep(_POLL)
                there = _send(process, 0)
            return
        _send(process, signal.SIGKILL)
        with trio.move_on_after(GRACE):
            await process.wait()


def _send(process: trio.Process, number: int) -> bool:
    """Signal its process group. Returns whether there is still anyone in it."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # sudo, for instance
        return process.returncode is None
    return True


def _outcome(status: int) -> Outcome:
    if status >= 0:
        return Outcome(f"exit status {status}" if status else "")
    try:
        return Outcome(f"killed by {signal.Signals(-status).name}")
    except ValueError:  # a real-time signal
        return Outcome(f"killed by signal {-status}")
