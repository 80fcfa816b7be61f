"""Copies by a real libvirtd, which dies, or whose pool is full, in the middle of one."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.core.actions import Action, CopyVolume
from agent.core.host import HostError
from agent.core.identity import unfinished
from agent.core.model import Key
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.supply import Source
from tests.hosts import PATIENCE, Session, end_process
from tests.hypervisor.rigs import Rig, domain_xml

POOL, BASE, DISK, COPY = "gitvirt", "base", "disk", "copy"
MIB = 1 << 20
SIZE = 192 * MIB


@dataclass
class Bench:
    rig: Rig
    folder: Path

    @property
    def host(self) -> LibvirtHost:
        assert isinstance(self.rig.host, LibvirtHost)
        return self.rig.host

    def run(self, action: Action) -> Outcome:
        executor = Executor(
            {self.host.name: self.host},
            Source(self.folder, 1 << 40, Reach(), lambda _news: None),
            itertools.count(1).__next__,
            lambda: False,
            lambda: True,
        )
        return executor.run(Ticket(Key("VirtualDisk", "default", "disk"), 1, (action,)))

    def copy(self) -> Outcome:
        return self.run(CopyVolume(self.host.name, POOL, COPY, POOL, DISK, 256 * MIB))

    def names(self) -> set[str]:
        return {name for _, name in self.host.read_volumes(POOL)}

    def path(self, name: str) -> str:
        return self.host.read_volumes(POOL)[POOL, name].path

    def until(self, holds: Callable[[], bool]) -> None:
        ended = threading.Event()
        for _ in range(int(PATIENCE * 100)):
            if holds():
                return
            ended.wait(0.01)
        raise AssertionError("never came true")


@pytest.fixture
def bench(session_rig: Rig, tmp_path: Path) -> Iterator[Bench]:
    """With a disk on an image that has much in it."""
    host = session_rig.host
    host.ensure_pool(POOL)
    for name in {name for _, name in host.read_volumes(POOL)}:
        host.delete_volume(POOL, name)
    piece = random.Random(1).randbytes(MIB)
    host.create_volume(POOL, volume_xml(BASE, "raw", 0))
    base = host.upload_volume(POOL, BASE, itertools.repeat(piece, SIZE // MIB), SIZE)
    host.create_volume(POOL, volume_xml(DISK, "qcow2", SIZE, base.path, "raw"))
    made = Bench(session_rig, tmp_path)
    yield made
    for name in made.names():
        host.delete_volume(POOL, name)


def same(bench: Bench) -> bool:
    """True if the copy shows what the disk shows, and nothing more but zeros."""
    compared = subprocess.run(
        ["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2"]
        + [bench.path(name) for name in (DISK, COPY)],
        capture_output=True,
        text=True,
        check=False,
    )
    return compared.returncode == 0


def test_a_copy_shows_what_its_source_shows(bench: Bench) -> None:
    assert bench.copy().done == ["CopyVolume"]
    copy = bench.host.read_volumes(POOL)[POOL, COPY]
    assert (copy.capacity, copy.backing_path) == (256 * MIB, "")
    assert bench.names() == {BASE, DISK, COPY}
    assert same(bench)
    written = Path(copy.path).stat().st_mtime_ns
    assert bench.copy().done == ["CopyVolume"]  # whole: it is left alone
    assert Path(copy.path).stat().st_mtime_ns == written


def test_a_copy_that_libvirtd_died_in_is_made_anew(bench: Bench, session: Session) -> None:
    outcomes: list[Outcome] = []
    folder = Path(bench.path(BASE)).parent
    thread = threading.Thread(target=lambda: outcomes.append(bench.copy()), daemon=True)
    thread.start()
    bench.until((folder / COPY).exists)
    end_process(session.daemon_pid())
    bench.rig.events.wait("disconnected")
    thread.join(PATIENCE)
    assert outcomes[0].failed == "CopyVolume"
    bench.rig.events.wait("connected")
    assert (folder / unfinished(COPY)).exists()
    bench.until(lambda: bench.copy().done == ["CopyVolume"])
    assert bench.names() == {BASE, DISK, COPY}
    assert same(bench)


def copiers(target: Path) -> list[int]:
    """Processes that write a volume for libvirt."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"qemu-img") and bytes(target) in words:
                found.append(int(process.name))
    return found


