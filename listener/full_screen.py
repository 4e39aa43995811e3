"""The whole terminal for a while: its alternate screen, keys as they are typed, and all as it was at the end.

However the block ends, the terminal is left as it was found. In between, Ctrl+Z gives it back to the shell, and `fg`
brings us back; of `fg` after `bg` nobody tells us, so it is looked before each frame whose the terminal is.
"""

from __future__ import annotations

import os
import signal
import termios
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from listener.status import Stop
from listener.terminal import STDIN, STDOUT, OutputClosed, finish, is_terminal, read_input, write

FINISH_WITHIN = 0.5
"""For how many seconds at the end a terminal that takes nothing is asked to take a frame, and what leaves it clean."""
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The alternate screen, no cursor, and what is too long for a line is cut by the terminal."""
_LEAVE = "\x1b[0m\x1b[2J\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Around a frame: a terminal that knows these shows it all at once."""
_NOT_OURS = 0.5
"""After how many seconds it is looked again whether the terminal is ours."""


class FullScreen:
    """The terminal at standard output."""

    def __init__(self) -> None:
        self._found = termios.tcgetattr(STDOUT)
        self._lock = trio.Lock()
        self._entered = False  # what was drawn last still stands there
        self._used = False  # it has to be left

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, one of each at least. Raises OutputClosed."""
        try:
            size = os.get_terminal_size(STDOUT)
        except OSError as error:
            raise OutputClosed from error
        return max(1, size.columns), max(1, size.lines)

    async def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, which leave the last column free, in place of the last ones. While the terminal is another
        program's, it waits. Raises as `write`."""
        while True:
            async with self._lock:
                if _is_ours():
                    await self._show(lines)
                    return
                self._entered = False
            await trio.sleep(_NOT_OURS)

    async def _show(self, lines: Sequence[str]) -> None:
        frame = _BEGIN
        if not self._entered:
            self._enter()
            frame += _ENTER
        frame += "".join(f"\x1b[{row}H{line}\x1b[0m\x1b[K" for row, line in enumerate(lines, start=1))
        # To its end: what leaves the terminal clean must come after.
        await finish(partial(write, [frame + _END], to=STDOUT, end=b""), within=FINISH_WITHIN)

    async def typed(self) -> bytes:
        """What is typed next; nothing at the end of input. Where keys come from elsewhere, it waits for ever."""
        if not is_terminal(STDIN):
            await trio.sleep_forever()
        while True:
            await trio.lowlevel.wait_readable(STDIN)
            if _is_ours():  # reading what is meant for the shell would stop us
                return await read_input()
            await trio.sleep(_NOT_OURS)

    async def suspend(self) -> None:
        """Leave the terminal, and stop as Ctrl+Z wants it. Returns when the shell lets us go on."""
        async with self._lock:
            await self.leave()
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            try:
                signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
            finally:
                signal.signal(signal.SIGTSTP, handler)

    def resumed(self) -> None:
        """After a stop the shell may have changed everything."""
        self._entered = False

    async def leave(self) -> None:
        """Leave the terminal as it was found, also when cancelled."""
        if self._used:
            # What can't be written can't be said either: the terminal is gone.
            with (
                suppress(OutputClosed, Stop),
                trio.CancelScope(shield=True, deadline=trio.current_time() + FINISH_WITHIN),
            ):
                await write([_LEAVE], to=STDOUT, end=b"")
            if _is_ours():
                with suppress(termios.error):
                    termios.tcflush(STDOUT, termios.TCIFLUSH)  # what was typed was not meant for the shell
                    termios.tcsetattr(STDOUT, termios.TCSANOW, self._found)
        self._used = self._entered = False

    def _enter(self) -> None:
        try:
            mode = termios.tcgetattr(STDOUT)
        except termios.error as error:
            raise OutputClosed from error
        mode[0] &= ~termios.IXON  # so that Ctrl+S is no trap
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        self._used = self._entered = True
        with suppress(termios.error):
            termios.tcsetattr(STDOUT, termios.TCSANOW, mode)


@asynccontextmanager
async def open_full_screen() -> AsyncIterator[FullScreen]:
    """The terminal at standard output, left clean at the end."""
    screen = FullScreen()
    try:
        yield screen
    finally:
        await screen.leave()


def _is_ours() -> bool:
    """Whether we are in the foreground of the terminal."""
    try:
        return os.tcgetpgrp(STDOUT) == os.getpgrp()
    except OSError:  # it is not the one that controls us: nobody takes it away
        return True
