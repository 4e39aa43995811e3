"""The certificate of the HTTP port: read, tried, and read again when it was renewed."""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path

import structlog
import trio

from shared.errors import Misconfigured

log = structlog.get_logger(__name__)

LOOK_EVERY = 10.0
"""How often, in seconds, it is looked whether the files have changed."""

_OUT_OF_DATE = {9: "not valid yet", 10: "expired"}
"""Codes of OpenSSL (X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED)."""


def server_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """The settings of TLS 1.2 and 1.3 for a server with this certificate; HTTP/2 is offered by ALPN.

    `cert` is a PEM file with the chain, the server's own certificate first; `key` one with its private key, which may
    also be in `cert`. Logs a warning if the certificate is out of date. Raises Misconfigured.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Many clients end TLS with the connection. HTTP knows itself where a request ends; and OpenSSL, which would take
    # this for a failure, could not send them the answer any more.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(["h2", "http/1.1"])
    where = f"--cert {cert}" if key is None else f"--key {key}"
    chain, keys = _read(cert, "--cert"), _read(key, "--key") if key else ""
    if "-----BEGIN CERTIFICATE-----" not in chain:
        raise Misconfigured(f"There is no certificate in --cert {cert}. Expected PEM: -----BEGIN CERTIFICATE-----, ….")
    if "PRIVATE KEY-----" not in (keys if key else chain):
        raise Misconfigured(
            f"There is no private key in {where}. Expected PEM: -----BEGIN PRIVATE KEY-----, …; name its file by --key."
        )

    def no_password() -> str:
        raise Misconfigured(
            f"The private key in {where} is encrypted, and nobody is here to give its password. Decrypt it: "
            "openssl pkey -in FILE -out NEW, readable for the tracker alone."
        )

    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Misconfigured(
                f"The private key in {where} is not that of the first certificate in --cert {cert}. Name the two that "
                "belong together; the server's own certificate comes first in its chain."
            ) from error
        raise Misconfigured(
            f"The certificate of --cert {cert}, or its private key, can't be used: {error.reason or error}. Expected "
            "whole PEM files, and a key of at least 2048 bits (RSA) or 224 (elliptic curves)."
        ) from error
    if wrong := _out_of_date(context, cert):
        log.warning("the certificate is out of date, and clients will refuse it: renew it", cert=str(cert), it_is=wrong)
    return context


class Certificate:
    """What new connections are encrypted with."""

    def __init__(self, cert: Path, key: Path | None) -> None:
        """Files as for `server_context`. Raises Misconfigured."""
        self._cert = cert
        self._key = key
        self._seen = self._look()
        self.context = server_context(cert, key)
        """The newest that could be used."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Service: take over what the files have when they change. If that can't be used, the old one stays."""
        task_status.started()
        while True:
            await trio.sleep(LOOK_EVERY)
            seen = self._look()
            if seen == self._seen:
                continue
            self._seen = seen
            try:
                self.context = server_context(self._cert, self._key)
            except Misconfigured as error:
                log.warning("the new certificate can't be used, the old one stays", reason=str(error))
            else:
                log.info("certificate renewed", cert=str(self._cert))

    def _look(self) -> list[tuple[int, int, int]]:
        """Changes with the files, however they are replaced."""
        seen = []
        for path in filter(None, (self._cert, self._key)):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                seen.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return seen


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text("latin-1")
    except OSError as error:
        raise Misconfigured(
            f"Can't read {option} {path}: {error.strerror}. Expected a PEM file that the tracker's user may read."
        ) from error


def _out_of_date(context: ssl.SSLContext, cert: Path) -> str | None:
    """Whether the certificate is expired or not valid yet. ssl tells a certificate's dates only to whoever verifies
    it: so a client does, who trusts it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cert)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(there, back, server_side=True)
    client = trusting.wrap_bio(back, there)
    try:
        for side in (client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return _OUT_OF_DATE.get(error.verify_code)  # what else is wrong is for clients to judge
    return None
