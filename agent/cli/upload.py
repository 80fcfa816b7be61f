"""`gitvirt upload`: brings a file to the node for an image or a disk that waits for one."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cli.command import INTERRUPTED, CommandError, Subparsers, warn
from agent.cli.follow import follow
from agent.cli.hosts import addresses, opened_one
from agent.cli.objects import meanings, named
from agent.cli.progress import Progress
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.cli.targets import target
from agent.core import human, nodes, tables
from agent.core.entries import Entry
from agent.core.host import Host, HostError, RawVolume, Reading
from agent.core.identity import POOL, upload_volume, whole_upload
from agent.core.model import Condition
from agent.core.quantity import format_bytes
from agent.core.schema import Catalogue, Kind
from agent.core.status import conditions
from agent.core.volumes import volume_xml
from agent.images.detect import SECTOR, detect
from agent.images.errors import ImageError
from agent.images.inspect import inspect
from agent.images.unpack import compressed, peek
from agent.reconcile.beats import DEFAULT_FLEET
from agent.settings import Settings

CHUNK = 1024 * 1024
LOOK = 0.2
"""Seconds in which Ctrl-C is noticed at the latest."""
TAKEN = 300.0
"""Seconds to wait at most, with --wait, until the agent has taken it in."""
WANTING = ("WaitForUserUpload", "ImageLost")
"""Phases of what waits for an upload."""
Mark = Callable[[], bool]
_EPILOG = """\
examples:
  gitvirt upload vi/debian debian-12.qcow2
  gitvirt upload vd/data disk.raw.xz -n prod --wait
  gitvirt upload cvi/windows windows.iso --connect qemu+ssh://me@node-1/system

