"""Disks that the running instance has open grow through it, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.acceptance import suspended
from agent.core.actions import GrowDisk
from agent.core.backup import mark_of
from agent.core.facts import View
from agent.core.known import GROWS
from agent.core.model import Key
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_machine.attachments import all_disks
from agent.kinds.virtual_machine.situation import Situation


@dataclass(frozen=True)
class Growth:
    actions: tuple[GrowDisk, ...] = ()
    told: Mapping[Key, str] = field(default_factory=dict)
    """Of each disk that asks to grow, why it does not; empty if it does."""


def growth(case: Situation, view: View) -> Growth:
    raw, running, memory = case.seen.raw, case.running, case.seen.running
    if raw is None or running is None or memory is None or case.deleted:
        return Growth()
    if not running.on or running.starting:
        return Growth()
    asked = {disk: view.read(GROWS, disk) for disk in all_disks(case.vm, memory)}
    wanted = {disk: size for disk, size in asked.items() if size is not None}
    hindrance = _hindrance(case) if wanted else ""
    if hindrance:
        return Growth(told=dict.fromkeys(wanted, hindrance))
    actions = []
    told = {}
    for disk, size in wanted.items():
        data, told[disk] = view.export(DiskData, disk), ""
        if data is not None:
            pool, name = data.pool, data.volume
            actions.append(GrowDisk(case.at.name, case.uuid, running.instance, pool, name, size))
            if failure := case.job.about.get(name):
                told[disk] = f"{failure.message}."
    return Growth(tuple(actions), told)


def _hindrance(case: Situation) -> str:
    """Why none of its disks can grow just now."""
    name = str(case.vm.key)
    if suspended(case.vm.manifest):
        return f"{name} is suspended, so that nothing is done about its disks either."
    if case.seen.block_job:
        return f"Somebody copies or merges a disk of {name}: it grows once that is done."
    assert case.seen.raw is not None  # noqa: S101  # asked only then
    if mark_of(case.seen.raw.active_xml) is not None:
        return f"A snapshot of {name} is being taken: it grows once that is done."
    return ""
