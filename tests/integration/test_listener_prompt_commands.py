"""What the prompt has beyond the Go dialogue: its commands, what TAB offers, and a history that outlives it."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.listeners import PATIENCE, append_sync, event
from tests.integration.terminals import ENTER, TAB, UP, RunningTracker, Terminal, running_tracker

OpenTerminal = Callable[..., Terminal]
NOWHERE = "unix:///nowhere/redis.sock"
CTRL_R = "\x12"


@pytest.fixture
def tracker(database_url: str, redis_url: str) -> Iterator[RunningTracker]:
    with running_tracker(database_url, redis_url) as running:
        yield running


@pytest.fixture
def with_tracker(open_terminal: OpenTerminal, tracker: RunningTracker, redis_url: str) -> Terminal:
    """A listener at its first prompt, which knows a tracker."""
    terminal = open_terminal("--from", redis_url, "--tracker", tracker.url)
    terminal.expect_prompt()
    return terminal


def create(tracker: RunningTracker, name: str, *, active: bool = True) -> int:
    answer = httpx.post(tracker.url, json={"Name": name, "IsActive": active}, timeout=PATIENCE)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["ID"])


def events(tracker: RunningTracker, account: int) -> list[object]:
    answer = httpx.get(f"{tracker.url}/events", params={"account": account, "since": "all"}, timeout=PATIENCE)
    return [one["Data"] for one in answer.json()["Events"]]


def test_help_is_named_at_the_start_and_names_everything(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal("--from", NOWHERE)
    terminal.expect_line(' "help" tells what there is')
    terminal.expect_prompt()
    terminal.type("help" + ENTER)
    for name in ("accounts", "remove", "events", "since", "json", "send", "help", "Ctrl.C, Ctrl.D", "TAB"):
        terminal.child.expect(rf"[\nl] {name} [^\n]*\w")
    terminal.child.expect_exact("docs/listener.md")
    terminal.expect_prompt()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("evnts", ' did you mean "events"?'),
        ("ACOUNTS 1 2", ' did you mean "accounts"?'),
        (" sned 7 x", ' did you mean "send"?'),
        ("events 7", ' did you mean "events"?'),
        ("quit", ' "help" tells what there is'),
        ("", ' "help" tells what there is'),
    ],
)
def test_typos(terminal: Terminal, typed: str, said: str) -> None:
    terminal.do(typed, f"unrecognized command: {typed}", said)


def test_accounts_and_remove_with_arguments(terminal: Terminal) -> None:
    terminal.do("accounts 7 1-3  5-4 x", " current selected accounts: [1 2 3 7]")
    terminal.do("remove 2-3 9 20-30 y", " 9 was not selected", " 20-30 was not selected")
    terminal.do("accounts all", " current selected accounts: all")
    terminal.do("remove 7", ' 7 can\'t be taken out of all: "remove all" first, then select the others')
    terminal.do("remove all", " current selected accounts: []")
    terminal.do("events", " no account IDs selected")


def test_remove_asks(terminal: Terminal) -> None:
    terminal.do("accounts 1-3", " current selected accounts: [1 2 3]")
    terminal.type("remove" + ENTER)
    terminal.expect_line(" already selected accounts: [1 2 3]")
    terminal.expect_prompt("remove >")
    terminal.do("2", " current selected accounts: [1 3]")


def test_since(terminal: Terminal, redis_url: str) -> None:
    [first, second] = append_sync(redis_url, event("old", 7), event("older", 7))
    terminal.do("accounts 7")
    terminal.do("since yesterday", " events are shown since: now")
    for place, expected in [("all", "old"), (first.position, "older")]:
        terminal.do(f"since {place}", f" events are shown since: {place}")
        terminal.type("events" + ENTER)
        terminal.child.expect(f'"{expected}" ')
        terminal.expect_line("listening for events from: [7]")
        terminal.child.sendeof()
        terminal.expect_prompt()
    terminal.type("since" + ENTER)
    terminal.expect_line(f" events are shown since: {first.position}")
    terminal.expect_prompt("since >")
    terminal.do("now", " events are shown since: now")
    terminal.type("events" + ENTER)
    terminal.expect_line("listening for events from: [7]")
    assert '"old' not in terminal.child.before
    assert second.position != first.position


def test_a_place_that_is_none_is_told_at_once(terminal: Terminal) -> None:
    terminal.type("since yester\x1bday" + ENTER)
    terminal.child.expect("is no place to begin: expected a Position")
    terminal.expect_prompt()


def test_json(terminal: Terminal, redis_url: str) -> None:
    append_sync(redis_url, event("\x1b[31m", 7))
    terminal.do("accounts 7")
    terminal.do("since all")
    terminal.do("json", " events are shown as: JSON")
    terminal.do("json maybe", ' "maybe" should be on or off', " events are shown as: JSON")
    terminal.type("events" + ENTER)
    terminal.child.expect_exact('{"ID":7,')
    terminal.child.expect_exact('"\\u001b[31m"')
    terminal.child.sendeof()
    terminal.expect_prompt()
    terminal.do("json", " events are shown as: text")
    terminal.do("json on", " events are shown as: JSON")
    terminal.do("json off", " events are shown as: text")
    terminal.type("events" + ENTER)
    terminal.child.expect(r'\[7\]: "\\x1b\[31m"')


def test_send(with_tracker: Terminal, tracker: RunningTracker) -> None:
    quiet = create(tracker, "quiet", active=False)
    with_tracker.type("send 7  hello  wörld " + ENTER)
    with_tracker.child.expect(r" accepted at: [0-9a-f]{12}-0-1\r\n")
    with_tracker.expect_prompt()
    with_tracker.type("send" + ENTER)
    with_tracker.expect_line(" input an account ID")
    with_tracker.expect_prompt("send >")
    with_tracker.type("7" + ENTER)
    with_tracker.expect_line(" input the data for account 7")
    with_tracker.expect_prompt("data >")
    with_tracker.type('{"a": 1}' + ENTER)
    with_tracker.child.expect(r" accepted at: [0-9a-f]{12}-0-2\r\n")
    assert events(tracker, 7) == [" hello  wörld ", '{"a": 1}']
    with_tracker.expect_prompt()
    with_tracker.type(f"send {quiet} x" + ENTER)
    with_tracker.child.expect(rf"refuses \(400\): Account {quiet} is not active")
    with_tracker.expect_prompt()
    with_tracker.type("send 999999 x" + ENTER)
    with_tracker.child.expect(r"refuses \(404\): There is no account 999999")
    with_tracker.expect_prompt()
    with_tracker.do("send -7 x", ' "-7" should be an (positive) number')


@pytest.mark.parametrize("answers", [["remove"], ["since"], ["send"], ["send", "7"], ["send 7"]])
def test_ctrl_c_at_every_question_goes_back(terminal: Terminal, answers: list[str]) -> None:
    terminal.do("accounts 3", " current selected accounts: [3]")
    ask(terminal, answers)
    terminal.type("3")
    terminal.child.sendintr()
    terminal.expect_line("options: [accounts events]")
    terminal.expect_prompt()
    terminal.do("accounts 4", " current selected accounts: [3 4]")


@pytest.mark.parametrize("answers", [["remove"], ["since"], ["send"], ["send", "7"]])
@pytest.mark.parametrize("how", ["Ctrl+D", "SIGTERM"])
def test_leaving_at_every_question(terminal: Terminal, answers: list[str], how: str) -> None:
    ask(terminal, answers)
    if how == "Ctrl+D":
        terminal.child.sendeof()
        assert "Goodbye!" in terminal.ends()
    else:
        terminal.child.kill(signal.SIGTERM)
        terminal.ends()


def ask(terminal: Terminal, answers: list[str]) -> None:
    for answer in answers:
        terminal.type(answer + ENTER)
        terminal.expect_prompt({"remove": "remove >", "since": "since >", "send": "send >"}.get(answer, "data >"))


@pytest.mark.parametrize("trouble", ["gone", "hanging"])
@pytest.mark.parametrize("how", ["Ctrl+C", "SIGTERM"])
def test_an_interrupted_send(with_tracker: Terminal, tracker: RunningTracker, trouble: str, how: str) -> None:
    tracker.process.send_signal(signal.SIGSTOP if trouble == "hanging" else signal.SIGKILL)
    if trouble == "gone":
        tracker.process.wait()
    with_tracker.type("send 7 x" + ENTER)
    if trouble == "gone":
        with_tracker.child.expect_exact("is away")
    else:
        with_tracker.wait_for_connection(tracker.url)
    if how == "SIGTERM":
        with_tracker.child.kill(signal.SIGTERM)
        with_tracker.ends()
        return
    with_tracker.child.sendintr()
    with_tracker.expect_line(" interrupted: the tracker may have accepted it, or not")
    with_tracker.expect_prompt()
    with_tracker.do("accounts 4", " current selected accounts: [4]")


def test_a_send_survives_an_outage(
    open_terminal: OpenTerminal, database_url: str, redis_url: str, tracker: RunningTracker
) -> None:
    terminal = open_terminal("--from", redis_url, "--tracker", tracker.url)
    terminal.expect_prompt()
    tracker.process.send_signal(signal.SIGSTOP)
    terminal.type("send 7 once" + ENTER)
    terminal.child.expect_exact("is away (no answer in time)")
    tracker.process.send_signal(signal.SIGCONT)
    terminal.child.expect(r" accepted at: [0-9a-f]{12}-0-1\r\n")
    assert events(tracker, 7) == ["once"]


def test_a_refusal_to_be_followed_leads_back(open_terminal: OpenTerminal, tracker: RunningTracker) -> None:
    terminal = open_terminal("--from", tracker.url.replace("http", "ws"))
    terminal.expect_prompt()
    terminal.do("accounts 999999", " current selected accounts: [999999]")
    terminal.type("events" + ENTER)
    terminal.child.expect(r"refuses to be followed \(404\)")
    terminal.expect_prompt()
    terminal.do("remove all", " current selected accounts: []")


def test_tab_completes_names_and_ids(with_tracker: Terminal, tracker: RunningTracker) -> None:
    anna, annabel = create(tracker, "Anna"), create(tracker, "annabel\x1b[2J", active=False)
    with_tracker.type("accounts ann" + TAB)
    with_tracker.child.expect(rf"{anna} .*Anna .*{annabel} .*annabel\\x1b\[2J \(not active\)")
    with_tracker.type(TAB)
    with_tracker.child.expect_exact(str(anna))
    with_tracker.type(" annab" + TAB)
    with_tracker.child.expect_exact(str(annabel))
    with_tracker.type(ENTER)
    with_tracker.expect_line(f" current selected accounts: [{anna} {annabel}]")
    with_tracker.expect_prompt()
    with_tracker.type("accounts" + ENTER)
    with_tracker.expect_prompt("accounts >")
    with_tracker.type("999" + TAB)  # there is 999, and nothing else that begins so
    with_tracker.type(" 100" + TAB)
    with_tracker.child.expect("1000 .*1001 ")
    with_tracker.type("0" + ENTER)
    with_tracker.expect_line(f" current selected accounts: [999 1000 {anna} {annabel}]")
    with_tracker.expect_prompt()
    with_tracker.type("remove " + TAB)
    with_tracker.child.expect(rf"999 .*1000 .*{anna} .*Anna ")
    with_tracker.type("ANNA" + TAB)
    with_tracker.child.expect(rf"{anna} .*{annabel} ")
    with_tracker.type(TAB + TAB)
    with_tracker.child.expect_exact(str(annabel))
    with_tracker.type(ENTER)
    with_tracker.expect_line(f" current selected accounts: [999 1000 {anna}]")


@pytest.mark.parametrize("trouble", ["unknown", "gone", "hanging"])
def test_tab_without_an_answer_keeps_nobody(
    open_terminal: OpenTerminal, tracker: RunningTracker, redis_url: str, trouble: str
) -> None:
    known = [] if trouble == "unknown" else ["--tracker", tracker.url]
    terminal = open_terminal("--from", redis_url, *known)
    terminal.expect_prompt()
    tracker.process.send_signal(signal.SIGSTOP if trouble == "hanging" else signal.SIGKILL)
    terminal.type("accounts 7" + TAB + " x" + TAB + ENTER)
    terminal.expect_line(' "x" should be an (positive) number')
    terminal.expect_line(" current selected accounts: [7]")
    terminal.expect_prompt()
    terminal.type("remove " + TAB)
    terminal.child.expect("[^?]7")
    terminal.type(ENTER)
    terminal.expect_line(" current selected accounts: []")
    terminal.expect_prompt()
    terminal.type("accounts q" + TAB)
    terminal.child.expect_exact("q")
    terminal.child.kill(signal.SIGTERM)
    terminal.ends()


def test_bytes_that_are_no_text(with_tracker: Terminal) -> None:
    assert isinstance(with_tracker.child.fileno(), int)
    os.write(with_tracker.child.fileno(), b"accounts \xff\xfe" + TAB.encode() + ENTER.encode())
    with_tracker.child.expect(r'" should be an \(positive\) number')
    with_tracker.expect_prompt()


def test_pasted_lines_wait_for_enter(terminal: Terminal) -> None:
    terminal.type("\x1b[200~accounts\r\n  1\n\n2\n\x1b[201~")
    terminal.child.expect_exact("accounts 1 2")
    terminal.do(" 3", " current selected accounts: [1 2 3]")


def test_history_outlives_the_prompt(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    history = tmp_path / "new" / "history"
    for number in range(2):
        terminal = open_terminal("--from", NOWHERE, history=history)
        terminal.expect_prompt()
        if number == 0:
            terminal.type("accounts" + ENTER)
            terminal.expect_prompt("accounts >")
            terminal.type("4 5" + ENTER)
        else:
            terminal.type(UP)
            terminal.child.expect("accounts")
            terminal.type(ENTER)
            terminal.expect_prompt("accounts >")
            terminal.type(CTRL_R + "4")
            terminal.child.expect(r"4\x1b\[0m 5")
            terminal.type(ENTER + ENTER)
        terminal.expect_line(" current selected accounts: [4 5]")
        terminal.expect_prompt()
        terminal.child.sendeof()
        terminal.ends()
    assert history.read_text() == ">accounts\naccounts >4 5\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700


def test_two_prompts_share_a_history(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    history = tmp_path / "history"
    both = [open_terminal("--from", NOWHERE, history=history) for _ in range(2)]
    for terminal in both:
        terminal.expect_prompt()
    for number in range(3):
        for name, terminal in enumerate(both, 1):
            terminal.do(f"accounts {number + 1}{name}")
    expected = [f">accounts {number + 1}{name}" for number in range(3) for name in (1, 2)]
    assert history.read_text().splitlines() == expected


@pytest.mark.parametrize("place", ["/nowhere/history", "/dev/full", "/", "/etc/passwd"])
def test_a_history_that_can_not_be_kept(open_terminal: OpenTerminal, place: str) -> None:
    terminal = open_terminal("--from", NOWHERE, history="/proc/history" if place == "/nowhere/history" else place)
    if place == "/dev/full":
        terminal.expect_prompt()
        terminal.type("json on" + ENTER)
    terminal.child.expect_exact(" what is typed here is not kept: ")
    terminal.expect_prompt()
    terminal.do("json on", " events are shown as: JSON")
    assert "not kept" not in (terminal.child.before or "")
    terminal.type(UP)
    terminal.child.expect_exact("json on")


def test_everything_at_a_terminal_that_can_do_nothing(
    open_terminal: OpenTerminal, tracker: RunningTracker, redis_url: str, tmp_path: Path
) -> None:
    terminal = open_terminal("--from", redis_url, "--tracker", tracker.url, term="dumb", history=tmp_path / "history")
    terminal.expect_line(' "help" tells what there is')
    for typed, said in [
        ("evnts", ' did you mean "events"?'),
        ("accounts 1-3", " current selected accounts: [1 2 3]"),
        ("remove 2", " current selected accounts: [1 3]"),
        ("since 10m", " events are shown since: 10m"),
        ("json on", " events are shown as: JSON"),
        ("help", " All of it is in docs/listener.md."),
    ]:
        terminal.child.expect(">")
        terminal.child.sendline(typed)
        terminal.expect_line(said)
    terminal.child.expect(">")
    terminal.child.sendline("send 1 hello")
    terminal.child.expect(" accepted at: ")
    terminal.child.expect(">")
    terminal.child.sendline("send")
    terminal.child.expect("send >")
    terminal.child.sendintr()
    terminal.child.expect(">")
    terminal.child.sendline("events")
    terminal.child.expect_exact('"Data":"hello"')
    terminal.child.sendintr()
    terminal.child.expect(">")
    terminal.child.sendeof()
    rest = terminal.ends()
    assert "Goodbye!" in rest
    assert "\x1b" not in rest
