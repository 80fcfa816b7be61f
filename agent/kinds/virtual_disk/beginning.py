"""What a disk holds at first."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.core.actions import Action, CopyVolume, CreateVolume
from agent.core.facts import View
from agent.core.identity import POOL, RAW
from agent.core.known import SHARED, Fact
from agent.core.model import Condition, Json, Object
from agent.kinds.exports import DiskData, ImageData, SnapshotData
from agent.kinds.local import Place
from agent.kinds.virtual_disk.location import Location, made_from
from agent.kinds.virtual_disk.moving import Move
from agent.kinds.virtual_disk.spec import DiskSource
from agent.kinds.virtual_disk.volume import Stored
from agent.kinds.virtual_image import imported, origin

SNAPSHOT = "VirtualDiskSnapshot"
_PREFIXES = {"ClusterVirtualImage": "ClusterImage", "VirtualImage": "Image"}


@dataclass
class Report:
    """What the decision says, gathered on its way."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    actions: tuple[Action, ...] = ()
    export: DiskData | None = None
    source: Condition = field(
        default_factory=lambda: Condition("DatasourceReady", "True", "DatasourceReady")
    )
    more: list[Condition] = field(default_factory=list)
    facts: Mapping[str, Json] = field(default_factory=dict)
    where: Location | None = None
    """Where it lies from now on, where that has changed."""
    move: Move = field(default_factory=lambda: Move({}))
    asks: Mapping[Fact, Any] = field(default_factory=dict)
    """What the machine is asked that has it open."""
    progress: str = ""
    wake: float | None = None
    waiting: bool = False
    expects: bool = False
    """True while somebody is to upload its data, by `command`."""
    command: str = ""


@dataclass(frozen=True)
class Beginning:
    """What is there to make a disk from."""

    size: int
    """Bytes that the disk has at least."""
    made: Callable[[Stored, Place, int], Action]
    """What makes its volume on a node, with so many bytes."""
    word: str = "image"
    cdrom: bool = False


def _on_image(data: ImageData, shared: Container[str] = ()) -> Beginning:
    """On top of it, but for what holds no image file, and for what others open who have not got the
    image: a copy there.
    """

    def made(stored: Stored, at: Place, capacity: int) -> Action:
        path = data.paths.get(at.name, "")
        apart = stored.pool in shared and POOL not in shared
        if path and (apart or stored.format == RAW):
            image = path.rpartition("/")[2]
            return CopyVolume(
                *(at.name, stored.pool, stored.name, POOL, image, capacity),
                format=stored.format,
                source_format=data.driver,
            )
        return CreateVolume(
            *(at.name, stored.pool, stored.name, capacity, path, data.driver), stored.format
        )

    return Beginning(data.size, made, cdrom=data.cdrom)


BLANK = _on_image(
    ImageData({}, "", size=0)  # pragma: no mutate: a blank disk's size is always given
)
"""What a disk without a source begins with."""


def _copy_of(data: SnapshotData) -> Beginning:
    def made(stored: Stored, at: Place, capacity: int) -> Action:
        return CopyVolume(
            *(at.name, stored.pool, stored.name, data.pool, data.volume, capacity),
            format=stored.format,
            source_format=data.format,
        )

    return Beginning(data.size, made, word="snapshot")


def beginning(
    disk: Object, source: DiskSource, view: View, at: Place, report: Report
) -> Beginning | None:
    """What is there to start from; None with the reason in the report."""
    key = made_from(disk, source)
    if key is None:
        return _import(disk, source, view, at, report)
    data = view.export(ImageData, key) or view.export(SnapshotData, key)
    if data is not None and at.name in data.paths:
        return _on_image(data, _shared(view)) if isinstance(data, ImageData) else _copy_of(data)
    if view.object(key) is None:
        report.reason, what = "DatasourceIsNotFound", "NotFound"
        report.message = f"{key} is not there: the disk is made as soon as it is."
    else:
        report.reason, what = "DatasourceIsNotReady", "NotReady"
        what_of_it = "is not ready" if data is None else f"is not on node {at.name} yet"
        report.message = f"{key} {what_of_it}: the disk is made as soon as it is."
        report.waiting = view.under_way(key)
    reason = SNAPSHOT if key.kind == SNAPSHOT else _PREFIXES[key.kind] + what
    report.source = Condition("DatasourceReady", "False", reason, report.message)
    return None


def _shared(view: View) -> frozenset[str]:
    return view.read(SHARED, None) or frozenset()


def _import(
    disk: Object, source: DiskSource, view: View, at: Place, report: Report
) -> Beginning | None:
    """An image of its own, which it is based on."""
    previous = view.previous(disk.key)
    known = previous.get("import", {})
    if "source" not in known and previous.get("observedGeneration") != disk.generation:
        known = {}  # it may be of another address
    came_from = origin(disk, source, view)
    state = imported(disk, came_from, known, view, (at,))
    report.facts, report.progress = state.facts, state.progress
    report.wake, report.waiting = state.wake, state.waiting
    report.source = came_from.condition
    if state.data is not None and at.name in state.data.paths:
        return _on_image(state.data, _shared(view))
    report.phase = state.phase if state.data is None else "Provisioning"
    report.reason, report.message = state.reason, state.message
    report.actions = (state.action,) if state.action else state.clears
    report.expects, report.command = state.expects, came_from.command if state.expects else ""
    return None
