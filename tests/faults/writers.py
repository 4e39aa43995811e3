"""Programs that send events, and remember what they were told of each."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import httpx
import trio

Outcome = Literal["accepted", "refused", "unknown", "under way"]

ACCOUNTS = range(1, 13)
PLAIN, KEYED = 8, 4
"""How many write once and take the answer as it is, and how many have a key and try until it is 202."""
PAUSE = 0.012
RETRY_PAUSE = 0.1
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


@dataclass
class Sent:
    """What became of an event. `position` is that of the answer, `at` when it came."""

    account: int
    outcome: Outcome = "under way"
    position: str = ""
    at: float = math.inf


@dataclass
class Writers:
    """All writers. `sent` has every event by its name, `answers` every single answer: statuses, and kinds of errors."""

    url: str
    sent: dict[str, Sent] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    _stop: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """Write until `stop()`, and then until every event with a key is accepted."""
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=30, limits=_LIMITS) as client,
            trio.open_nursery() as nursery,
        ):
            for number in range(PLAIN):
                nursery.start_soon(self._write_once, client, number)
            for number in range(KEYED):
                nursery.start_soon(self._write_until_accepted, client, number)

    def stop(self) -> None:
        self._stop.set()

    def count(self, outcome: Outcome) -> int:
        return sum(sent.outcome == outcome for sent in self.sent.values())

    async def _write_once(self, client: httpx.AsyncClient, writer: int) -> None:
        for number in count():
            if self._stop.is_set():
                return
            data = f"plain-{writer}-{number}"
            sent = self.sent[data] = Sent(ACCOUNTS[(writer + number) % len(ACCOUNTS)])
            await self.put(client, sent, data, {})
            await trio.sleep(PAUSE if sent.outcome == "accepted" else RETRY_PAUSE)

    async def _write_until_accepted(self, client: httpx.AsyncClient, writer: int) -> None:
        for number in count():
            if self._stop.is_set():
                return
            data = f"keyed-{writer}-{number}"
            sent = self.sent[data] = Sent(ACCOUNTS[(writer + number) % len(ACCOUNTS)])
            while True:
                await self.put(client, sent, data, {"Idempotency-Key": data})
                if sent.outcome == "accepted":
                    break
                await trio.sleep(RETRY_PAUSE)
            await trio.sleep(PAUSE)

    async def put(self, client: httpx.AsyncClient, sent: Sent, data: str, headers: dict[str, str]) -> None:
        """Send it once, and note what the answer means."""
        try:
            if headers:
                body = f'{{"name": "{data}", "padding": "{"x" * (len(self.sent) % 300)}"}}'
                headers = headers | {"Content-Type": "application/json"}
                answer = await client.put(f"/{sent.account}", content=body, headers=headers)
            else:
                answer = await client.put(f"/{sent.account}", params={"data": data})
        except (httpx.ConnectError, httpx.ConnectTimeout):
            sent.outcome = "refused"  # there was nobody to send it to
            self.answers["no connection"] += 1
        except httpx.TransportError as error:
            sent.outcome = "unknown"
            self.answers[type(error).__name__] += 1
        else:
            self.answers[str(answer.status_code)] += 1
            self._note(sent, data, answer)

    def _note(self, sent: Sent, data: str, answer: httpx.Response) -> None:
        if answer.status_code == 202:
            sent.outcome, sent.position, sent.at = "accepted", answer.headers["Event-Position"], trio.current_time()
        elif answer.status_code == 503:
            sent.outcome = "refused"
            if "Retry-After" not in answer.headers:
                self.complaints.append(f"{data}: 503 without Retry-After")
        elif answer.status_code == 504:
            sent.outcome = "unknown"
        else:
            self.complaints.append(f"{data}: unexpected answer {answer.status_code} {answer.text[:300]}")
