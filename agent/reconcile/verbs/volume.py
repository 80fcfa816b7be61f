"""Verbs on a volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from agent.core.actions import (
    CreateVolume,
    DeleteVolume,
    DiscardUpload,
    EraseVolume,
    GrowDisk,
    ResizeVolume,
)
from agent.core.host import HostError, RawVolume
from agent.core.volumes import mentions, untold, users_of, volume_xml
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight, Verb
from agent.reconcile.world import VolumeRead

EMPTY = 1
"""Bytes that an overlay without content is taken for in a plan."""
_UNTOLD = (
    "Its volume is kept: nobody can tell whether a disk of {} is based on it. Start the domain, or "
    "put the disk into a directory that is an active storage pool."
)


class Create(Verb[CreateVolume]):
    queues = True

    def alone(self, action: CreateVolume, site: Site) -> AbstractContextManager[object]:
        return site.pool(action.pool)

    def perform(self, action: CreateVolume, site: Site) -> Done:
        xml = volume_xml(
            action.name, action.format, action.capacity, action.backing_path, action.backing_format
        )
        return is_there(site.name, site.node.create_volume(action.pool, xml))

    def simulate(self, action: CreateVolume, facts: Facts) -> Done:
        known = facts.volume(action.pool, action.name)
        if known is None:
            path = f"{facts.path(action.pool)}/{action.name}"
            new = (action.pool, action.name, path, action.capacity, EMPTY, action.backing_path)
            known = RawVolume(*new)
        return is_there(facts.name, known)


class Resize(Verb[ResizeVolume]):
    queues = True

    def alone(self, action: ResizeVolume, site: Site) -> AbstractContextManager[object]:
        return site.pool(action.pool)

    def perform(self, action: ResizeVolume, site: Site) -> Done:
        grown = site.node.resize_volume(action.pool, action.name, action.capacity)
        return is_there(site.name, grown)

    def simulate(self, action: ResizeVolume, facts: Facts) -> Done:
        return _grown(action, facts)


class Grow(Verb[GrowDisk]):
    """What is being copied is of the size that it was when that began."""

    @contextmanager
    def alone(self, action: GrowDisk, site: Site) -> Iterator[None]:
        with site.backup(action.uuid), site.pool(action.pool):
            yield

    def stands(self, action: GrowDisk, sight: Sight) -> bool:
        return runs(sight, action.uuid, action.if_instance)

    def perform(self, action: GrowDisk, site: Site) -> Done:
        grown = site.node.grow_disk(action.uuid, action.pool, action.name, action.capacity)
        return is_there(site.name, grown)

    def simulate(self, action: GrowDisk, facts: Facts) -> Done:
        return _grown(action, facts)


class Delete(Verb[DeleteVolume]):
    """Of what belongs to one VM alone, only that VM's domain may refer to it, on whatever node."""

    queues = True

    def alone(self, action: DeleteVolume, site: Site) -> AbstractContextManager[object]:
        return site.pool(action.pool)

    def stands(self, action: DeleteVolume, sight: Sight) -> bool:
        for node in sight.sharing(action.pool):
            raw = node.read_domain(action.unless_in)
            if raw is not None and mentions(raw, action.name):
                message = f"volume {action.name} is kept: domain {raw.name} refers to it"
                raise OutdatedError("VolumeInUse", message)
        return True

    def perform(self, action: DeleteVolume, site: Site) -> Done:
        site.node.read_volumes(action.pool)  # a log is no volume until the pool is refreshed
        site.node.delete_volume(action.pool, action.name)
        return _is_gone(site.name, action)

    def simulate(self, action: DeleteVolume, facts: Facts) -> Done:
        return _is_gone(facts.name, action)


class Discard(Verb[DiscardUpload]):
    """Nobody has any reason to refer to it; but who does keeps it."""

    queues = True

    def alone(self, action: DiscardUpload, site: Site) -> AbstractContextManager[object]:
        return site.pool(action.pool)

    def stands(self, action: DiscardUpload, sight: Sight) -> bool:
        for node in sight.sharing(action.pool):
            seen = node.read(frozenset({action.pool}))
            refuse(users_of(action.name, seen.domains.values(), seen.volumes.values()))
        return True

    def perform(self, action: DiscardUpload, site: Site) -> Done:
        site.node.delete_volume(action.pool, action.name)
        return _is_gone(site.name, action)

    def simulate(self, action: DiscardUpload, facts: Facts) -> Done:
        return _is_gone(facts.name, action)


class Erase(Verb[EraseVolume]):
    """Nothing that any node shows may refer to it, or be based on it."""

    queues = True

    @contextmanager
    def alone(self, action: EraseVolume, site: Site) -> Iterator[None]:
        with site.volume(action.pool, action.name), site.pool(action.pool):
            yield  # no overlay of it can be made meanwhile

    def stands(self, action: EraseVolume, sight: Sight) -> bool:
        for node in sight.sharing(action.pool):
            seen = node.read(frozenset({action.pool}))
            refuse(users_of(action.name, seen.domains.values(), seen.volumes.values()))
            unclear = untold(seen.domains.values(), node.read_bases())
            if unclear:
                raise HostError("VolumeInUse", _UNTOLD.format(", ".join(unclear)))
        return True

    def perform(self, action: EraseVolume, site: Site) -> Done:
        site.node.delete_volume(action.pool, action.name)
        return _is_gone(site.name, action)

    def simulate(self, action: EraseVolume, facts: Facts) -> Done:
        return _is_gone(facts.name, action)


def refuse(users: tuple[str, ...]) -> None:
    """Fails if a volume is in use."""
    if users:
        message = f"Its volume is kept: {', '.join(users)} refers to it."
        raise HostError("VolumeInUse", message)


def _grown(action: ResizeVolume | GrowDisk, facts: Facts) -> Done:
    known = facts.volume(action.pool, action.name)
    if known is None:
        message = f"no volume {action.name} in storage pool {action.pool}"
        raise HostError("VolumeNotFound", message, retry=False)
    capacity = max(known.capacity, action.capacity)
    return is_there(facts.name, replace(known, capacity=capacity))


def is_there(node: str, volume: RawVolume) -> Done:
    return Done((VolumeRead(node, volume.pool, volume.name, volume),))


def _is_gone(node: str, action: DeleteVolume | DiscardUpload | EraseVolume) -> Done:
    return Done((VolumeRead(node, action.pool, action.name, None),))
