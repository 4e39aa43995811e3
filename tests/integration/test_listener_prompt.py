"""The listener at a terminal: the dialogue of the Go cli, keys and signals in each state."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from shared.events import draft, encode_text
from tests.integration.listeners import NOW, append_sync, surroundings

UP = "\x1b[A"
TAB = "\t"
ENTER = "\r"
TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x08")


class Terminal:
    """A listener in a pseudo-terminal."""

    def __init__(self, *arguments: str, term: str = "xterm", history: Path | str = "") -> None:
        self.child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "listener", *arguments],
            env=surroundings(TERM=term, LISTENER_HISTORY=str(history)),
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 120),
        )

    def expect_line(self, text: str) -> None:
        """Wait for a line of exactly this text; what comes before it is skipped."""
        self.child.expect(rf"(?:^|[\r\n]|\x1b\[\?2004l|[A-Za-z]){re.escape(text)}\r\n")

    def expect_prompt(self, question: str = ">") -> None:
        """Wait until the prompt reads keys: it has drawn itself, and shown the cursor."""
        self.child.expect(rf"\x1b\[0m{re.escape(question)}[^\n]*?\x1b\[\?7h")

    def type(self, text: str) -> None:
        self.child.send(text)

    def ends(self) -> str:
        """Wait for the end with status 0; returns the text of the last lines, without the terminal's codes."""
        self.child.expect(pexpect.EOF)
        rest = TERMINAL_CODE.sub("", self.child.before or "")
        self.child.close()
        assert (self.child.exitstatus, self.child.signalstatus) == (0, None)
        return rest


@pytest.fixture
def open_terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, **settings: Any) -> Terminal:
        opened.append(Terminal(*arguments, **settings))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.child.close(force=True)


@pytest.fixture
def terminal(open_terminal: Callable[..., Terminal], redis_url: str) -> Terminal:
    """A listener at its first prompt."""
    terminal = open_terminal("--from", redis_url)
    terminal.expect_prompt()
    return terminal


def publish(url: str, data: str, account: int = 1) -> None:
    append_sync(url, draft(account, encode_text(data), NOW), host="290ad619a440")


def test_the_session_of_the_readme(open_terminal: Callable[..., Terminal], redis_url: str) -> None:
    terminal = open_terminal("--from", redis_url)
    terminal.expect_line(f"Connecting to Redis@{redis_url.removeprefix('unix://')}")
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.type("accounts" + ENTER)
    terminal.expect_line(" already selected accounts: []")
    terminal.expect_line(" input space separated account IDs")
    terminal.expect_prompt("accounts >")
    terminal.type("1 2 3" + ENTER)
    terminal.expect_line(" current selected accounts: [1 2 3]")
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.type("accounts" + ENTER)
    terminal.expect_line(" already selected accounts: [1 2 3]")
    terminal.expect_line(" input space separated account IDs")
    terminal.expect_prompt("accounts >")
    terminal.type(ENTER)
    terminal.expect_line(' "" should be an (positive) number')
    terminal.expect_line(" current selected accounts: [1 2 3]")
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.type("events" + ENTER)
    terminal.expect_line("listening for events from: [1 2 3]")
    publish(redis_url, "test data")
    terminal.expect_line('<2021-02-06 17:35:30:123>: [1]: "test data" [290ad619a440]')
    publish(redis_url, "\x1b]0;title\x07", account=3)
    terminal.expect_line('<2021-02-06 17:35:30:123>: [3]: "\\x1b]0;title\\x07" [290ad619a440]')
    terminal.child.sendintr()
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.child.sendintr()
    assert "Goodbye!" in terminal.ends()


def test_events_without_accounts(terminal: Terminal) -> None:
    terminal.type("events" + ENTER)
    terminal.expect_line(" no account IDs selected")
    terminal.expect_prompt()


@pytest.mark.parametrize(("typed", "shown"), [("Events", "Events"), (" events", " events"), ("", ""), ("ä", "ä")])
def test_other_commands(terminal: Terminal, typed: str, shown: str) -> None:
    terminal.type(typed + ENTER)
    terminal.expect_line(f"unrecognized command: {shown}")
    terminal.expect_line("options: [accounts events]")


def test_tab_completes_in_either_case(terminal: Terminal) -> None:
    terminal.type("AC" + TAB)
    terminal.child.expect("accounts")
    terminal.type(ENTER)
    terminal.expect_line(" already selected accounts: []")
    terminal.expect_prompt("accounts >")
    terminal.type("7" + ENTER)
    terminal.expect_prompt()
    terminal.type("e" + TAB)
    terminal.child.expect("events")
    terminal.type(ENTER)
    terminal.expect_line("listening for events from: [7]")


