"""For the tests of the listener: the program in a pseudo-terminal, and a tracker beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pexpect
import psutil

from tests.integration.listeners import PATIENCE, surroundings

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

    def wait_for_connection(self, url: str) -> None:
        """Wait until it is connected to the server at `url`."""
        assert self.child.pid is not None
        process, port = psutil.Process(self.child.pid), urlsplit(url).port
        deadline = time.monotonic() + PATIENCE
        while not any(one.raddr and one.raddr[1] == port for one in process.net_connections()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def type(self, text: str) -> None:
        self.child.send(text)

    def do(self, command: str, *said: str) -> None:
        """Give a command at the prompt; expect these lines, and the prompt again."""
        self.type(command + ENTER)
        for line in said:
            self.expect_line(line)
        self.expect_line("options: [accounts events]")
        self.expect_prompt()

    def ends(self) -> str:
        """Wait for the end with status 0; returns the text of the last lines, without the terminal's codes."""
        self.child.expect(pexpect.EOF)
        rest = TERMINAL_CODE.sub("", self.child.before or "")
        self.child.close()
        assert (self.child.exitstatus, self.child.signalstatus) == (0, None)
        return rest


class RunningTracker(NamedTuple):
    """A tracker, a process of its own: a test may wait for a terminal meanwhile."""

    process: subprocess.Popen[bytes]
    url: str


@contextmanager
def running_tracker(database_url: str, redis_url: str, bind: str = "127.0.0.1:0") -> Iterator[RunningTracker]:
    command = [sys.executable, "-m", "tracker", "--bind", bind, "--database", database_url]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    with subprocess.Popen([*command, "--redis", redis_url], stderr=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stderr is not None
            said = b""
            while not (found := re.search(rb"Tracking on (\S+)", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield RunningTracker(process, found[1].decode())
        finally:
            process.kill()
