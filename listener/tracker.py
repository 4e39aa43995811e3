"""A tracker over HTTP: what `listener` sends to, and asks."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
import trio

from listener.config import Config
from listener.output import escape
from listener.problem import problem
from listener.status import Status, Stop
from shared.errors import OutcomeUnknown, Refused, Unavailable
from shared.supervision import backoff

T = TypeVar("T")
M = TypeVar("M")

GIVE_UP = 30.0
"""After how many seconds an unreachable tracker is given up, where nobody said otherwise."""
CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 15.0
"""A tracker itself answers within 5 s, with a 503 or 504 if need be."""
LONGEST_WAIT = 10.0
"""How much of a Retry-After, in seconds, is waited for before asking again."""

NOT_FOUND = 404
_NOT_DONE = {408, 425, 429, 503}
"""Statuses by which a tracker, or what stands in front of it, says: not done, but maybe later."""
_UNKNOWN = {500, 502, 504}
"""Those that leave open whether it was done."""


class RefusedBy(Refused):
    """The tracker, or what stands in front of it, refuses this, with this HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Later(Unavailable):
    """Certainly not done, but maybe in so many seconds."""

    def __init__(self, part: str, reason: str, seconds: float = 0.0) -> None:
        super().__init__(part, reason)
        self.seconds = seconds


class Account(msgspec.Struct, frozen=True, rename="pascal"):
    """An account."""

    id: int = msgspec.field(name="ID")
    name: str
    is_active: bool


class _Page(msgspec.Struct, frozen=True, rename="pascal"):
    accounts: list[Account]


class Tracker:
    """One tracker, or several behind one address. Every answer is awaited for ANSWER_WITHIN seconds at most."""

    def __init__(self, client: httpx.AsyncClient, part: str) -> None:
        """`part` is what a person knows it by."""
        self.part = part
        self._client = client

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str | int] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        begun: Callable[[], object] | None = None,
    ) -> httpx.Response:
        """Ask once. Returns an answer of success. `begun` is called when the connection stands, and the first byte goes
        out: one who gives up before that knows that nothing was done.

        Raises RefusedBy; Unavailable if it was certainly not done and may be asked again; OutcomeUnknown if it may have
        been done.
        """

        async def trace(name: str, info: dict[str, Any]) -> None:
            if begun is not None and name == "http11.send_request_headers.started":
                begun()

        try:
            response = await self._client.request(
                method, path, params=params, content=content, headers=headers, extensions={"trace": trace}
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(self.part, _why(error)) from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(self.part, _why(error)) from error
        if response.is_success:
            return response
        said = problem(response.content) or f"HTTP status {response.status_code}"
        if response.status_code in _NOT_DONE:
            raise Later(self.part, said, _seconds(response.headers.get("Retry-After", "")))
        if response.status_code in _UNKNOWN:
            raise OutcomeUnknown(self.part, said)
        raise RefusedBy(response.status_code, f"{self.part} refuses ({response.status_code}): {said}")

    async def accounts(
        self, *, after: int = 0, limit: int = 100, active: bool | None = None, name: str = ""
    ) -> list[Account]:
        """Return the next accounts by ID, `limit` (1 to 1000) at most. Raises as `request`."""
        params: dict[str, str | int] = {"after": after, "limit": limit}
        if active is not None:
            params["active"] = "true" if active else "false"
        if name:
            params["name"] = name
        return self.decoded(await self.request("GET", "/accounts", params=params), _Page).accounts

    async def account(self, account_id: int) -> Account | None:
        """Return an account; None if there is none of this ID. Raises as `request`."""
        try:
            return self.decoded(await self.request("GET", f"/{account_id}"), Account)
        except RefusedBy as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def decoded(self, response: httpx.Response, kind: type[M]) -> M:
        """What an answer says. Raises RefusedBy if it is not what a tracker says."""
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            said = escape(str(error))
            raise RefusedBy(response.status_code, f"{self.part} answers as no tracker does: {said}.") from error


@asynccontextmanager
async def open_tracker(config: Config) -> AsyncIterator[Tracker]:
    """The tracker of these settings; nothing is asked of it yet. Raises Misconfigured."""
    url = config.tracker_url
    token = config.read_token()
    headers = {"User-Agent": "trio-tracker-listener", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    # As the WebSocket does: certificates are those of the system, and neither proxies nor .netrc count.
    secure: Any = ssl.create_default_context() if url.lower().startswith("https:") else True
    timeout = httpx.Timeout(ANSWER_WITHIN, connect=CONNECT_WITHIN)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=timeout, verify=secure, trust_env=False
    ) as client:
        yield Tracker(client, f"Tracker@{urlsplit(url).netloc}")


async def patiently(
    part: str,
    action: Callable[[], Awaitable[T]],
    give_up: float | None,
    tell: Callable[[str], object] = lambda text: None,
) -> T:
    """Ask `part` for something that can be done twice until it works: again after each Unavailable and OutcomeUnknown.

    `tell` is told once that this has to wait. Raises Stop (UNREACHABLE) when it has not worked for `give_up` seconds
    (None: GIVE_UP); what else it raises, at once.
    """
    deadline = trio.current_time() + (GIVE_UP if give_up is None else give_up)
    told = False
    for delay in backoff():
        try:
            with trio.fail_at(deadline):
                return await action()
        except trio.TooSlowError as error:
            raise Stop(Status.UNREACHABLE, f"{part} can't be reached: no answer in time.") from error
        except (Unavailable, OutcomeUnknown) as error:
            seconds = max(delay, min(error.seconds if isinstance(error, Later) else 0.0, LONGEST_WAIT))
            if trio.current_time() + seconds > deadline:
                raise Stop(Status.UNREACHABLE, f"{part} can't be reached: {error.reason}.") from error
            if not told:
                told = True
                tell(f"{part} is away ({error.reason.rstrip('.')}). Trying again until it is back.")
            await trio.sleep(seconds)
    raise AssertionError("backoff() never ends")


def _why(error: httpx.HTTPError) -> str:
    match error:
        case httpx.TimeoutException():
            return "no answer in time"
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError():
            return "the connection broke"
    return escape(str(error)) or type(error).__name__


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10 else 0.0
