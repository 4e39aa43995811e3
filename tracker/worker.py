"""`python -m tracker.worker`: one of several workers. Only `tracker/workers.py` starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys

import msgspec
import structlog
import trio

from shared.errors import Misconfigured, first_leaf
from tracker import counting, logs
from tracker.board import Board, Seat
from tracker.orders import READY, Orders

STDIN, STDOUT = 0, 1

log = structlog.get_logger(__name__)


async def _work(orders: Orders) -> None:
    from tracker.service import serve  # makes the counters

    listeners = [
        trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=number))) for number in orders.sockets
    ]
    seat = Seat(Board(orders.board, orders.workers), orders.number)
    async with trio.open_nursery() as nursery:
        abandoned = trio.Event()
        nursery.start_soon(_hold_lifeline, abandoned)

        async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(orders.config, listeners=listeners, seat=seat, abandoned=abandoned, task_status=task_status)
            nursery.cancel_scope.cancel()

        if await nursery.start(run):
            _say(READY)


async def _hold_lifeline(abandoned: trio.Event) -> None:
    async with trio.lowlevel.FdStream(os.dup(STDIN)) as lifeline:
        while await lifeline.receive_some():
            pass
    log.warning("the parent has gone")
    abandoned.set()


def _say(line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent has gone, as the lifeline will tell
        os.write(STDOUT, line + b"\n")


def main() -> None:
    """Follow the orders on stdin."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the parent has gone
    orders = Orders.decoded(line)
    logs.configure(orders.config.log_level, worker=orders.number)
    counting.count_together(orders.directory, orders.number)
    try:
        trio.run(_work, orders)
    except* Misconfigured as group:
        _say(msgspec.json.encode(str(first_leaf(group))))
        sys.exit(1)
    except* Exception as group:
        log.critical("the worker failed", exc_info=group)
        sys.exit(1)
    finally:
        if os.getppid() != orders.parent:
            shutil.rmtree(orders.directory, ignore_errors=True)  # which the parent would have done


if __name__ == "__main__":
    main()
