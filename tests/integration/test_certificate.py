"""`--cert` and `--key`: what can be wrong with them, and that they are renewed without a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog.testing
import trio

from shared.errors import Misconfigured
from tests.integration import certificates
from tracker.config import Config
from tracker.http import certificate, tls
from tracker.http.certificate import Certificate, server_context


def refusal(cert: Path, key: Path | None) -> str:
    with pytest.raises(Misconfigured) as raised:
        server_context(cert, key)
    return str(raised.value)


def test_a_pair_and_both_in_one_file(tmp_path: Path) -> None:
    cert, key = certificates.write(tmp_path)
    with structlog.testing.capture_logs() as said:
        server_context(cert, key)
        both = tmp_path / "both.pem"
        both.write_bytes(key.read_bytes() + cert.read_bytes())
        server_context(both, None)
    assert said == []


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    cert, key = certificates.write(tmp_path)
    missing = tmp_path / "missing.pem"
    assert str(missing) in refusal(missing, key)
    assert "--key" in refusal(cert, missing)
    assert "Can't read --cert" in refusal(tmp_path, key)
    assert "no private key" in refusal(cert, None)
    assert "no private key" in refusal(cert, cert)
    assert "no certificate" in refusal(key, key)
    (tmp_path / "other").mkdir()
    other, _ = certificates.write(tmp_path / "other")
    assert "is not that of" in refusal(other, key)
    broken = tmp_path / "broken.pem"
    broken.write_bytes(cert.read_bytes()[:300])
    assert "can't be used" in refusal(broken, key)
    broken.write_bytes(key.read_bytes()[:100])
    assert "can't be used" in refusal(cert, broken)
    broken.write_bytes(os.urandom(1000))
    assert "no certificate" in refusal(broken, key)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    cert, key = certificates.write(tmp_path)
    key.chmod(0)
    assert "may read" in refusal(cert, key)


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    cert, key = certificates.write(tmp_path)
    secret = tmp_path / "secret.pem"
    command = ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", secret]
    subprocess.run(command, check=True, capture_output=True)
    assert "encrypted" in refusal(cert, secret)


def test_a_certificate_that_is_out_of_date_is_told(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as said:
        server_context(*certificates.write(tmp_path, **certificates.expired()))
    assert [(entry["log_level"], entry["it_is"]) for entry in said] == [("warning", "expired")]


def test_a_key_alone_is_a_mistake() -> None:
    with pytest.raises(Misconfigured, match="--cert FILE"):
        Config(key=Path("key.pem"))


# Renewal


@asynccontextmanager
async def port(current: Certificate) -> AsyncIterator[int]:
    """Of a server that does nothing but shake hands."""

    async def handle(stream: trio.SocketStream) -> None:
        await tls.accept(stream, current.context)
        await stream.receive_some()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def names(number: int) -> set[str]:
    """Those of the certificate that a new client is shown."""
    async with await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", number, ssl_context=certificates.trusting(), https_compatible=True
    ) as stream:
        await stream.do_handshake()
        return {name for kind, name in stream.getpeercert()["subjectAltName"] if kind == "DNS"}


async def test_a_new_certificate_is_taken_and_a_bad_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "LOOK_EVERY", 0.01)
    cert, key = certificates.write(tmp_path, "one.example")
    current = Certificate(cert, key)
    with structlog.testing.capture_logs() as said:

        async def told(times: int) -> None:
            with trio.fail_after(5):
                while len(said) < times:
                    await trio.sleep(0.01)

        async with port(current) as number, trio.open_nursery() as nursery:
            nursery.start_soon(current.run)
            assert await names(number) == {"one.example"}
            old = key.read_bytes()
            key.write_bytes(b"")
            await told(1)
            assert await names(number) == {"one.example"}
            key.write_bytes(old)
            await told(2)
            certificates.write(tmp_path, "two.example")
            with trio.fail_after(5):
                while await names(number) != {"two.example"}:
                    await trio.sleep(0.01)
            key.unlink()
            before = len(said)
            await told(before + 1)
            assert await names(number) == {"two.example"}
            nursery.cancel_scope.cancel()
    assert said[0]["event"] == "the new certificate can't be used, the old one stays"
    assert "no private key" in said[0]["reason"]
    assert [entry["event"] for entry in said].count("certificate renewed") >= 2


async def test_files_that_stay_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "LOOK_EVERY", 0.001)
    current = Certificate(*certificates.write(tmp_path))
    first = current.context
    with trio.move_on_after(0.1):
        await current.run()
    assert current.context is first
