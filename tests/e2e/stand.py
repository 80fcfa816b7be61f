"""A whole installation for a test: a repository, an image server, and the agent as a process of its own on real QEMU."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import libvirt_qemu
import watchfiles

from agent.core import ledger
from agent.core.domain_xml import parse
from agent.core.identity import POOL, console_log, disk_prefix, domain_name
from agent.core.metadata import from_domain
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.hypervisor.host import LibvirtHost
from agent.options import PREFIX
from tests.gitrepo.git import ENVIRONMENT, bare, put
from tests.hosts import Session, end_process
from tests.images.server import Faulty
from tests.rig import encoded

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which something that must happen is missing, on a machine that is busy. Nothing is proved by its length."""
ENDING = 60.0
"""Seconds after which an agent that was asked to end hangs."""
LOOK = 250
"""Milliseconds without an event after which a condition is looked at again."""
STARTING = "starting up libvirt version"
"""What libvirt writes into a domain's log once for each QEMU process."""

_TREE = Path(__file__).parents[2]
_CATALOGUE = Catalogue.load()
_BOOTED = re.compile(r"gitvirt guest: ([0-9]+) CPUs, ([0-9]+) MiB")


class Stand:
    """`push` and `status` are the users' side, `host` and `virsh` the host's, `start`, `kill` and `stop` the agent's."""

    def __init__(
        self, folder: Path, session: Session, fleet: str, repository: Path, address: str = ""
    ) -> None:
        self.folder, self.session, self.fleet = folder, session, fleet
        self.repository = bare(repository)
        self.address = address or str(repository)
        self.config = Path(os.devnull)
        self.files: dict[str, Any] = {}
        self.images = Faulty()
        self.host: LibvirtHost = session.open()
        self.virsh: libvirt.virConnect = session.connect()
        self.pool = session.path(self.host.ensure_pool(POOL))
        self._agent: subprocess.Popen[bytes] | None = None
        self._log = folder / "agent.log"
        self._qemu_logs = session.qemu_logs
        self._started_before = {path.stem: _started(path) for path in self._qemu_logs.glob("*.log")}

    def __enter__(self) -> Stand:
        self.images.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()
        self.images.__exit__(None, None, None)
        self.reopen()
        for uuid, domain in self.host.read(frozenset()).domains.items():
            metadata = from_domain(parse(domain.inactive_xml or domain.active_xml))
            if metadata is not None and metadata.fleet == self.fleet:
                self.host.destroy(uuid)
                self.host.undefine(uuid)
        self.host.close()
        self.virsh.close()
        for path in self.pool.glob(f"{self.fleet}_*"):
            path.unlink()

    # -- the agent ------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        settings = {each for each in os.environ if each.startswith(PREFIX)}
        return {
            **{name: value for name, value in os.environ.items() if name not in settings},
            "PYTHONPATH": str(_TREE),
            "PYTHONFAULTHANDLER": "1",
            "GITVIRT_CONFIG": str(self.config),  # and no file of the machine's
            "GITVIRT_REPO": self.address,
            "GITVIRT_FLEET": self.fleet,
            "GITVIRT_DATA_DIR": str(self.folder / "data"),
            "GITVIRT_INTERVAL": "1s",
            "GITVIRT_IMAGE_HOSTS": "127.0.0.1",
            "GITVIRT_STATUS_INTERVAL": "0s",
            "NO_PROXY": "*",
            "no_proxy": "*",
            **self.session.settings,
        }

    def start(self) -> None:
        """Start the agent. Its log goes on where an earlier one's ended."""
        assert self._agent is None, "the agent runs already"
        with self._log.open("ab") as log:
            self._agent = subprocess.Popen(
                [sys.executable, "-m", "agent", "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def started(self) -> bool:
        return self._agent is not None

    def kill(self) -> None:
        """End the agent at whatever instruction it is."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()
            self._agent = None

    def stop(self) -> int:
        """Ask the agent to end, as a service manager does; its exit code."""
        assert self._agent is not None, "no agent runs"
        self._agent.send_signal(signal.SIGTERM)
        try:
            return self._agent.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._agent.send_signal(signal.SIGABRT)  # where it hangs then stands in its log
            self._agent.wait()
            raise
        finally:
            self._agent = None

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def gitvirt(self, *arguments: str, ok: bool = True) -> str:
        """Run the command line; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "agent", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    # -- Git ------------------------------------------------------------------------------------

    def push(
        self,
        files: Mapping[str, Any] | None = None,
        ref: str = "main",
        subject: str = "by hand",
    ) -> str:
        """Commit these files beside those that are there; None removes one. The new commit's id."""
        for path, value in (files or {}).items():
            self.files[path] = value
            if value is None:
                del self.files[path]
        texts = {path: (encoded(value) or b"").decode() for path, value in self.files.items()}
        return put(self.repository, texts, f"refs/heads/{ref}", subject)

    def _git(self, *arguments: str) -> str | None:
        """What Git printed; None if it failed."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self._git_environment, capture_output=True
        )
        return done.stdout.decode() if done.returncode == 0 else None

    @property
    def _git_environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "GIT_DIR": str(self.repository)}

    def file(self, path: str, revision: str = "status") -> dict[str, Any]:
        """One file of the status branch; empty if it is not there."""
        text = self._git("cat-file", "blob", f"{revision}:{path}")
        return (ledger.load(text.encode()) or {}) if text else {}

    def object(self, kind: str, name: str, revision: str = "status") -> dict[str, Any]:
        return self.file(self._path(kind, name), revision)

    def status(self, kind: str, name: str, revision: str = "status") -> dict[str, Any]:
        """An object's status; empty if it is not there."""
        found: dict[str, Any] = self.object(kind, name, revision).get("status", {})
        return found

    def phase(self, kind: str, name: str) -> str:
        return str(self.status(kind, name).get("phase", ""))

    def phases(self, kind: str, name: str) -> list[str]:
        """The phases that an object has gone through, as the status branch's history tells them; "" once it was gone."""
        found: list[str] = []
        commits = self._git(
            "rev-list", "--reverse", "--first-parent", "status", "--", self._path(kind, name)
        )
        for commit in (commits or "").split():
            phase = str(self.status(kind, name, commit).get("phase", ""))
            if found[-1:] != [phase]:
                found.append(phase)
        return found

    def applied(self, revision: str) -> bool:
        return bool(self.file("agent.yaml").get("applied", {}).get("revision") == revision)

    def _path(self, kind: str, name: str) -> str:
        return ledger.path_of(_CATALOGUE, key(kind, name))

    # -- waiting --------------------------------------------------------------------------------

    def wait_for(self, predicate: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
        """Wait until it is true, looking whenever a branch moves or a guest says something; what it returned."""
        found = predicate()
        end = time.monotonic() + patience
        watched = [at for at in (self.repository / "refs" / "heads", self.pool) if at.is_dir()]
        with contextlib.closing(
            watchfiles.watch(
                *watched, step=5, debounce=50, rust_timeout=LOOK, yield_on_timeout=True
            )
        ) as changes:
            while not found:
                assert time.monotonic() < end, f"never came: {what}"
                next(changes)
                found = predicate()
        return found

    def wait_for_phase(self, kind: str, name: str, phase: str) -> None:
        self.wait_for(lambda: self.phase(kind, name) == phase, f"{kind} {name} in phase {phase}")

    def wait_for_condition(
        self, kind: str, name: str, condition: str, status: str = "True"
    ) -> dict[str, Any]:
        return self.wait_for(
            lambda: find(self.status(kind, name), condition, status),
            f"{condition} {status} of {kind} {name}",
        )

    # -- guests ---------------------------------------------------------------------------------

    def domain(self, name: str) -> libvirt.virDomain:
        return self.virsh.lookupByName(domain_name(key("VirtualMachine", name)))

    def domains(self) -> set[str]:
        return {each.name() for each in self.virsh.listAllDomains()}

    def runs(self, name: str) -> bool:
        return domain_name(key("VirtualMachine", name)) in self.domains() and bool(
            self.domain(name).isActive()
        )

    def qemu_pid(self, name: str) -> int:
        return self.session.qemu_pid(domain_name(key("VirtualMachine", name)))

    def monitor(self, name: str, command: str) -> str:
        """What QEMU's own monitor answers, as people read it."""
        human = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        return str(libvirt_qemu.qemuMonitorCommand(self.domain(name), command, human))

    def crash(self, name: str) -> None:
        """Kill a VM's QEMU."""
        end_process(self.qemu_pid(name))

    def instances(self, name: str) -> int:
        """How many QEMU processes libvirt has started for a VM in the life of this stand."""
        domain = domain_name(key("VirtualMachine", name))
        path = self._qemu_logs / f"{domain}.log"
        return _started(path) - self._started_before.get(domain, 0)

    def console(self, name: str) -> str:
        """Everything that a VM has said on its serial console."""
        uid = self.object("VirtualMachine", name).get("metadata", {}).get("uid", "")
        path = self.pool / console_log(self.fleet, uid)
        text = path.read_text(errors="replace") if path.exists() else ""
        return text.replace("\r", "")

    def boots(self, name: str) -> list[int]:
        """The number of CPUs that the guest found at each of its boots."""
        return [int(cpus) for cpus, _ in _BOOTED.findall(self.console(name))]

    def memory(self, name: str) -> list[int]:
        """The MiB of memory that the guest found at each of its boots, without its kernel's own."""
        return [int(size) for _, size in _BOOTED.findall(self.console(name))]

    def volumes(self, pattern: str) -> list[Path]:
        return sorted(self.pool.glob(f"{self.fleet}_{pattern}"))

    def disk(self, name: str) -> Path:
        """The volume of a disk."""
        (found,) = self.pool.glob(disk_prefix(self.fleet, key("VirtualDisk", name)) + "*")
        return found

    @contextlib.contextmanager
    def terminal(self, name: str) -> Iterator[Terminal]:
        """A VM's serial console as a person has it."""
        source = re.search(
            r"<serial type='pty'>\s*<source path='([^']+)'", self.domain(name).XMLDesc()
        )
        assert source, "the VM has no serial console"
        terminal = Terminal(source[1])
        try:
            yield terminal
        finally:
            terminal.close()

    def reopen(self) -> None:
        """Connections of our own again, after libvirt's daemon has been killed."""
        if not self.virsh.isAlive():
            self.virsh.close()
            self.virsh = self.session.connect()
        self.host.close()
        self.host = self.session.open()


class Terminal:
    """Types on a guest's serial console and reads what comes back."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._ended, self._end = os.pipe()
        self._text = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select((self._file, self._ended), (), ())
            if self._ended in ready:
                return
            try:
                data = os.read(self._file, 4096)
            except OSError:
                return  # the guest has ended
            with self._changed:
                self._text += data.decode(errors="replace").replace("\r", "")
                self._changed.notify_all()

    def type(self, line: str) -> None:
        os.write(self._file, line.encode() + b"\n")

    def log_in(self, host: str, user: str = "cloud", password: str = "cloud") -> None:
        """To a shell's prompt."""
        self.type("")
        self.expect(rf"{host} login: ")
        self.type(user)
        self.expect("Password: ")
        self.type(password)
        self.expect(r"\$ ")

    def expect(self, pattern: str) -> str:
        """Wait for a pattern and return what it matched; what comes after it is kept for the next call."""

        def find() -> re.Match[str] | None:
            return re.search(pattern, self._text)

        with self._changed:
            match = self._changed.wait_for(find, PATIENCE)
            assert match, f"no {pattern!r} came, but:\n{self._text}"
            self._text = self._text[match.end() :]
            return match.group()

    def close(self) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        os.close(self._file)


def _started(log: Path) -> int:
    return log.read_text(errors="replace").count(STARTING) if log.exists() else 0


def key(kind: str, name: str) -> Key:
    return Key(kind, "default" if _CATALOGUE.kinds[kind].namespaced else "", name)


def find(status: Mapping[str, Any], condition: str, wanted: str = "True") -> dict[str, Any]:
    """A condition of a status; empty if it is not there, or if its status is another one."""
    for each in status.get("conditions", []):
        if each["type"] == condition and each["status"] == wanted:
            found: dict[str, Any] = each
            return found
    return {}
