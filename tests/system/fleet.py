"""Several machines on one network, each in namespaces of its own, and an agent that looks after all of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import yaml

from agent.core import ledger
from agent.core.identity import domain_uuid
from agent.core.model import Key
from agent.hypervisor.host import LibvirtHost
from tests.gitrepo.git import ENVIRONMENT, bare, put
from tests.hosts import PATIENCE
from tests.images.server import Faulty
from tests.rig import encoded
from tests.system.isolated import FOLDERS, SHARED, prepare, start

T = TypeVar("T")
libvirt.registerErrorHandler(
    lambda _context, _error: None, None
)  # what is not there yet is asked for
_TREE = Path(__file__).parents[2]
_TICK = re.compile(r"tick ([0-9]+) up ([0-9]+)")
NETWORK = "10.99.7"
"""In the namespaces alone."""
GUESTS, GATEWAY = "10.66.10.0/24", "10.66.10.1"
"""Addresses for guests, and that of the first machine among them."""
WIRE = "br0"
"""The bridge that each machine has."""


class Machine:
    """One host. `number` begins with 1."""

    def __init__(self, root: Path, number: int, shared: Path) -> None:
        self.root, self.name, self.address = root, f"pt-{number}", f"{NETWORK}.{number}"
        root.mkdir(mode=0o755)
        prepare(root, str(uuid.uuid4()))
        with (root / "etc" / "libvirtd.conf").open("a") as conf:
            conf.write('listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n')
        with (root / "etc" / "qemu.conf").open("a") as conf:
            # libvirt takes the folder in common for one of its own, and would take a disk that leaves from QEMU's user
            conf.write('user = "root"\ngroup = "root"\ndynamic_ownership = 0\n')
        self._shared = shared
        self.boot()

    def boot(self) -> None:
        """Switch it on: what is on its disks stays from time to time."""
        self._process = start(self.root, f"{self.name}.test", self._shared)
        self.pid = _child(self._process.pid)

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.root}/run/libvirt-sock"

    def wire(self, first: Machine) -> None:
        """Give it a bridge, for itself and its guests, and connect that to the first machine's."""
        _inside(self.pid, "ip", "link", "add", WIRE, "type", "bridge")
        _inside(self.pid, "ip", "address", "add", f"{self.address}/24", "dev", WIRE)
        _inside(self.pid, "ip", "link", "set", WIRE, "up")
        if first is self:
            _inside(self.pid, "ip", "address", "add", f"{GATEWAY}/24", "dev", WIRE)
        else:
            port = f"v-{self.name}"
            peer = ("type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
            _inside(first.pid, "ip", "link", "add", port, *peer)
            for machine, end in ((first, port), (self, "eth0")):
                _inside(machine.pid, "ip", "link", "set", end, "master", WIRE, "up")

    def reaches(self, address: str) -> bool:
        """Whether it gets an answer from there."""
        ping = ("busybox", "ping", "-c", "1", "-W", "1", address)
        return _inside(self.pid, *ping, check=False) == 0

    def link(self, first: Machine, *, up: bool) -> None:
        """Take the link of any machine but the first down, or up again."""
        _inside(first.pid, "ip", "link", "set", f"v-{self.name}", "up" if up else "down")

    def daemon(self) -> int:
        """Its libvirtd, as seen from here."""
        found = [pid for pid in _below(self.pid) if _comm(pid) == "libvirtd"]
        return found[0] if found else 0

    def lose_daemon(self) -> None:
        """Its libvirtd ends, and nobody starts it again; its guests run on."""
        os.kill(self.pid, signal.SIGSTOP)
        os.kill(self.daemon(), signal.SIGKILL)

    def qemus(self) -> list[int]:
        return [pid for pid in _below(self.pid) if _comm(pid).startswith("qemu-system")]

    def inside(self, path: str) -> Path:
        """Where a file of the machine's is seen from here."""
        return self.root / "lib" / Path(path).relative_to(FOLDERS["lib"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Fleet:
    """`count` machines in a folder, one repository, one agent."""

    def __init__(self, count: int = 2, *, shared: bool = False, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gvfleet"))
        self.folder.chmod(0o755)
        common = self.folder / "common"
        common.mkdir(mode=0o777)
        self.machines = [
            Machine(self.folder / f"m{number}", number, common) for number in range(1, count + 1)
        ]
        self.repository = bare(self.folder / "vms.git")
        self.images = Faulty()
        self.images.__enter__()
        self._agent: subprocess.Popen[bytes] | None = None
        self.files: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        for machine in self.machines:
            self.wait_for(lambda machine=machine: _answers(machine), "a daemon")  # type: ignore[misc]
            machine.wire(self.machines[0])
        nodes = {
            machine.name: {
                "connect": machine.uri,
                "peer": f"qemu+tcp://{machine.address}/system",
                "migrate": f"tcp://{machine.address}",
            }
            for machine in self.machines
        }
        main = {"bridge": WIRE, "gateway": GATEWAY}
        config: dict[str, Any] = {"nodes": nodes, "networks": {"main": main}, **settings}
        if shared:
            config["pools"] = {"nfs": {"pool": SHARED, "shared": True}}
            for machine in self.machines:
                with_pool(machine, SHARED)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))

    def close(self) -> None:
        self.kill()
        self.images.__exit__(None, None, None)
        for machine in self.machines:
            machine.close()
        subprocess.run(["rm", "-rf", "--one-file-system", self.folder], check=False)

    # -- the agent -------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("GITVIRT_")
            },
            "PYTHONPATH": str(_TREE),
            "GITVIRT_CONFIG": str(self.folder / "config.yaml"),
            "GITVIRT_REPO": str(self.repository),
            "GITVIRT_DATA_DIR": str(self.folder / "data"),
            "GITVIRT_INTERVAL": "1s",
            "GITVIRT_IMAGE_HOSTS": "127.0.0.1",
            "GITVIRT_STATUS_INTERVAL": "0s",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(
                [sys.executable, "-m", "agent", "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()
            self._agent = None

    def log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def gitvirt(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "agent", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout + done.stderr

    # -- Git -------------------------------------------------------------------------------------

    def push(self, files: Mapping[str, Any]) -> None:
        self.files.update(files)
        texts = {path: (encoded(value) or b"").decode() for path, value in self.files.items()}
        put(self.repository, texts, "refs/heads/main")

    def ask(self, document: Mapping[str, Any]) -> None:
        """Commit an operation."""
        self._asked[document["metadata"]["name"]] = document
        texts = {
            f"{name}.yaml": (encoded(value) or b"").decode() for name, value in self._asked.items()
        }
        put(self.repository, texts, "refs/heads/operations")

    def withdraw(self, name: str) -> None:
        del self._asked[name]
        texts = {
            f"{each}.yaml": (encoded(value) or b"").decode() for each, value in self._asked.items()
        }
        put(self.repository, texts, "refs/heads/operations")

    def status(self, kind: str, name: str) -> dict[str, Any]:
        path = f"status:namespaces/default/{kind}/{name}.yaml"
        done = subprocess.run(
            ["git", "cat-file", "blob", path],
            cwd=self.folder,
            env={**ENVIRONMENT, "GIT_DIR": str(self.repository)},
            capture_output=True,
        )
        found = ledger.load(done.stdout) if done.returncode == 0 else None
        status: dict[str, Any] = (found or {}).get("status", {})
        return status

    def vm(self, name: str = "vm") -> dict[str, Any]:
        return self.status("virtualmachines", name)

    # -- the hosts -------------------------------------------------------------------------------

    def wait_for(
        self, holds: Callable[[], T], what: str, patience: float = PATIENCE, step: float = 0.1
    ) -> T:
        end = time.monotonic() + patience
        while True:
            if found := holds():
                return found
            assert time.monotonic() < end, f"never came: {what}\n{self.log()[-6000:]}"
            time.sleep(step)

    def states(self, name: str = "vm") -> dict[str, tuple[int, int]]:
        """State and reason on each node that has the domain."""
        uid = domain_uuid("default", Key("VirtualMachine", "default", name))
        found = {}
        for machine in self.machines:
            try:
                connection = libvirt.open(machine.uri)
                try:
                    state: Any = connection.lookupByUUIDString(uid).state()
                    found[machine.name] = (int(state[0]), int(state[1]))
                finally:
                    connection.close()
            except libvirt.libvirtError:
                continue
        return found

    def on(self, name: str = "vm") -> list[str]:
        """Nodes on which the guest runs."""
        running = libvirt.VIR_DOMAIN_RUNNING
        return [node for node, (state, _) in self.states(name).items() if state == running]

    def console(self, node: str) -> str:
        """What the guest has said there."""
        logs = sorted((self.machine(node).root / "lib" / "gitvirt").glob("*_console_*.log"))
        return "".join(log.read_text(errors="replace") for log in logs)

    def machine(self, node: str) -> Machine:
        return next(each for each in self.machines if each.name == node)

    def ticks(self, node: str) -> list[tuple[int, int]]:
        """What the guest has counted there, and the seconds since its boot."""
        return [(int(count), int(up)) for count, up in _TICK.findall(self.console(node))]

    def volumes(self, node: str) -> list[str]:
        folder = self.machine(node).root / "lib" / "gitvirt"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def with_pool(machine: Machine, name: str) -> None:
    host = LibvirtHost(None, machine.uri)
    try:
        host.ensure_pool(name)
    finally:
        host.close()


def _answers(machine: Machine) -> bool:
    try:
        libvirt.open(machine.uri).close()
    except libvirt.libvirtError:
        return False
    return True


def _inside(pid: int, *command: str, check: bool = True) -> int:
    quiet = subprocess.DEVNULL
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", *command], check=check, stdout=quiet)
    return done.returncode


def _child(pid: int) -> int:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    end = time.monotonic() + PATIENCE
    while not (found := path.read_text().split()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(found[0])


def _below(pid: int) -> list[int]:
    found, left = [], [pid]
    while left:
        each = left.pop()
        try:
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
        except FileNotFoundError:
            continue
        found += [int(child) for child in children]
        left += [int(child) for child in children]
    return found


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""
