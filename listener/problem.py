"""What a refusal over HTTP says."""

from __future__ import annotations

import msgspec

from listener.output import escape


class _Problem(msgspec.Struct):
    detail: str = ""
    title: str = ""


def problem(body: bytes | None) -> str:
    """What a refusal says, safe to show, if it is a problem document (RFC 9457); else nothing."""
    try:
        said = msgspec.json.decode(body or b"", type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return escape((said.detail or said.title)[:500])