def test_tab_alone_shows_the_commands_and_what_they_do(terminal: Terminal) -> None:
    terminal.type(TAB)
    for line in ("accounts +select accounts", "events +show the events", "send +send an event"):
        terminal.child.expect(line)
    terminal.type("events" + ENTER)
    terminal.expect_line(" no account IDs selected")


def test_arrow_up_brings_lines_back_each_prompt_its_own(terminal: Terminal) -> None:
    terminal.type("accounts" + ENTER)
    terminal.expect_prompt("accounts >")
    terminal.type("4 5" + ENTER)
    terminal.expect_line(" current selected accounts: [4 5]")
    terminal.expect_prompt()
    terminal.type(UP)
    terminal.child.expect("accounts")
    terminal.type(ENTER)
    terminal.expect_prompt("accounts >")
    terminal.type(UP)
    terminal.child.expect("4 5")
    terminal.type(" 6" + ENTER)
    terminal.expect_line(" current selected accounts: [4 5 6]")


def test_ctrl_c_at_the_accounts_goes_back(terminal: Terminal) -> None:
    terminal.type("accounts" + ENTER)
    terminal.expect_prompt("accounts >")
    terminal.type("8")
    terminal.child.sendintr()
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.type("accounts" + ENTER)
    terminal.expect_line(" already selected accounts: []")


@pytest.mark.parametrize("question", [">", "accounts >"])
def test_ctrl_d_at_a_prompt_leaves(terminal: Terminal, question: str) -> None:
    if question != ">":
        terminal.type("accounts" + ENTER)
        terminal.expect_prompt(question)
    terminal.child.sendeof()
    assert "Goodbye!" in terminal.ends()


def test_ctrl_d_while_listening_returns_to_the_prompt(terminal: Terminal, redis_url: str) -> None:
    for _ in range(2):
        listen(terminal)
        terminal.type("typed while listening" + ENTER)
        publish(redis_url, "still here")
        terminal.child.expect("still here")
        terminal.child.sendeof()
        terminal.expect_line("options: [accounts events]")
        terminal.expect_prompt()
    terminal.child.sendeof()
    assert "Goodbye!" in terminal.ends()


def listen(terminal: Terminal) -> None:
    terminal.type("accounts" + ENTER)
    terminal.expect_prompt("accounts >")
    terminal.type("1" + ENTER)
    terminal.expect_prompt()
    terminal.type("events" + ENTER)
    terminal.expect_line("listening for events from: [1]")


@pytest.mark.parametrize("state", ["prompt", "accounts", "listening"])
def test_sigterm_ends_it_in_every_state(terminal: Terminal, state: str) -> None:
    if state == "accounts":
        terminal.type("accounts" + ENTER)
        terminal.expect_prompt("accounts >")
    elif state == "listening":
        listen(terminal)
    terminal.child.kill(signal.SIGTERM)
    terminal.ends()


def test_sigint_from_elsewhere_is_ctrl_c(terminal: Terminal) -> None:
    listen(terminal)
    terminal.child.kill(signal.SIGINT)
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.child.kill(signal.SIGINT)
    assert "Goodbye!" in terminal.ends()


def test_redis_absent(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("--from", "unix:///nowhere/redis.sock")
    terminal.expect_prompt()
    terminal.type("accounts" + ENTER)
    terminal.expect_prompt("accounts >")
    terminal.type("1" + ENTER)
    terminal.expect_prompt()
    terminal.type("events" + ENTER)
    terminal.child.expect("is away")
    terminal.child.sendintr()
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.child.sendeof()
    assert "Goodbye!" in terminal.ends()


def test_a_terminal_that_can_do_nothing(open_terminal: Callable[..., Terminal], redis_url: str) -> None:
    terminal = open_terminal("--from", redis_url, term="dumb")
    terminal.child.expect("\n>")
    terminal.child.sendline("events")
    terminal.expect_line(" no account IDs selected")
    terminal.child.expect("\n>")
    terminal.child.sendintr()
    rest = terminal.ends()
    assert "Goodbye!" in rest
    assert "\x1b" not in rest


def test_events_at_a_terminal(open_terminal: Callable[..., Terminal], redis_url: str) -> None:
    terminal = open_terminal("events", "1", "--json", "--from", redis_url)
    terminal.expect_line("listening for events from: [1]")
    publish(redis_url, "\x9b2J")
    terminal.child.expect_exact('"Data":"\\u009b2J"')
    terminal.child.sendintr()
    terminal.ends()
