"""From which web pages streams may be read.

A browser lets any page open a WebSocket to anywhere, so a tracker behind a firewall would tell its events to every
page that someone behind it visits. Browsers say which page asks, in `Origin`; who is no browser does not send it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from werkzeug.exceptions import Forbidden

from shared.errors import Misconfigured

ANY = "*"
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins:
    """The pages that may: those of the host that they ask, and those that the setting --allow-origin names."""

    def __init__(self, allowed: str = "") -> None:
        """`allowed` is a list of origins with commas between, or `*`. Raises Misconfigured."""
        self._any = allowed.strip() == ANY
        self._allowed: set[tuple[str, str, int | None]] = set()
        for text in [] if self._any else filter(None, map(str.strip, allowed.split(","))):
            if (origin := _parsed(text)) is None:
                raise Misconfigured(
                    f"{text!r} of --allow-origin is no origin: expected origins such as https://app.example or "
                    "http://localhost:3000 without a path, with commas between, or * alone for every page there is."
                )
            self._allowed.add(origin)

    @property
    def matter(self) -> bool:
        """Whether an answer can depend on the Origin: then caches have to know."""
        return self._any or bool(self._allowed)

    def check(self, given: Sequence[str], host: str) -> str | None:
        """Return the origin of another host that is allowed to read the answer; None if there is no other one.

        `given` are the headers `Origin` of the request (any number), `host` is its header `Host`, or ''. Raises
        Forbidden.
        """
        if not given:
            return None
        text = given[0]
        origin = _parsed(text) if len(given) == 1 else None
        if origin is not None and _same(origin, host):
            return None
        if (self._any and len(given) == 1) or origin in self._allowed:
            return text
        shown = text if len(text) <= 100 else text[:100] + "…"
        raise Forbidden(
            f"Pages of the origin {shown!r} may not follow events here: expected one of this host, or one that the "
            "tracker's setting --allow-origin names."
        )


def _parsed(text: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port, so that equal origins are equal; None if it is no origin (as `null` is none)."""
    if (found := _ORIGIN.fullmatch(text.lower())) is None:
        return None
    scheme, host, port = found.groups()
    return scheme, host, int(port) if port else _DEFAULT_PORTS.get(scheme)


def _same(origin: tuple[str, str, int | None], host: str) -> bool:
    """Whether that is an origin of this host. The scheme does not count: before a proxy it is https, behind it http;
    so a Host without a port goes with the default port of either."""
    if (found := _HOST.fullmatch(host.lower())) is None:
        return False
    scheme, name, port = origin
    return name == found[1] and port == (int(found[2]) if found[2] else _DEFAULT_PORTS.get(scheme, 80))
