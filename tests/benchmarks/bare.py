"""The floor: what trio and httptools can do when there is nothing to do but to answer 202.

python -m tests.benchmarks.bare
"""

from __future__ import annotations

import sys

import httptools
import trio

ANSWER = b"HTTP/1.1 202 \r\ncontent-length: 0\r\n\r\n"


class Requests:
    """What the parser calls, and what it takes to answer properly."""

    complete = 0
    last = False

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_message_complete(self) -> None:
        self.complete += 1
        self.last = not self.parser.should_keep_alive()


async def answer(stream: trio.SocketStream) -> None:
    requests = Requests()
    try:
        while not requests.last and (data := await stream.receive_some(65536)):
            requests.parser.feed_data(data)
            if requests.complete:
                await stream.send_all(ANSWER * requests.complete)
                requests.complete = 0
    except (trio.BrokenResourceError, httptools.HttpParserError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        print(f"Serving on http://127.0.0.1:{listener.socket.getsockname()[1]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    trio.run(main)
