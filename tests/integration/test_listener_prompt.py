"""The listener at a terminal: the dialogue of the Go cli, keys and signals in each state."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from shared.events import draft, encode_text
from tests.integration.listeners import NOW, append_sync
from tests.integration.terminals import ENTER, TAB, UP, Terminal


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


def test_tab_and_enter_in_one_go(terminal: Terminal) -> None:
    terminal.type("e" + TAB + ENTER)
    terminal.expect_line(" no account IDs selected")


def test_tab_alone_shows_the_commands_and_what_they_do(terminal: Terminal) -> None:
    terminal.type(TAB)
    for line in ("accounts .*?select accounts", "events .*?show the events", "send .*?send an event"):
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
