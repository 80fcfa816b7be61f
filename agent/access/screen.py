"""The screen of a guest for viewers on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agent.access import relay
from agent.access.place import Place
from agent.access.ways import NoWayError
from agent.hypervisor.visit import Visit

_PATIENCE = 30.0
"""Seconds that ssh has to log in."""
_VIEWERS = (
    ("remote-viewer", "vnc://127.0.0.1:{port}"),
    ("vncviewer", "127.0.0.1::{port}"),
    ("gvncviewer", "127.0.0.1:{display}"),
)
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_FIRST_PORT = 5900


def viewer(port: int, environment: Mapping[str, str]) -> Sequence[str] | None:
    """The command that shows the screen here; None without a display or a program for it."""
    if not any(environment.get(name) for name in _DISPLAYS):
        return None
    for name, place in _VIEWERS:
        if shutil.which(name, path=environment.get("PATH")):
            return (name, place.format(port=port, display=port - _FIRST_PORT))
    return None


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A viewer, which says nothing of its own here."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


class Screen:
    """Serves the screen to viewers of this user: VNC asks them for no password, and every user of
    this machine reaches its loopback.
    """

    def __init__(self, visit: Visit, place: Place) -> None:
        if not place.local and not place.ssh:
            raise NoWayError(
                f"{place.scheme} carries no screen: name the machine's node with qemu+ssh"
            )
        self._visit, self._place = visit, place
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        """Until the listener is closed."""
        while True:
            try:
                client, peer = listener.accept()
            except OSError:
                return
            if not _is_ours(listener.getsockname()[1], peer[1]):
                client.close()
                continue
            threading.Thread(target=self._show, args=(client,), daemon=True).start()

    def _show(self, client: socket.socket) -> None:
        with client, self.opened() as server:
            relay.between(client, server)

    @contextlib.contextmanager
    def opened(self) -> Iterator[socket.socket]:
        with self._lock:
            path = self._visit.screen_path()
            if self._place.local:
                opened = self._visit.screen()
        if self._place.local:
            with opened:
                yield opened
        else:
            with _forwarded(self._place, path) as server:
                yield server


@contextlib.contextmanager
def _forwarded(place: Place, path: str) -> Iterator[socket.socket]:
    """A socket of the host, reached by ssh through one of ours in a folder of our own."""
    with tempfile.TemporaryDirectory(prefix="gitvirt") as folder:
        ours = Path(folder, "vnc.sock")
        options = ["-N", "-L", f"{ours}:{path}", "-o", "ExitOnForwardFailure=yes"]
        child = subprocess.Popen(place.command(options), stdin=subprocess.DEVNULL)
        try:
            end = time.monotonic() + _PATIENCE
            while not ours.exists() and child.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(str(ours))
                yield server
        finally:
            child.terminate()
            child.wait()


def _is_ours(ours: int, theirs: int) -> bool:
    """True if the client's end of a connection on loopback is this user's."""
    try:
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    for line in lines:
        fields = line.split()
        if (fields[1], fields[2]) == (_end(theirs), _end(ours)):
            return int(fields[7]) == os.getuid()
    return False


def _end(port: int) -> str:
    """127.0.0.1 and a port as the kernel of a little-endian machine writes them."""
    return f"0100007F:{port:04X}"
