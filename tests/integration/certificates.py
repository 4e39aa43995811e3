"""Certificates for the tests, of an authority of their own."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import trustme

CA = trustme.CA()


def write(folder: Path, *names: str, **settings: Any) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 (and `names`), and return its file and that of its key."""
    leaf = CA.issue_cert("127.0.0.1", *names, **settings)
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return cert, key


def trusting(*protocols: str) -> ssl.SSLContext:
    """What a client needs that trusts them, and offers these protocols."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def expired(days: int = 1) -> dict[str, Any]:
    """Settings for `write`."""
    return {"not_after": datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)}
