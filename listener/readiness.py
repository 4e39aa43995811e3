"""Telling others that the listener really follows: a line to a file descriptor, and a command that is run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from listener.settings import Acting, Ending
from listener.status import Status, Stop
from shared.errors import Misconfigured
from shared.frames import Ready, encode

FINISH_WITHIN = 5.0
"""For how many seconds the command may go on when there is nothing more to listen to."""


class Readiness:
    """Tells it once."""

    def __init__(self, ending: Ending, acting: Acting) -> None:
        """Raises Misconfigured."""
        self._fd = ending.ready_fd
        self._text = ending.on_ready
        self._within = acting.exec_timeout
        self._told = False
        if self._fd is not None:
            try:
                os.fstat(self._fd)
            except OSError as error:
                raise Misconfigured(
                    f"--ready-fd {self._fd} is not open. Expected a file descriptor that whoever starts the listener "
                    "has opened, as with 3>FILE in a shell."
                ) from error
            os.set_inheritable(self._fd, False)
        if self._text is not None:
            from listener.command import Command

            self._command = Command(self._text, shell=acting.shell, option="--on-ready", of_event=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """In the block the command may run. At its end it gets a moment to finish, then it is ended."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            yield
            if self._told:
                nursery.cancel_scope.deadline = trio.current_time() + FINISH_WITHIN
            else:
                nursery.cancel_scope.cancel()

    async def note(self, ready: Ready) -> None:
        """We follow. Raises Stop (FAULT) if the file descriptor can't be written; the block is left so if the command
        fails."""
        if self._told:
            return
        self._told = True
        if self._fd is not None:
            await trio.to_thread.run_sync(self._tell, self._fd, encode(ready) + b"\n", abandon_on_cancel=True)
        if self._text is not None:
            self._nursery.start_soon(self._run, ready)

    def _tell(self, fd: int, line: bytes) -> None:
        try:
            while line:
                line = line[os.write(fd, line) :]
            os.close(fd)
        except BrokenPipeError:
            pass  # whoever waited has gone
        except OSError as error:
            raise Stop(Status.FAULT, f"--ready-fd {fd} can't be written: {error.strerror}.") from error

    async def _run(self, ready: Ready) -> None:
        outcome = await self._command.run(None, encode(ready) + b"\n", {"EVENT_POSITION": ready.position}, self._within)
        if outcome.failure:
            raise Stop(Status.FAULT, f"--on-ready {self._text!r} failed: {outcome.failure}.")
