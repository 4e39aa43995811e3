"""For the tests of the listener: a real terminal, tmux, whose screen can be read."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.integration.listeners import PATIENCE, surroundings

LISTENER = shlex.join([sys.executable, "-m", "listener"])
PROMPT = "READY$"


def program_or_skip(name: str) -> None:
    """Skip the test where this program is missing; on a machine with CI set, that is a failure."""
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"needs {name}: apt-get install {name}")
        pytest.skip(f"needs {name}: apt-get install {name}")


class Tmux:
    """A terminal in which a bash runs."""

    def __init__(self, socket: Path) -> None:
        self._command = ["tmux", "-u", "-f", os.devnull, "-S", str(socket)]

    async def run(self, *command: str, **variables: str) -> str:
        """Run a command of tmux; what it says."""
        done = await trio.run_process(
            [*self._command, *command],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            env=surroundings(**variables),
        )
        return done.stdout.decode()

    async def type(self, *keys: str) -> None:
        """Keys by the names that tmux has for them, or text."""
        await self.run("send-keys", *keys)

    async def do(self, line: str) -> None:
        """Give the shell a line."""
        await self.run("send-keys", "-l", line)
        await self.type("Enter")

    async def lines(self, *, codes: bool = False) -> list[str]:
        """What stands on the screen."""
        return (await self.run("capture-pane", "-p", *(["-e"] if codes else []))).split("\n")[:-1]

    async def state(self, variable: str) -> str:
        return (await self.run("display-message", "-p", f"#{{{variable}}}")).strip()

    async def wait(self, found: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen is so; the screen."""
        lines: list[str] = []
        with trio.move_on_after(PATIENCE):
            while not found(lines := await self.lines()):
                await trio.sleep(0.03)
            return lines
        raise AssertionError("\n".join(["this never came:", *lines]))

    async def wait_for(self, text: str) -> list[str]:
        """Wait until a text stands on the screen; the screen."""
        return await self.wait(lambda lines: any(text in line for line in lines))

    async def wait_shell(self, said: str = "") -> None:
        """Wait until the shell has the terminal again, as it was, and what was written on it before is followed by
        this."""
        await self.wait(lambda lines: _last(lines) == PROMPT and any(said in line for line in lines))
        assert [await self.state(flag) for flag in ("alternate_on", "cursor_flag", "wrap_flag")] == ["0", "1", "1"]
        await self.do('clear; [ "$(stty -g)" = "$MODES" ] && echo as it was')
        await self.wait_for("as it was")


def _last(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line), "")


@asynccontextmanager
async def tmux(folder: Path, columns: int = 80, lines: int = 24, **variables: str) -> AsyncIterator[Tmux]:
    """A terminal of this size, at the prompt of a shell that has these variables."""
    program_or_skip("tmux")
    terminal = Tmux(folder / "tmux")
    size = ("-x", str(columns), "-y", str(lines))
    shell = f"env PS1='{PROMPT} ' bash --norc --noprofile -i"
    try:
        said = await terminal.run("new-session", "-d", *size, shell, **variables)
        assert not said, said
        await terminal.wait_for(PROMPT)
        await terminal.do("MODES=$(stty -g); clear")
        await terminal.wait(lambda lines: lines[0] == PROMPT)
        yield terminal
    finally:
        with trio.CancelScope(shield=True):
            await terminal.run("kill-server")