def test_nothing_else_waits_for_a_copy(bench: Bench) -> None:
    outcomes: list[Outcome] = []
    folder = Path(bench.path(BASE)).parent
    thread = threading.Thread(target=lambda: outcomes.append(bench.copy()), daemon=True)
    thread.start()
    bench.until(lambda: bool(copiers(folder / COPY)))
    (copier,) = copiers(folder / COPY)
    os.kill(copier, signal.SIGSTOP)
    try:
        bench.host.create_volume(POOL, volume_xml("other", "qcow2", MIB))
        with pytest.raises(HostError) as raised:  # nobody takes its source away
            bench.host.delete_volume(POOL, DISK)
    finally:
        os.kill(copier, signal.SIGCONT)
    assert raised.value.reason == "InvalidState"
    thread.join(PATIENCE)
    assert outcomes[0].done == ["CopyVolume"]
    assert same(bench)


def test_a_disk_that_a_running_domain_writes_to_is_not_copied(bench: Bench) -> None:
    disk = f"""
      <disk type="file" device="disk"><driver name="qemu" type="qcow2"/>
        <source file="{bench.path(DISK)}"/><target dev="sda" bus="sata"/></disk>"""
    uuid = "5f4f3f2f-1111-4111-8111-111111111111"
    bench.host.define(domain_xml("writer", uuid, devices=disk))
    bench.host.start(uuid)
    outcome = bench.copy()
    assert (outcome.reason, outcome.outdated) == ("VolumeInUse", True)
    assert bench.names() == {BASE, DISK}
    bench.host.destroy(uuid)
    assert bench.copy().done == ["CopyVolume"]


def test_zeros_are_not_sent_and_take_no_space(bench: Bench) -> None:
    full = random.Random(1).randbytes(MIB)
    parts = [bytes(MIB)] * 8 + [full] + [bytes(MIB)] * 8
    volume = bench.host.create_volume(POOL, volume_xml("sparse", "raw", 0))
    volume = bench.host.upload_volume(POOL, "sparse", iter(parts), len(parts) * MIB)
    assert volume.physical == len(parts) * MIB
    assert Path(volume.path).stat().st_blocks * 512 < 2 * MIB
    got: list[bytes] = []
    bench.host.read_volume(POOL, "sparse", got.append)
    assert b"".join(got) == b"".join(parts)


def test_an_upload_that_was_cut_off_in_a_hole_is_gone_on_with(bench: Bench) -> None:
    full = random.Random(2).randbytes(MIB)
    bench.host.create_volume(POOL, volume_xml("cut", "raw", 0))

    def cut() -> Iterator[bytes]:
        yield full
        yield bytes(2 * MIB)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.host.upload_volume(POOL, "cut", cut(), 4 * MIB)
    there = bench.host.read_volumes(POOL)[POOL, "cut"].physical
    assert there <= 3 * MIB
    rest = (full + bytes(2 * MIB) + full)[there:]
    volume = bench.host.upload_volume(POOL, "cut", iter([rest]), 4 * MIB, there)
    assert volume.physical == 4 * MIB
    assert Path(volume.path).read_bytes() == full + bytes(2 * MIB) + full


def test_a_volume_is_read_as_its_file_has_it(bench: Bench) -> None:
    pieces: list[bytes] = []
    volume = bench.host.read_volume(POOL, BASE, pieces.append)
    assert b"".join(pieces) == Path(volume.path).read_bytes()

    def refuse(_piece: bytes) -> None:
        raise OSError(os.strerror(28))

    with pytest.raises(OSError, match="space"):
        bench.host.read_volume(POOL, BASE, refuse)
    with pytest.raises(HostError) as raised:
        bench.host.read_volume(POOL, "missing", pieces.append)
    assert raised.value.reason == "VolumeNotFound"


def test_a_raw_disk_onto_which_its_guest_wrote_a_header_is_not_copied(bench: Bench) -> None:
    header = Path(bench.path(DISK)).read_bytes()  # it leads to another file
    bench.host.create_volume(POOL, volume_xml("raw", "raw", 0))
    bench.host.upload_volume(POOL, "raw", iter([header]), len(header))
    wanted = CopyVolume(bench.host.name, POOL, COPY, POOL, "raw", SIZE, source_format="raw")
    outcome = bench.run(wanted)
    assert outcome.reason == "UnsafeVolume"
    assert bench.names() == {BASE, DISK, "raw"}
