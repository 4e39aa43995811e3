"""URLs of Redis: which ones can be used, told without asking redis-py, which takes long to import.

What is said of a bad one never shows it: it may hold a password.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

SUPPORTED = "redis://host:6379, rediss://host:6379 (TLS) or unix:///path/of/socket"
_TLS = {"ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"}
_QUERY = {"db", "username", "password", *_TLS}


def what_is_wrong(url: str) -> str | None:
    """Return a sentence on why this URL can't be used, or None if it can."""
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        return "The address is no host with a port from 1 to 65535 (or the password needs percent-encoding)."
    if parts.scheme in ("ws", "wss"):
        return "A tracker's WebSocket (ws://, wss://) is not supported yet."
    if parts.scheme not in ("redis", "rediss", "unix") or "://" not in url:
        scheme = re.match(r"[a-z][a-z0-9+.-]{0,20}(?=://)", url, re.IGNORECASE)
        return f"{scheme[0]}:// is not supported." if scheme else "This is no URL."
    return _what_is_wrong_inside(parts)


def _what_is_wrong_inside(parts: SplitResult) -> str | None:
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        return "A password's characters /, ?, # and @ have to be percent-encoded."
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/"):
            return "A socket's path begins with a slash, so there are three of them."
        if parts.path.endswith("/"):
            return "There is no socket's path."
    elif not re.fullmatch(r"(/[0-9]{0,6})?", parts.path, re.ASCII):
        return "After the host comes nothing but the number of a database."
    for item in filter(None, parts.query.split("&")):
        key, _, value = item.partition("=")
        if key not in _QUERY or (key in _TLS and parts.scheme != "rediss"):
            return f"After the ? may come only {', '.join(sorted(_QUERY))}; those with ssl only for rediss."
        if key == "db" and not re.fullmatch(r"[0-9]{1,6}", value):
            return "db is no number."
    return None
