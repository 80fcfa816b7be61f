"""Real hosts for tests: libvirt's test driver, and QEMU in a session of the user who runs the tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from agent.core.host import Host, HostEvent
from agent.hypervisor.deadlines import Deadlines
from agent.hypervisor.host import LibvirtHost

PATIENCE = 180.0
"""Seconds after which something that must happen is missing. Nothing is proved by its length."""

_PR_SET_CHILD_SUBREAPER = 36
_ELSEWHERE = ("LIBVIRT_", "VIRSH_")
"""How variables begin that choose a libvirt."""
_OURS = ("libvirtd", "virtlogd", "qemu-system-", "swtpm")


class Events:
    """What a host has told its subscribers, in order."""

    def __init__(self, host: Host) -> None:
        self._seen: list[HostEvent] = []
        self._changed = threading.Condition()
        host.subscribe(self._add)

    def _add(self, event: HostEvent) -> None:
        with self._changed:
            self._seen.append(event)
            self._changed.notify_all()

    def wait(self, what: str, uuid: str = "") -> HostEvent:
        """The first such event since the last `clear`."""

        def find() -> HostEvent | None:
            return next(
                (each for each in self._seen if (each.what, each.uuid) == (what, uuid)), None
            )

        with self._changed:
            found = self._changed.wait_for(find, PATIENCE)
            assert found is not None, f"no event {what} of {uuid!r} among {self._seen}"
            return found

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, looking again after each event."""
        end = time.monotonic() + PATIENCE
        with self._changed:
            while not holds():
                assert time.monotonic() < end, f"never came true; events: {self._seen}"
                self._changed.wait(0.2)

    def clear(self) -> None:
        with self._changed:
            self._seen.clear()


@dataclass(frozen=True)
class Session:
    """A user's libvirt session with directories of its own."""

    root: Path

    @property
    def _runtime(self) -> Path:
        return self.root / "run" / "libvirt"

    @property
    def data_home(self) -> Path:
        return self.root / "data"

    def daemon_pid(self) -> int:
        return int((self._runtime / "libvirtd.pid").read_text())

    def qemu_pid(self, domain: str) -> int:
        return int((self._runtime / "qemu" / "run" / f"{domain}.pid").read_text())

    def open(self, deadlines: Deadlines | None = None) -> LibvirtHost:
        """The host as a user without any setting gets it."""
        return LibvirtHost(data_home=self.data_home, deadlines=deadlines)

    def connect(self) -> libvirt.virConnect:
        """As virsh has it."""
        return libvirt.open("qemu:///session")

    @property
    def settings(self) -> dict[str, str]:
        """What an agent has to be told to find it."""
        return {}

    @property
    def qemu_logs(self) -> Path:
        return self.root / "cache" / "libvirt" / "qemu" / "log"

    def path(self, there: str) -> Path:
        """Where a file of the host's is for the tests."""
        return Path(there)

    def end(self) -> None:
        """End every process of this session, and nothing else."""
        for path in (*self._runtime.glob("qemu/run/*.pid"), *self._runtime.glob("*.pid")):
            end_process(int(path.read_text() or 0))


def end_process(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process of ours; fine if it is gone. A pid that means another program by now is left alone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if Path(f"/proc/{pid}/comm").read_text().startswith(_OURS):
            os.kill(pid, number)


def enter(session: Session, patch: pytest.MonkeyPatch) -> None:
    """Let a session's directories be those of this process, and nothing lead to another libvirt."""
    for name in [each for each in os.environ if each.startswith(_ELSEWHERE)]:
        patch.delenv(name)
    for name, folder in (
        ("RUNTIME_DIR", "run"),
        ("CONFIG_HOME", "config"),
        ("DATA_HOME", "data"),
        ("CACHE_HOME", "cache"),
    ):
        (session.root / folder).mkdir(mode=0o700)
        patch.setenv(f"XDG_{name}", str(session.root / folder))


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    if os.geteuid() == 0:
        pytest.fail(
            "root has no libvirt session: start the tests as an ordinary user, as tests/run.sh does"
        )
    # libvirt's sockets lie in it, and a socket's path holds 108 bytes: pytest's own directories are too long,
    # and so is a TMPDIR, for the guest agent's socket has the domain's name in its path.
    session = Session(Path(tempfile.mkdtemp(prefix="gv", dir="/tmp")))
    with pytest.MonkeyPatch.context() as patch, reaping():
        enter(session, patch)
        try:
            yield session
        finally:
            session.end()
            shutil.rmtree(session.root, ignore_errors=True)


@pytest.fixture
def session_host(session: Session) -> Iterator[LibvirtHost]:
    """Real QEMU, with no domain at the start and none left at the end."""
    host = session.open()
    try:
        yield host
    finally:
        remove_domains(host)
        host.close()


@pytest.fixture
def test_driver_host(tmp_path: Path) -> Iterator[LibvirtHost]:
    """libvirt's in-process test driver, empty and private to the test."""
    node = tmp_path / "node.xml"
    node.write_text(
        "<node><memory>8388608</memory><cpu><nodes>1</nodes><sockets>1</sockets><cores>4</cores><threads>1</threads></cpu></node>"
    )
    host = LibvirtHost("test-node", f"test://{node}")
    try:
        yield host
    finally:
        host.close()


def remove_domains(host: Host) -> None:
    for uuid in host.read(frozenset()).domains:
        host.destroy(uuid)
        host.undefine(uuid)


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """Take in orphans of libvirt's, and wait for them at once: libvirt sees a QEMU process end only when it is reaped."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ended = threading.Event()
    thread = threading.Thread(target=_reap, args=(ended,), name="reaper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _reap(ended: threading.Event) -> None:
    while not ended.wait(0.02):
        for children in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # a thread that is gone
                for pid in children.read_text().split():
                    _reap_child(int(pid))


def _reap_child(pid: int) -> None:
    """Reap one of libvirt's; other children belong to whoever started them."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ChildProcessError):
        if Path(f"/proc/{pid}/comm").read_text().startswith(_OURS):
            os.waitpid(pid, os.WNOHANG)
