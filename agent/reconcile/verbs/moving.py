"""Verbs that copy a disk of a running domain to another volume, which it then goes on with."""

from __future__ import annotations

from dataclasses import replace

from agent.core.actions import BeginDiskCopy, EndDiskCopy
from agent.core.domain_xml import copies, parse, with_copy, without_copy
from agent.core.host import HostError
from agent.core.quantity import format_bytes
from agent.reconcile.verbs.domain import OnDomain, became
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight


class Begin(OnDomain[BeginDiskCopy]):
    """libvirt has the copy with the instance: it ends when that ends."""

    def stands(self, action: BeginDiskCopy, sight: Sight) -> bool:
        if not runs(sight, action.uuid, action.if_instance):
            return False
        seen = sight.node.read(frozenset({action.pool}))
        if (action.pool, action.volume) not in seen.volumes:
            message = f"volume {action.volume} of storage pool {action.pool} is not there"
            raise OutdatedError("VolumeNotFound", message)
        return _path(sight, action.uuid, action.serial) is None

    def perform(self, action: BeginDiskCopy, site: Site) -> Done:
        free = site.node.free_space(action.pool)
        if free < action.needed:
            raise HostError(
                "NoSpace",
                f"the disk needs {format_bytes(action.needed)} in storage pool {action.pool}, and "
                f"{format_bytes(free)} are free: free space in it or enlarge it",
            )
        site.node.copy_disk(action.uuid, action.serial, action.xml)
        return Done()

    def simulate(self, action: BeginDiskCopy, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active_xml:
            return Done()
        copying = with_copy(raw.active_xml, action.serial, action.xml)
        return became(replace(raw, active_xml=copying), facts)


class End(OnDomain[EndDiskCopy]):
    """Only of the copy that is meant: somebody may have begun another one."""

    def stands(self, action: EndDiskCopy, sight: Sight) -> bool:
        there = runs(sight, action.uuid, action.if_instance)
        return there and _path(sight, action.uuid, action.serial) == action.path

    def perform(self, action: EndDiskCopy, site: Site) -> Done:
        site.node.end_disk_copy(action.uuid, action.serial, pivot=action.pivot)
        return Done()

    def simulate(self, action: EndDiskCopy, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active_xml:
            return Done()
        active, inactive = without_copy(
            raw.active_xml, raw.inactive_xml, action.serial, pivot=action.pivot
        )
        return became(replace(raw, active_xml=active, inactive_xml=inactive), facts)


def _path(sight: Sight, uuid: str, serial: str) -> str | None:
    """Where a disk of the running instance is being copied to; None if it is not."""
    raw = sight.node.read_domain(uuid)
    found = copies(parse(raw.active_xml)).get(serial) if raw and raw.active_xml else None
    return found.path if found is not None else None
