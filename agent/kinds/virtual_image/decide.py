"""Decide about one image."""

from __future__ import annotations

from typing import Any

from agent.core.facts import Decision, View
from agent.core.human import size as human_size
from agent.core.known import USERS
from agent.core.model import Condition, Key, Object
from agent.kinds.local import NOT_READY, place
from agent.kinds.protection import kept
from agent.kinds.storage_class import storage_class
from agent.kinds.virtual_image.source import Imported, imported

NOT_SUPPORTED = "Image sources of type {} are not supported here yet; HTTP is."


def decide(image: Object, view: View) -> Decision:
    if image.deleted:
        return _delete(view.read(USERS, image.key) or ())
    at = place(view)
    previous = view.previous(image.key)
    if at is None:
        if previous.get("phase"):
            return Decision()  # what was known stays: the digest by which the data is found again
        return _waiting(NOT_READY)
    source = image.spec["dataSource"]
    if source["type"] != "HTTP":
        return _waiting(NOT_SUPPORTED.format(source["type"]))
    size = previous.get("size", {})
    known = {
        "digest": previous.get("digest", ""),
        "format": previous.get("format", ""),
        "storedBytes": size.get("storedBytes", ""),
        "unpackedBytes": size.get("unpackedBytes", ""),
    }
    state = imported(image, source["http"], known, view, at)
    users = view.read(USERS, image.key) or ()
    status = _status(state, in_use=bool(users))
    status["conditions"] += storage_class(image, view, "StorageClassNotFound")
    return Decision(
        status=status,
        actions=(state.action,) if state.action else (),
        export=state.data,
        wake=state.wake,
        waiting=state.waiting,
        ok=state.data is not None,
    )


def _status(state: Imported, *, in_use: bool) -> dict[str, Any]:
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
    status["conditions"] = [
        Condition("DatasourceReady", "True", "DatasourceReady"),
        Condition("Ready", "True", "Ready")
        if ready
        else Condition("Ready", "False", state.reason, state.message),
        Condition("InUse", "True", "AttachedToVirtualMachine")
        if in_use
        else Condition("InUse", "False", "NotInUse"),
    ]
    return status


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
