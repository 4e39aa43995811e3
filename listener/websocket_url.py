"""URLs of a tracker's WebSocket: which ones can be used, and what they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

SUPPORTED = "ws://host:8080 or wss://host (TLS)"


@dataclass(frozen=True)
class Endpoint:
    """Where to connect, and what to ask for."""

    host: str
    port: int
    tls: bool
    path: str

    @property
    def netloc(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def resource(self, accounts: list[str], since: str | None) -> str:
        """Path and query of the request."""
        query = [("account", account) for account in accounts]
        return f"{self.path}?{urlencode([*query, ('since', since)] if since else query)}"


def is_one(url: str) -> bool:
    """Whether this is meant to be such a URL."""
    return url[:6].lower().startswith(("ws://", "wss://"))


def what_is_wrong(url: str) -> str | None:
    """Return a sentence on why this URL can't be used, or None if it can. It does not show the URL."""
    try:
        parts = urlsplit(url)
        if parts.port == 0 or not parts.hostname:
            raise ValueError
    except ValueError:
        return "The address is no host with a port from 1 to 65535."
    if parts.username is not None or parts.password is not None:
        return "A tracker takes no user and password."
    if "?" in url or "#" in url:
        return "After the path comes nothing: accounts and since are given to the listener."
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "Other characters than those of ASCII have to be percent-encoded, white space too."
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        return "The host's name is none."
    return None


def endpoint(url: str) -> Endpoint:
    """What a URL that can be used leads to. Without a path: /events."""
    parts = urlsplit(url)
    tls = parts.scheme == "wss"
    path = parts.path if parts.path.strip("/") else "/events"
    return Endpoint(parts.hostname or "", parts.port or (443 if tls else 80), tls, path)


def of_tracker(url: str) -> str:
    """The URL of the tracker, or what stands in front of it, whose WebSocket this is."""
    where = endpoint(url)
    base = where.path.removesuffix("/").removesuffix("/events")
    return f"{'https' if where.tls else 'http'}://{where.netloc}{base}"


def to_tracker(url: str) -> str:
    """The URL of the WebSocket of the tracker, or what stands in front of it, at this URL."""
    return f"ws{url[4:]}/events"
