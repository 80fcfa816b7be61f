"""Reaching a booted guest, against the user's own OpenSSH led there by hand: as root behind NAT, on a system daemon in namespaces of
its own; as an ordinary user in a session of libvirt, where the way leads through QEMU.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.figures import Figure, median, wall
from tests.benchmarks.starting import session
from tests.e2e.stand import Stand
from tests.e2e.test_access import USER_DATA
from tests.gitrepo.sshd import make_key
from tests.hosts import reaping
from tests.images.server import serve
from tests.rig import machine, settings
from tests.system.conftest import Machine, own_machine
from tests.system.test_address_delivery import inside
from tests.system.test_interfaces import disk, image

ROUNDS = 9
_BANNER = rb"Successfully connected|vnc://"


def ssh() -> Iterator[Figure]:
    """A command in the guest, straight and by `gitvirt ssh`; a console and a screen until they are there."""
    inside_it: tuple[str, ...] = ()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gv", dir="/tmp")))
        if os.geteuid() == 0:
            root = stack.enter_context(own_machine())
            stand = stack.enter_context(Stand(folder, Machine(root), "bench", folder / "vms.git"))
            inside_it = ("nsenter", f"--net=/proc/{inside(root)}/ns/net")
        else:
            own = stack.enter_context(session())
            stack.enter_context(reaping())
            stand = stack.enter_context(Stand(folder, own, "bench", folder / "vms.git"))
        yield from _reached(stand, inside_it, make_key(folder / "key"))


def _reached(stand: Stand, inside_it: Sequence[str], key: Path) -> Iterator[Figure]:
    _boot(stand, key)
    address = str(stand.status("VirtualMachine", "vm")["ipAddress"])
    options = ["-i", str(key), "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
    known = ["-o", f"UserKnownHostsFile={stand.folder / 'known'}"]
    known += ["-o", "StrictHostKeyChecking=accept-new"]
    where = [address] if inside_it else ["-p", str(_way_in(stand, address)), "127.0.0.1"]
    straight = [*inside_it, "ssh", *options, *known, "-l", "cloud", *where, "true"]
    gitvirt = [*inside_it, sys.executable, "-m", "agent"]
    ours = [*gitvirt, "ssh", *options, "cloud@vm", "--command", "true"]

    # programs are installed with what they are compiled to
    environment = {**stand.environment, "PYTHONPYCACHEPREFIX": str(stand.folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(words: Sequence[str]) -> None:
        done = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == 0, done.stderr

    run(ours)  # waits for the guest, and compiles
    pairs = [(wall(lambda: run(straight)), wall(lambda: run(ours))) for _ in range(ROUNDS)]
    bare, led = (sorted(each)[ROUNDS // 2] for each in zip(*pairs, strict=True))
    yield Figure("OpenSSH straight: a command in the guest", bare, "s")
    yield Figure("gitvirt ssh: the same", led, "s")
    yield Figure("more than straight", led - bare, "s", 0.3)
    for command in ("console", "vnc"):
        words = [*gitvirt, command, "vm"]
        took = median(ROUNDS, lambda: _until_said(words, environment))  # noqa: B023
        yield Figure(f"gitvirt {command}, until it is there", took, "s")


def _boot(stand: Stand, key: Path) -> None:
    public = key.with_suffix(".pub").read_text().strip()
    cloud = {"type": "UserData", "userData": USER_DATA.format(key=public)}
    stand.images.routes["/guest"] = serve(Path(os.environ["GITVIRT_GUEST_IMAGE"]).read_bytes())
    stand.push(
        {
            "config.yaml": settings("10.66.10.0/24"),
            "image.yaml": image(stand.images.url("/guest")),
            "disk.yaml": disk(),
            "vm.yaml": machine(provisioning=cloud, runPolicy="AlwaysOn"),
        }
    )
    stand.start()
    stand.wait_for(lambda: "network: eth0" in stand.console("vm"), "the guest's network")


def _way_in(stand: Stand, address: str) -> int:
    """A port of this machine that leads to the guest's ssh through QEMU, for good."""
    port = random.randrange(20000, 30000)
    said = stand.monitor("vm", f"hostfwd_add hostnet0 tcp:127.0.0.1:{port}-{address}:22")
    assert not said, said
    return port


def _until_said(words: Sequence[str], environment: dict[str, str]) -> float:
    """Seconds until a command that goes on for ever says its first word."""
    begin = time.perf_counter()
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        said = process.stdout.readline() if process.stdout else b""
        took = time.perf_counter() - begin
        process.terminate()
    assert re.match(_BANNER, said), said
    return took
