"""An agent that has nothing to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import libvirt

from agent.gitrepo.local import LocalRepository
from tests.benchmarks.figures import Figure
from tests.benchmarks.fleet import push
from tests.benchmarks.starting import session
from tests.gitrepo.git import bare

MACHINES = 1_000


def idle() -> Iterator[Figure]:
    """CPU and memory beside running VMs of libvirt's test driver, which lives in a daemon; a session of an ordinary user."""
    with session() as own, libvirt.open("qemu:///session"):  # has libvirt start the daemon
        uri = f"test+unix:///default?socket={own.root / 'run' / 'libvirt' / 'libvirt-sock'}"
        root = bare(own.root / "repository")
        with LocalRepository(root) as repository:
            push(repository, MACHINES)
        arguments = (uri, str(root), str(own.root / "agent"), str(MACHINES))
        command = [sys.executable, "-m", "tests.benchmarks.resting", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
            assert agent.stdout is not None
            for line in agent.stdout:
                yield Figure(*json.loads(line))
        if agent.returncode:
            raise SystemExit(agent.returncode)
