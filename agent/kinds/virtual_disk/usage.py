"""Who uses a disk, and what becomes of one that is to go."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.facts import Decision, View
from agent.core.known import ATTACHED, LEAVING, MACHINE_OF, OVERLAYS, USERS
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.exports import DiskData
from agent.kinds.local import Place
from agent.kinds.protection import kept


def users(disk: Key, view: View) -> tuple[Key, ...]:
    """The VMs that refer to a disk, by themselves or by an attachment, and the one that still runs
    with it after its manifest let it go.
    """
    named = (view.read(MACHINE_OF, user) or user for user in view.read(USERS, disk) or ())
    referring = tuple(dict.fromkeys(named))
    leaving: Key | None = view.read(LEAVING, disk)
    return referring if leaving is None or leaving in referring else (*referring, leaving)


def overlays(view: View, at: Place, path: str) -> tuple[str, ...]:
    """Volumes that somebody has based on a disk's volume, by name."""
    paths: tuple[str, ...] | None = view.read(OVERLAYS, (at.name, path))
    return paths or ()


def attached_to(disk: Object, view: View) -> list[dict[str, Json]]:
    return [
        {"name": vm.name, "mounted": view.read(ATTACHED, (disk.key, vm)) is not None}
        for vm in users(disk.key, view)
    ]


def in_use(attached: list[dict[str, Json]], image: Key | None) -> Condition:
    """`image` is made from it."""
    if any(machine["mounted"] for machine in attached):
        return Condition("InUse", "True", "AttachedToVirtualMachine")
    if image is not None:
        return Condition("InUse", "True", "UsedForImageCreation", f"It is copied into {image}.")
    return Condition("InUse", "False", "NotInUse")


def delete(
    previous: Mapping[str, Json],
    attached: list[dict[str, Json]],
    image: Key | None,
    data: DiskData | None,
    users: tuple[Key, ...],
) -> Decision:
    if not users and image is None:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = kept("disk", users) if users else f"The disk is kept while it is copied into {image}."
    status = {
        **previous,  # it says where the data lies
        "phase": "Terminating",
        "attachedToVirtualMachines": attached,
        "conditions": [
            Condition("Terminating", "True", "CleanupPending", message),
            in_use(attached, image),
        ],
    }
    return Decision(status=status, export=data, ok=False)
