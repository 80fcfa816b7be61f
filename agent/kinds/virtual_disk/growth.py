"""A disk grows to the size that is asked for: at once while nobody has it open, and through the
running instance that has. It never shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.core.acceptance import suspended
from agent.core.actions import Action, ResizeVolume
from agent.core.facts import View
from agent.core.host import RawVolume
from agent.core.jobs import held
from agent.core.known import ATTACHED, ELSEWHERE, GROWS, GROWTH, Fact
from agent.core.model import Condition, Key, Object
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.local import is_block
from agent.kinds.storage_class import Storage
from agent.kinds.virtual_disk.spec import disk_spec

SECTOR = 512
SLACK = 1 << 27
"""Bytes by which an LVM volume may be larger than what was asked for: it has whole extents."""
LOGICAL_VOLUME = (
    "libvirt does not enlarge LVM volumes: enlarge it by hand while no machine has it open "
    "(`lvextend`), or move the disk to another class."
)
RESIZING = "Resizing"
"""A phase and a condition."""


@dataclass(frozen=True)
class Growth:
    """What is said of it and done about it."""

    told: tuple[Condition, ...] = ()
    actions: tuple[Action, ...] = ()
    asks: Mapping[Fact, Any] = field(default_factory=dict)
    """What the machine is asked that has the disk open."""
    wake: float | None = None

    @property
    def under_way(self) -> bool:
        return any(condition.status == "True" for condition in self.told)


def in_sectors(size: int) -> int:
    """Bytes, rounded up."""
    return -(-size // SECTOR) * SECTOR


def growth(
    disk: Object, of_disk: Storage, volume: RawVolume, node: str, users: tuple[Key, ...], view: View
) -> Growth:
    size = disk_spec(disk.spec).get("persistentVolumeClaim", {}).get("size")
    wanted = in_sectors(to_bytes(size)) if size is not None else volume.capacity
    block = is_block(view, node, volume.pool)
    if volume.capacity - wanted > SLACK * block:
        has = format_bytes(volume.capacity)
        return _not(f"A disk cannot shrink: it has {has}, ask for that or more.")
    if wanted <= volume.capacity:
        return Growth()
    if of_disk.fixed:
        return _not(of_disk.fixed)
    if block:
        return _not(LOGICAL_VOLUME)
    moved_to = (view.read(ELSEWHERE, (disk.key, vm)) for vm in users)
    if moved := next(filter(None, moved_to), ""):
        return _not(
            f"The disk grows to {size} once it lies on its own volume again: it lies on {moved}, "
            "as after a snapshot taken by hand, and a guest would not see what is below that grow."
        )
    for vm in users:
        if view.read(ATTACHED, (disk.key, vm)) is not None:
            return _open(disk, vm, size, wanted, view)
    job = view.job(disk.key)
    if held(job, disk.generation, view.now):
        return _not(job.error, wake=job.retry_at if job.retry else None)
    resize = ResizeVolume(node, volume.pool, volume.name, wanted)
    return Growth((Condition(RESIZING, "True", "InProgress"),), (resize,))


def _open(disk: Object, vm: Key, size: object, wanted: int, view: View) -> Growth:
    """It grows through the machine that has it open."""
    hindrance: str | None = view.read(GROWTH, (disk.key, vm))
    asks = {} if suspended(disk.manifest) else GROWS.states(disk.key, wanted)
    if hindrance is None:
        return _not(f"The disk grows to {size} once {vm} runs with it, or lets go of it.", asks)
    if hindrance:
        return _not(hindrance, asks)
    return Growth((Condition(RESIZING, "True", "InProgress"),), asks=asks)


def _not(message: str, asks: Mapping[Fact, Any] | None = None, wake: float | None = None) -> Growth:
    told = Condition(RESIZING, "False", "NotAvailable", message)
    return Growth((told,), asks=asks or {}, wake=wake)