The file goes straight to the node, by libvirt: the connection is --connect or the nodes of the
configuration file, as for the agent. Where it is cut off, the same command goes on with it within a
day. The agent checks what has arrived as every other image, and takes it in.
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "upload",
        help="upload the file of an image or disk that waits for one",
        description="Upload a file for a VirtualImage, ClusterVirtualImage or VirtualDisk whose "
        "dataSource is of type Upload: raw, qcow2, iso, vmdk, vdi, vhdx or vhd, also compressed "
        "with xz, gzip or zstd.",
        epilog=_EPILOG,
    )
    parser.add_argument("target", metavar="KIND/NAME", help="the image or disk")
    parser.add_argument("file", metavar="FILE", help="the file with its data", type=Path)
    parser.add_argument(
        "-w", "--wait", action="store_true", help="wait until the agent has taken it in"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalogue = Catalogue.load()
    with opened(settings) as repository, contextlib.ExitStack() as closing:
        reader = Reader(repository, settings, catalogue)
        kind, name = target(catalogue, [args.target])
        snapshot = reader.now()
        entry = wanting(snapshot, kind, settings.namespace, name)
        if silence := snapshot.silence(time.time()):
            warn(silence)
        size = checked(args.file, settings.image_limit)
        fleet = str(snapshot.agent.get("fleet") or DEFAULT_FLEET)
        uid = str(entry.value["metadata"].get("uid", ""))
        volume = upload_volume(fleet, uid, size, _digest(args.file, size))
        host = _host(snapshot, entry, settings)
        closing.callback(host.close)
        file = Upload(args.file, size, host, volume)
        try:
            file.send()
        except KeyboardInterrupt:
            warn("interrupted: the same command goes on with what has arrived, within a day")
            return INTERRUPTED
        still = named(reader.now(), kind, settings.namespace, name)
        if still is None or still.value["metadata"].get("uid") != uid:
            raise CommandError(f"{args.target} was deleted meanwhile: what was uploaded goes, too")
        said = f"{tables.resource(kind)}/{entry.name}"
        print(f"{said} uploaded. The agent checks it and takes it in.", flush=True)
        timeout = settings.timeout or TAKEN
        return _taken(reader, kind, entry, file.marked, timeout) if args.wait else 0


# -- what it is for -------------------------------------------------------------------------------


def wanting(snapshot: Snapshot, kind: Kind, namespace: str, name: str) -> Entry:
    """The object, which waits for an upload; CommandError if it does not."""
    entry = named(snapshot, kind, namespace, name)
    if entry is None:
        tried = meanings(kind, namespace, name)
        where = " or ".join(
            f"{word!r} in namespace {space}" if kind.namespaced else repr(word)
            for space, word in tried
        )
        raise CommandError(f"there is no {kind.name} {where}; is its manifest pushed?")
    said = f"{kind.name} {entry.label}"
    source = entry.value.get("spec", {}).get("dataSource", {}).get("type", "")
    if source != "Upload":
        what = f"is of type {source}" if source else "is none"
        raise CommandError(f"{said} takes no upload: its spec.dataSource {what}, not Upload")
    phase = str(entry.status.get("phase", ""))
    if phase == "Ready":
        raise CommandError(f"{said} is ready already: its data cannot be replaced")
    if phase not in WANTING:
        why = _because(entry)
        raise CommandError(f"{said} does not wait for an upload: it is {phase or 'new'}{why}")
    return entry


def _ready(entry: Entry) -> Condition:
    found = (each for each in conditions(entry.status) if each.type == "Ready")
    return next(found, Condition("Ready", "False", ""))


def _because(entry: Entry) -> str:
    """Why it is not ready, to be put behind something."""
    message = _ready(entry).message
    return f" ({tables.printable(message)})" if message else ""


def _taken(reader: Reader, kind: Kind, entry: Entry, mark: Mark, timeout: float) -> int:
    """Until the agent has taken it in. What it refuses it takes away: then the status says why, or
    will do so at once; and what it takes in it takes away only after the status has said so.
    """
    said = f"{tables.resource(kind)}/{entry.name}"
    for refs in follow(reader.repository, timeout):
        away = not mark()
        now = reader.now(refs).find(kind, entry.namespace, entry.name)
        if now is None:
            raise CommandError(f"{said} was deleted meanwhile")
        if now.status.get("phase") == "Ready":
            print(f"{said} is ready.")
            return 0
        if away and _ready(now).reason == "ProvisioningFailed":
            raise CommandError(f"{said} is not ready{_because(now)}")
    raise CommandError(
        f"{said} is not ready after {human.age(timeout)}; `gitvirt describe` says why"
    )


# -- the file -------------------------------------------------------------------------------------


def checked(path: Path, limit: int) -> int:
    """Bytes of a file that may well be an image. CommandError if it is none."""
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "is not there"
            raise CommandError(f"{path} {what}")
        size = path.stat().st_size
        if size > limit:
            raise CommandError(
                f"{path} has {human.size(size)}; at most {human.size(limit)} are taken "
                "(--image-limit)"
            )
        if compressed(path):
            head = peek(path)
            detect(head, b"", max(len(head), SECTOR))
        else:
            inspect(path)
    except ImageError as error:
        if error.reason == "QemuImgMissing":
            warn(f"{error}; what the file holds is checked on the other side alone")
            return path.stat().st_size
        raise CommandError(f"{path}: {error}") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    return size


def _digest(path: Path, size: int) -> str:
    progress = Progress("reading", size)
    digest, done = hashlib.sha256(), 0
    try:
        for chunk in _chunks(path, 0):
            digest.update(chunk)
            done += len(chunk)
            if size > 256 * CHUNK:
                progress.show(done)
    finally:
        progress.end()
    if done != size:
        raise CommandError(f"{path} is being written to: wait until it is whole")
    return digest.hexdigest()


def _chunks(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset, os.SEEK_SET)
        while chunk := file.read(CHUNK):
            yield chunk


# -- the node -------------------------------------------------------------------------------------


def _host(snapshot: Snapshot, entry: Entry, settings: Settings) -> Host:
    """The node that the object belongs to, or any of the agent's."""
    known = [str(node["name"]) for node in nodes.told(snapshot.agent)]
    home = str(entry.status.get(nodes.HOME) or "")
    names = [name for name in addresses(settings) if name in (home, "")] or list(
        addresses(settings)
    )
    host = opened_one(settings, names[0])
    try:
        _check_node(host.read(frozenset({POOL})), known)
    except BaseException:
        host.close()
        raise
    return host


def _check_node(reading: Reading, known: Sequence[str]) -> None:
    """CommandError if the agent does not look there."""
    name = reading.node.name
    if known and name not in known:
        agents = ", ".join(known)
        raise CommandError(
            f"this is node {name}, and the agent's is {agents}: say with --connect how to reach it"
        )
    if POOL not in reading.pools:
        raise CommandError(
            f"node {name} has no active storage pool {POOL}: has the agent been started on it?"
        )


@dataclass
class Upload:
    """One file, and the volume that it goes into."""

    path: Path
    size: int
    host: Host
    volume: str

    def send(self) -> None:
        """Bring what is missing, and mark it as whole. CommandError and HostError."""
        there = self._there()
        offset = self._kept(there) if there is not None else 0
        free = self.host.free_space(POOL)
        if free < self.size - offset:
            raise CommandError(
                f"storage pool {POOL} has {format_bytes(free)} free, and "
                f"{format_bytes(self.size - offset)} are needed: make room there"
            )
        if not offset:
            self._begin(anew=there is not None)
        if offset < self.size:
            self._append(offset)
        after = self._there()
        if after is None or after.physical != self.size:
            raise CommandError(
                "what was uploaded is not there any more: another upload was faster, or nobody "
                "wants it now"
            )
        self.host.create_volume(POOL, volume_xml(whole_upload(self.volume), "raw", 0))

    def marked(self) -> bool:
        """True as long as it is marked as whole: until the agent takes it away."""
        return (POOL, whole_upload(self.volume)) in self.host.read_volumes(POOL)

    def _there(self) -> RawVolume | None:
        return self.host.read_volumes(POOL).get((POOL, self.volume))

    def _begin(self, *, anew: bool) -> None:
        if anew:
            self.host.delete_volume(POOL, self.volume)
        # made empty, so that the file's size tells how much of it has arrived
        self.host.create_volume(POOL, volume_xml(self.volume, "raw", 0))

    def _kept(self, there: RawVolume) -> int:
        """Bytes of an earlier upload that can be gone on with: only if each is the file's."""
        if not 0 < there.physical <= self.size:
            return 0
        progress, compared = Progress("comparing", there.physical), 0
        with self.path.open("rb") as file:

            def take(piece: bytes) -> None:
                nonlocal compared
                if file.read(len(piece)) != piece:
                    raise _OtherError
                compared += len(piece)
                progress.show(compared)

            try:
                self.host.read_volume(POOL, self.volume, take)
            except _OtherError:
                return 0
            finally:
                progress.end()
        return compared

    def _append(self, offset: int) -> None:
        progress = Progress("uploading", self.size, offset)
        ended = threading.Event()

        def chunks() -> Iterator[bytes]:
            done = offset
            for chunk in _chunks(self.path, offset):
                if ended.is_set():
                    raise CommandError("interrupted")
                yield chunk
                done += len(chunk)
                progress.show(done)

        try:
            _attended(
                lambda: self.host.upload_volume(POOL, self.volume, chunks(), self.size, offset)
            )
        except HostError as error:
            message = f"{error}; the same command goes on with what has arrived"
            raise CommandError(message) from error
        finally:
            ended.set()
            progress.end()


def _attended(work: Callable[[], object]) -> None:
    """Do it in a thread, and see to Ctrl-C meanwhile: a signal that another thread gets does not
    wake one that waits without an end.
    """
    failed: list[BaseException] = []

    def done() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is raised again by who waits
            failed.append(error)

    thread = threading.Thread(target=done, name="upload", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK)
    if failed:
        raise failed[0]


class _OtherError(Exception):
    """What is there is no part of the file."""
