"""The verb that copies a volume.

A volume cannot be renamed, and a copy goes on where the agent is killed, or even libvirtd: then
nothing about the volume itself tells whether it is whole. So another one is there for as long as it
is not (`core.identity.unfinished`): made before the copy begins, and deleted after it has ended
well. What lies beside such a mark has never been anybody's data; what does not is never replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.core.actions import CopyVolume
from agent.core.host import HostError, RawVolume, Reading
from agent.core.human import size
from agent.core.identity import unfinished
from agent.core.volumes import users_of, volume_xml, writers_of
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight, Verb
from agent.reconcile.verbs.volume import EMPTY, refuse
from agent.reconcile.world import VolumeRead

MARK = 512
"""Bytes of a mark: no kind of pool has volumes that are smaller."""


class Copy(Verb[CopyVolume]):
    long = True

    @contextmanager
    def alone(self, action: CopyVolume, site: Site) -> Iterator[None]:
        """Not the pools: what else is made in them goes on."""
        with site.volume(action.pool, action.name):
            yield

    def stands(self, action: CopyVolume, sight: Sight) -> bool:
        for node in sight.sharing(action.source_pool):
            writers = writers_of(action.source, node.read(frozenset()).domains.values())
            if writers:
                message = f"volume {action.source} is not copied: {', '.join(writers)} writes to it"
                raise OutdatedError("VolumeInUse", message)
        _check_source(action, sight.node.read(frozenset({action.source_pool})))
        for node in sight.sharing(action.pool):
            _check_half(action, node.read(frozenset({action.pool})))
        return True

    def perform(self, action: CopyVolume, site: Site) -> Done:
        return _seen(site.name, action, self.made(action, site))

    def made(
        self,
        action: CopyVolume,
        site: Site,
        first: Callable[[RawVolume], object] = lambda _copy: None,
    ) -> RawVolume:
        """The copy, as it is then. A whole one that is there is left as it is. What is to be done
        `first` comes before anybody takes the copy for a whole one.
        """
        known = site.node.read_volumes(action.pool)
        there = known.get((action.pool, action.name))
        mark = unfinished(action.name)
        if (action.pool, mark) not in known:
            if there is not None:
                return there
            _check_space(action, site)
            xml = volume_xml(mark, "raw", MARK)
            site.node.create_volume(action.pool, xml)
        elif there is not None:
            site.node.delete_volume(action.pool, action.name)
        try:
            copy = _copied(action, site)
        except HostError:
            _clear(action, site)
            raise
        first(copy)
        site.node.delete_volume(action.pool, mark)
        return copy

    def simulate(self, action: CopyVolume, facts: Facts) -> Done:
        known = facts.volume(action.pool, action.name)
        if known is None or facts.volume(action.pool, unfinished(action.name)) is not None:
            path = f"{facts.path(action.pool)}/{action.name}"
            known = RawVolume(action.pool, action.name, path, action.capacity, EMPTY)
        return _seen(facts.name, action, known)


def copied(action: CopyVolume, site: Site, first: Callable[[RawVolume], object]) -> RawVolume:
    """Have the copy, as part of another deed: see `Copy.made`."""
    verb = Copy()
    with verb.alone(action, site):
        site.check()
        verb.stands(action, site)
        return verb.made(action, site, first)


def _copied(action: CopyVolume, site: Site) -> RawVolume:
    source = site.node.read_volumes(action.source_pool).get((action.source_pool, action.source))
    whole = max(source.physical if source else 0, 1)
    return site.node.copy_volume(
        action.pool,
        volume_xml(action.name, action.format, action.capacity),
        action.source_pool,
        action.source,
        action.source_format,
        lambda stored: site.told(min(stored * 100 // whole, 99)),
    )


def _check_space(action: CopyVolume, site: Site) -> None:
    """A copy that cannot fit is not begun: guests that share the pool would be paused by it. What a
    source is based on is not counted, nor a raw one, which may be empty.
    """
    source = site.node.read_volumes(action.source_pool).get((action.source_pool, action.source))
    needed = source.physical if source and action.source_format == "qcow2" else 0
    free = site.node.free_space(action.pool)
    if free < needed:
        raise HostError(
            "NoSpace",
            f"the copy needs {size(needed)} in storage pool {action.pool}, and "
            f"{size(free)} are free: free space in it or enlarge it",
        )


def _check_source(action: CopyVolume, seen: Reading) -> None:
    what = ""
    if (action.source_pool, action.source) not in seen.volumes:
        what = "is not there"
    elif (action.source_pool, unfinished(action.source)) in seen.volumes:
        what = "is not whole yet"
    if what:
        message = f"volume {action.source} of storage pool {action.source_pool} {what}"
        raise HostError("VolumeNotFound", message)


def _check_half(action: CopyVolume, seen: Reading) -> None:
    """Nobody can have what was never whole; but what somebody has is nobody's to delete."""
    if (action.pool, unfinished(action.name)) in seen.volumes:
        refuse(users_of(action.name, seen.domains.values(), seen.volumes.values()))


def _clear(action: CopyVolume, site: Site) -> None:
    """Leave nothing of a copy that failed. Where that fails, too, its mark stays, and the next try
    does it.
    """
    with contextlib.suppress(HostError):
        site.node.read_volumes(action.pool)  # libvirt may have forgotten what it left there
        site.node.delete_volume(action.pool, action.name)
        site.node.delete_volume(action.pool, unfinished(action.name))


def _seen(node: str, action: CopyVolume, volume: RawVolume) -> Done:
    mark = VolumeRead(node, volume.pool, unfinished(volume.name), None)
    result = {"copied": f"{action.pool}/{action.name}", "asOf": action.as_of}
    return Done((mark, VolumeRead(node, volume.pool, volume.name, volume)), result)
