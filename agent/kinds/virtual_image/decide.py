"""Decide about one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.facts import Decision, View
from agent.core.human import size as human_size
from agent.core.identity import POOL, image_volume
from agent.core.known import IMAGE_AT, MADE_FROM, READ_BY, USERS, VOLUME_AT, Fact
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.local import NOT_READY, Place, missing, places, several, unknown
from agent.kinds.protection import kept
from agent.kinds.storage_class import ready, storage
from agent.kinds.virtual_image.source import LOST, Imported, imported, speed
from agent.kinds.virtual_image.sources import Origin, origin, source_uid
from agent.kinds.virtual_image.spec import image_spec

_OF_ITS_NODE = frozenset(("Ready",))
"""Conditions that nobody can tell of as long as the node is away that has the data."""


def decide(image: Object, view: View) -> Decision:
    if image.deleted:
        return _delete(view.read(USERS, image.key) or ())
    every = places(view)
    previous = view.previous(image.key)
    if not every:
        if previous.get("phase"):
            return Decision()  # what was known stays: the digest by which the data is found again
        return _waiting(NOT_READY)
    spec = image_spec(image.spec)
    size = previous.get("size", {})
    known = {
        "digest": previous.get("digest", ""),
        "format": previous.get("format", ""),
        "storedBytes": size.get("storedBytes", ""),
        "unpackedBytes": size.get("unpackedBytes", ""),
        "resolvedImage": previous.get("resolvedImage", ""),
    }
    users = view.read(USERS, image.key) or ()
    source = origin(image, spec["dataSource"], view)
    wanted = _wanted(image, known, users, source.near, every, view)
    if not wanted:
        return Decision(status=unknown(previous, missing(view), _OF_ITS_NODE), ok=False)
    state = imported(image, source, known, view, wanted)
    status = _status(state, source, in_use=bool(users))
    status |= speed(image, view) | source_uid(image, view)
    if several(view):
        status["nodes"] = _on_nodes(state, wanted)
    claim = spec.get("persistentVolumeClaim", {})
    its_class = storage(claim.get("storageClassName", ""), view)
    status["conditions"] += ready(its_class, "StorageClassNotFound")
    return Decision(
        status=status,
        actions=(state.action,) if state.action else state.clears,
        export=state.data,
        publish=_reads(image.key, source, view),
        wake=state.wake,
        waiting=state.waiting,
        expects=state.expects,
        ok=state.data is not None,
    )


def _wanted(
    image: Object,
    known: Mapping[str, str],
    users: tuple[Key, ...],
    near: tuple[str, ...],
    every: list[Place],
    view: View,
) -> list[Place]:
    """The nodes that need the data: those of machines that have it attached and of disks that are
    made from it. Where there are none one node is enough, and none as long as one may have it that
    is away.
    """
    made = view.read(MADE_FROM, image.key) or ()
    needing = {view.read(IMAGE_AT, (image.key, user)) for user in (*users, *made)}
    asked = [at for at in every if at.name in needing]
    if asked or not known["digest"]:
        return asked or [at for at in every if at.name in near][:1] or every[:1]
    name = image_volume(view.fleet, known["digest"], known["format"])
    there = view.read(VOLUME_AT, (POOL, name)) or ()
    having = [at for at in every if at.name in there]
    return having[:1] or ([] if several(view) and missing(view) else every[:1])


def _reads(image: Key, source: Origin, view: View) -> dict[Fact, Any]:
    """The disk that is being copied just now."""
    busy = "ImportImage" in view.job(image).busy
    return READ_BY.states(source.reads, image) if source.reads and busy else {}


def _status(state: Imported, source: Origin, *, in_use: bool) -> dict[str, Any]:
    facts = state.facts
    ready = state.data is not None
    status: dict[str, Any] = {"phase": state.phase, "progress": state.progress}
    if facts.get("digest"):
        status |= {
            "digest": facts["digest"],
            "format": facts["format"],
            "cdrom": facts["format"] == "iso",
            "size": {
                "stored": human_size(int(facts["storedBytes"])),
                "storedBytes": str(facts["storedBytes"]),
                "unpacked": human_size(int(facts["unpackedBytes"])),
                "unpackedBytes": str(facts["unpackedBytes"]),
            },
        }
    if state.expects:
        status["uploadCommand"] = source.command
        status["phase"] = LOST if state.reason == LOST else state.phase
    if facts.get("resolvedImage"):
        status["resolvedImage"] = facts["resolvedImage"]
    status["conditions"] = [
        source.condition,
        Condition("Ready", "True", "Ready", state.message)
        if ready
        else Condition("Ready", "False", state.reason, state.message),
        Condition("InUse", "True", "AttachedToVirtualMachine")
        if in_use
        else Condition("InUse", "False", "NotInUse"),
    ]
    return status


def _on_nodes(state: Imported, wanted: list[Place]) -> list[dict[str, Json]]:
    """The nodes that have the data, or that need it, each with how far that is."""
    there = state.data.paths if state.data is not None else {}
    coming = state.action.node if state.action is not None else ""
    lack = [at.name for at in wanted if at.name not in there]
    phases = {**dict.fromkeys(there, "Ready"), **{each: PHASES[each == coming] for each in lack}}
    return [{"name": name, "phase": phase} for name, phase in sorted(phases.items())]


PHASES = ("Pending", "Provisioning")


def _waiting(message: str) -> Decision:
    condition = Condition("Ready", "False", "ProvisioningNotStarted", message)
    return Decision(status={"phase": "Pending", "conditions": [condition]}, ok=False)


def _delete(users: tuple[Key, ...]) -> Decision:
    """An image goes once no VM has it attached; disks made from it keep its data."""
    if not users:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = kept("image", users)
    condition = Condition("Terminating", "True", "CleanupPending", message)
    return Decision(status={"phase": "Terminating", "conditions": [condition]})
