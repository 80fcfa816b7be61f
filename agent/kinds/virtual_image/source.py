"""Image data, whatever it comes from: where it is, and what brings it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.actions import Action, ImportImage
from agent.core.facts import View
from agent.core.identity import POOL, image_prefix, image_volume
from agent.core.jobs import Job, held
from agent.core.known import VOLUME, VOLUME_AT
from agent.core.model import Json, Key, Object
from agent.kinds.local import Place, away, place
from agent.kinds.virtual_image.sources import NOT_STARTED, Origin

CLUSTER = "ClusterVirtualImage"
"""The kind of images that belong to no namespace."""


def device_key(namespace: str, kind: str, name: str) -> Key:
    """The disk or image that an object of that namespace names by kind and name."""
    return Key(kind, "" if kind == CLUSTER else namespace, name)


@dataclass(frozen=True)
class ImageData:
    """Image data that is stored whole."""

    paths: Mapping[str, str]
    """Where it is, by node."""
    format: str
    """qcow2, raw or iso."""
    size: int
    """Bytes that a guest sees."""

    @property
    def cdrom(self) -> bool:
        return self.format == "iso"

    @property
    def driver(self) -> str:
        """The format as QEMU is told it."""
        return "raw" if self.cdrom else self.format


@dataclass(frozen=True)
class Imported:
    """State of one import. `facts` is what the ledger must remember of it."""

    facts: Mapping[str, Json]
    data: ImageData | None = None
    action: Action | None = None
    reason: str = ""
    message: str = ""
    progress: str = ""
    failed: bool = False
    wake: float | None = None
    waiting: bool = False

    @property
    def phase(self) -> str:
        if self.data is not None:
            return "Ready"
        if self.failed:
            return "Failed"
        return "Pending" if self.reason == NOT_STARTED else "Provisioning"


AGAIN = "The download fails and is tried again: {}"
FACTS = ("digest", "format", "storedBytes", "unpackedBytes", "resolvedImage")


def imported(
    obj: Object,
    origin: Origin,
    known: Mapping[str, Json],
    view: View,
    wanted: Sequence[Place],
) -> Imported:
    """`known` is what the ledger remembers of an earlier import, from the same source if it does
    not say from which. `wanted` are the nodes that need the data, at least one; all get the same.
    """
    job = view.job(obj.key)
    mark = origin.source.mark if origin.source else ""
    facts = dict(known) if known.get("source", mark) == mark else {}
    if mark and job.result.get("source") == mark:  # the manifest may have changed meanwhile
        facts = {name: job.result[name] for name in FACTS if name in job.result} | {"source": mark}
    if origin.source and facts.get("resolvedImage"):
        origin = replace(origin, source=origin.source.found(facts["resolvedImage"]))
    data = _stored(facts, view) if facts.get("digest") else None
    lack = [at.name for at in wanted if data is None or at.name not in data.paths]
    if not lack:
        return Imported(facts, data, progress="100%")
    if data is None:
        return _fetching(obj, origin, known, view, _import(origin, lack[0], view))
    name = image_volume(view.fleet, facts["digest"], facts["format"])
    again = _import(origin, lack[0], view, name, int(facts["storedBytes"]))
    return replace(_fetching(obj, origin, facts, view, again), data=data, progress="100%")


def _import(
    origin: Origin, node: str, view: View, volume: str = "", size: int = 0
) -> ImportImage | None:
    if origin.source is None:
        return None
    prefix = image_prefix(view.fleet)
    return ImportImage(node, POOL, origin.source, prefix, volume, size)


def _fetching(
    obj: Object,
    origin: Origin,
    known: Mapping[str, Json],
    view: View,
    action: ImportImage | None,
) -> Imported:
    job = view.job(obj.key)
    if action is not None and "ImportImage" in job.busy:
        reason, message = _told(job, obj.generation, origin.doing)
        return Imported(
            known,
            action=action,  # it goes on as long as it is wanted
            reason=reason,
            message=message,
            progress=f"{job.progress}%",
            waiting=True,
        )
    if action is None or origin.lacking:
        return Imported(known, reason=origin.reason, message=origin.lacking, waiting=origin.waiting)
    if held(job, obj.generation, view.now):
        wake = job.retry_at if job.retry else None
        reason = "ProvisioningFailed" if job.retry else "ProvisioningFailedTerminally"
        return Imported(
            known,
            reason=reason,
            message=AGAIN.format(job.error) if job.retry else job.error,
            failed=not job.retry,
            wake=wake,
            waiting=job.retry,
        )
    reason, message = _told(job, obj.generation, "The image is about to be downloaded.")
    return Imported(
        known, action=action, reason=reason, message=message, progress="0%", waiting=True
    )


def _told(job: Job, generation: int, doing: str) -> tuple[str, str]:
    """Reason and message while it goes on: what failed is told until it goes better."""
    failed = job.error if job.failed == "ImportImage" and job.generation == generation else ""
    trouble = job.trouble or ("" if job.progress else failed)
    if trouble:
        return "ProvisioningFailed", AGAIN.format(trouble)
    return "Provisioning", doing


def _stored(facts: Mapping[str, Json], view: View) -> ImageData | None:
    """The data, where its volume is there and whole, on nodes that can be read."""
    name = image_volume(view.fleet, facts["digest"], facts["format"])
    paths = {}
    for node in view.read(VOLUME_AT, (POOL, name)) or ():
        volume = view.read(VOLUME, (node, POOL, name))
        whole = volume is not None and volume.physical == int(facts["storedBytes"])
        at = place(view, node)
        if whole and at is not None and not away(view, node):
            paths[node] = at.path(name)
    return ImageData(paths, facts["format"], int(facts["unpackedBytes"])) if paths else None
