"""Image data, whatever it comes from: where it is, and what brings it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.actions import Action, ImportImage
from agent.core.facts import View
from agent.core.human import size as human_size
from agent.core.identity import POOL, image_prefix, image_volume, is_hashed, known_prefix
from agent.core.image_sources import VolumeSource
from agent.core.jobs import Job, held
from agent.core.known import VOLUME, VOLUME_AT
from agent.core.model import Json, Object
from agent.kinds.exports import ImageData
from agent.kinds.local import Place, away, place
from agent.kinds.virtual_image.sources import Origin, upload


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
    begun: bool = True
    """False while something is lacking that has to come first."""
    expects: bool = False
    """True while somebody is to upload it."""
    clears: tuple[Action, ...] = ()
    """What takes away what was uploaded: it is stored, or no use."""

    @property
    def phase(self) -> str:
        if self.data is not None:
            return "Ready"
        if self.expects:
            return upload.WAITS
        if self.failed:
            return "Failed"
        return "Provisioning" if self.begun else "Pending"


LOST = "ImageLost"
GONE = "The data is gone from the host, and nothing else has it: upload it again by `{}`."
SPREADING = "The data is being copied from another node."
AGAIN = "The {} fails and is tried again: {}"
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
    A node has it from another one where one has it.
    """
    state = _imported(obj, origin, known, view, wanted)
    return _uploaded(obj, origin, state, view) if origin.command else state


def _uploaded(obj: Object, origin: Origin, state: Imported, view: View) -> Imported:
    """What becomes of a file that is uploaded: one that is no use is told, and another one is
    waited for.
    """
    if state.data is None and origin.source is None:
        lost = bool(state.facts.get("digest")) and origin.reason != upload.REFUSED
        reason, message = (LOST, GONE.format(origin.command)) if lost else ("", "")
        return replace(
            state,
            expects=True,
            reason=reason or state.reason,
            message=message or state.message,
            progress=origin.progress,
            wake=origin.wake,
        )
    stored = state.data is not None and state.action is None
    if not stored and not state.failed:
        return state
    clears, again = upload.clearing(obj, view)
    state = replace(state, clears=clears, wake=again)
    if stored:
        return state
    message = upload.refused(state.message, origin.command)
    return replace(state, failed=False, expects=True, reason=upload.REFUSED, message=message)


def _imported(
    obj: Object,
    origin: Origin,
    known: Mapping[str, Json],
    view: View,
    wanted: Sequence[Place],
) -> Imported:
    job = view.job(obj.key)
    mark = origin.mark
    facts = dict(known) if known.get("source", mark) == mark else {}
    if mark and job.result.get("source") == mark:  # the manifest may have changed meanwhile
        facts = {name: job.result[name] for name in FACTS if name in job.result} | {"source": mark}
    if origin.source and facts.get("resolvedImage"):
        origin = replace(origin, source=origin.source.found(facts["resolvedImage"]))
    if origin.shared and not (facts.get("digest") and _stored(facts, view)):
        facts = dict(origin.shared)
    data = _stored(facts, view) if facts.get("digest") else None
    lack = [at.name for at in wanted if data is None or at.name not in data.paths]
    if not lack:
        return Imported(facts, data, progress="100%")
    if data is None:
        near = [node for node in origin.near if place(view, node) and not away(view, node)]
        action = _import(obj, origin, (near or lack)[0], view)
        return _fetching(obj, origin, known, view, action)
    name = image_volume(view.fleet, data.digest, data.format)
    named = "" if is_hashed(data.digest) else data.digest
    having = VolumeSource(next(iter(data.paths)), POOL, name, data.format, data.size, named)
    again = _import(obj, replace(origin, source=having), lack[0], view, name, data.stored)
    state = _fetching(
        obj, replace(origin, lacking="", doing=SPREADING, copied=True), facts, view, again
    )
    return replace(state, data=data, progress="100%")


def _import(
    obj: Object, origin: Origin, node: str, view: View, volume: str = "", size: int = 0
) -> ImportImage | None:
    if origin.source is None:
        return None
    source = origin.source.at(node)
    made = ImportImage(node, POOL, source, image_prefix(view.fleet), volume, size)
    mark = f"{known_prefix(view.fleet, obj.key)}{obj.uid}"
    return replace(made, known=mark) if origin.once else made


def _fetching(
    obj: Object,
    origin: Origin,
    known: Mapping[str, Json],
    view: View,
    action: ImportImage | None,
) -> Imported:
    job = view.job(obj.key)
    if action is not None and "ImportImage" in job.busy:
        reason, message = _told(job, obj.generation, origin, origin.doing)
        return Imported(
            known,
            action=action,  # it goes on as long as it is wanted
            reason=reason,
            message=message,
            progress=f"{job.progress}%",
            waiting=True,
        )
    if action is None or origin.lacking:
        return Imported(
            known,
            reason=origin.reason,
            message=origin.lacking,
            waiting=origin.waiting,
            begun=False,
        )
    if held(job, obj.generation, view.now):
        wake = job.retry_at if job.retry else None
        reason = "ProvisioningFailed" if job.retry else "ProvisioningFailedTerminally"
        return Imported(
            known,
            reason=reason,
            message=AGAIN.format(_deed(origin), job.error) if job.retry else job.error,
            failed=not job.retry,
            wake=wake,
            waiting=job.retry,
        )
    soon = f"The image is about to be {'copied' if origin.copied else 'downloaded'}."
    reason, message = _told(job, obj.generation, origin, soon)
    return Imported(
        known, action=action, reason=reason, message=message, progress="0%", waiting=True
    )


def _deed(origin: Origin) -> str:
    return "copy" if origin.copied else "download"


def _told(job: Job, generation: int, origin: Origin, doing: str) -> tuple[str, str]:
    """Reason and message while it goes on: what failed is told until it goes better."""
    failed = job.error if job.failed == "ImportImage" and job.generation == generation else ""
    trouble = job.trouble or ("" if job.progress else failed)
    if trouble:
        return "ProvisioningFailed", AGAIN.format(_deed(origin), trouble)
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
    size, stored = int(facts["unpackedBytes"]), int(facts["storedBytes"])
    return ImageData(paths, facts["format"], size, facts["digest"], stored) if paths else None


def speed(obj: Object, view: View) -> dict[str, Json]:
    """How fast it comes, or came: the part of a status that says so."""
    average, current = view.job(obj.key).speed
    told = view.previous(obj.key).get("downloadSpeed")
    if average:
        told = {
            "avg": human_size(average),
            "avgBytes": str(average),
            "current": human_size(current),
            "currentBytes": str(current),
        }
    return {"downloadSpeed": told} if told else {}
