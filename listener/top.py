"""`listener top`: asks the tracker again and again, and shows its answers until a key or a signal ends it.

One task asks, one looks up names, one waits for keys, one for signals; each changes what there is to show, and wakes
the one that draws. What changes while a frame is on its way is in the next one.
"""

from __future__ import annotations

import dataclasses
import locale
import math
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from listener.config import Config
from listener.full_screen import FullScreen, open_full_screen
from listener.keys import Key, keys
from listener.names import Names
from listener.output import escape_json
from listener.painter import Terminal
from listener.rates import Rates, ask_rates
from listener.sparkline import BLOCKS
from listener.terminal import STDOUT, is_capable, is_terminal, tell, use_color, write
from listener.top_figures import HISTORY, Figures, Order
from listener.top_screen import Drawn, draw, snapshot
from listener.tracker import Tracker, open_tracker, patiently
from shared.errors import OutcomeUnknown

ANSWER_WITHIN = 3.0
"""After how many seconds without an answer the tracker is said to be away, at an interval that is shorter."""
_WIDTH = 100
"""Of a snapshot that goes to no terminal."""


def can_show() -> bool:
    """Whether standard output is a terminal that `watch` can draw on."""
    return is_terminal(STDOUT) and is_capable()


async def show_once(config: Config, *, json: bool) -> None:
    """Write what the tracker says now. Raises Stop, RefusedBy, Misconfigured and OutputClosed."""
    async with open_tracker(config) as tracker:
        answer, rates = await patiently(tracker.part, lambda: ask_rates(tracker), config.give_up, tell)
        names = Names()
        await names.learn(tracker, [account.id for account in rates.busiest])
    if json:
        line = _with_names(answer, names)
        await write([escape_json(line) if is_terminal(STDOUT) else line], to=STDOUT)
    else:
        width = shutil.get_terminal_size((_WIDTH, 0)).columns
        terminal = Terminal(_has_unicode(), colors=False, styles=False)
        await write(snapshot(Figures(tracker.part, [rates], names.known), width, terminal), to=STDOUT)


def _with_names(answer: bytes, names: Names) -> str:
    whole = msgspec.json.decode(answer)
    for one in whole["Busiest"]:
        account = names.known.get(one["ID"])
        one["Name"] = account.name if account else None
    return msgspec.json.encode(whole).decode()


async def watch(config: Config, interval: float) -> None:
    """Show what the tracker says, every `interval` seconds, until a key or SIGHUP ends it.

    Raises Stop and RefusedBy when the tracker is away for too long, or is none; Misconfigured and OutputClosed.
    """
    async with open_tracker(config) as tracker, open_full_screen() as screen, trio.open_nursery() as nursery:
        top = _Top(tracker, screen)
        await nursery.start(top.heed_signals, nursery.cancel_scope)
        nursery.start_soon(top.ask, interval, config.give_up)
        nursery.start_soon(top.look_up_names)
        nursery.start_soon(top.draw)
        await top.heed_keys()
        nursery.cancel_scope.cancel()


class _Top:
    """What there is to show, and the tasks that change it."""

    def __init__(self, tracker: Tracker, screen: FullScreen) -> None:
        self._tracker = tracker
        self._screen = screen
        self._answers: deque[Rates | None] = deque(maxlen=HISTORY)
        self._names = Names()
        self._figures = Figures(tracker.part, self._answers, self._names.known)
        self._drawn = Drawn([], 0, 1)
        self._terminal = Terminal(_has_unicode(), colors=use_color("auto", STDOUT))
        self._changed = trio.Event()
        self._answered = trio.Event()

    async def ask(self, interval: float, give_up: float | None) -> None:
        async def once() -> Rates:
            with trio.move_on_after(max(ANSWER_WITHIN, interval)):
                return (await ask_rates(self._tracker))[1]
            raise OutcomeUnknown(self._tracker.part, "no answer in time")

        while True:
            due = trio.current_time() + interval
            rates = await patiently(
                self._tracker.part, once, math.inf if give_up is None else give_up, self._note_outage
            )
            self._answers.append(rates)
            self._answered.set()
            self._change(away=None)
            await trio.sleep_until(due)

    def _note_outage(self, text: str) -> None:
        if self._answers:
            self._answers.append(None)
        self._change(away=f"Since {datetime.now(UTC):%H:%M:%S} UTC: {text}")

    async def look_up_names(self) -> None:
        while True:
            await self._answered.wait()
            self._answered = trio.Event()
            latest = self._answers[-1]
            if latest is not None:
                await self._names.learn(self._tracker, [account.id for account in latest.busiest])
                self._change()

    async def heed_keys(self) -> None:
        while typed := await self._screen.typed():
            for key in keys(typed):
                if key is Key.QUIT:
                    return
                self._heed(key)

    def _heed(self, key: Key) -> None:
        page, offset = self._drawn.page, self._figures.offset
        match key:
            case Key.MINUTE:
                self._change(order=Order.MINUTE)
            case Key.FIVE_MINUTES:
                self._change(order=Order.FIVE_MINUTES)
            case Key.HELP:
                self._change(help=not self._figures.help)
            case Key.UP:
                self._change(offset=offset - 1)
            case Key.DOWN:
                self._change(offset=offset + 1)
            case Key.PAGE_UP:
                self._change(offset=offset - page)
            case Key.PAGE_DOWN:
                self._change(offset=offset + page)
            case Key.HOME:
                self._change(offset=0)
            case Key.END:
                self._change(offset=1_000_000)

    async def heed_signals(
        self, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        numbers = (signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
        with trio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            await self._heed_signals(signals, scope)

    async def _heed_signals(self, signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for number in signals:
            match number:
                case signal.SIGHUP | signal.SIGQUIT:
                    scope.cancel()
                case signal.SIGTSTP:
                    await self._screen.suspend()
                case signal.SIGCONT:
                    self._screen.resumed()
            self._change()

    async def draw(self) -> None:
        while True:
            self._changed = trio.Event()
            self._drawn = draw(self._figures, *self._screen.size, self._terminal)
            self._figures = dataclasses.replace(self._figures, offset=self._drawn.offset)
            await self._screen.draw(self._drawn.lines)
            await self._changed.wait()

    def _change(self, **changes: Any) -> None:
        self._figures = dataclasses.replace(self._figures, **changes)
        self._changed.set()


def _has_unicode() -> bool:
    """Whether the locale has the characters of bars; how Python writes text is another matter (PEP 540)."""
    try:
        BLOCKS.encode(locale.getencoding())
    except (UnicodeEncodeError, LookupError):
        return False
    return True
