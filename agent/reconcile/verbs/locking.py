"""Trying whether two nodes mind each other's locks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.host import Host, HostError
from agent.core.locking import SIZE, TryLock, guest
from agent.core.volumes import volume_xml
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, Verb

NOT_SHARED = (
    "Node {node} does not see in storage pool {pool} what node {holder} has put there: mount the "
    "same folder on both, or take `shared` out of the setting pools."
)
NOT_REFUSED = (
    "Node {node} could open for writing what node {holder} had open in storage pool {pool}: locks "
    "on it are not seen from both. Mount it so that they are (NFS: without `nolock` and "
    "`local_lock`). Until then nothing with disks there is started elsewhere if its node is lost."
)


class Try(Verb[TryLock]):
    """Nothing of it is left behind, whatever comes of it."""

    queues = True

    def perform(self, action: TryLock, site: Site) -> Done:
        holder = site.at(action.holder)
        with site.pool(action.pool), _volume(action, holder) as path:
            said = _problem(action, holder, site.node, path)
        names = {"node": action.node, "pool": action.pool, "holder": action.holder}
        problem = said.format(**names)
        result = {"pool": action.pool, "holder": action.holder, "problem": problem}
        return Done(result=result)

    def simulate(self, action: TryLock, facts: Facts) -> Done:
        return Done()


def _problem(action: TryLock, holder: Host, here: Host, path: str) -> str:
    """What was seen to be wrong; empty if the second one was refused."""
    there = here.read_volumes(action.pool).get((action.pool, action.volume))
    if there is None:
        return NOT_SHARED
    mine, theirs = guest(action.volume, action.node), guest(action.volume, action.holder)
    try:
        if not holder.hold_lock(theirs, path):
            message = f"somebody has opened volume {action.volume}: it is tried again"
            raise HostError("VolumeInUse", message)
        return NOT_REFUSED if here.hold_lock(mine, there.path) else ""
    finally:
        for host, uuid in ((here, mine), (holder, theirs)):
            with contextlib.suppress(HostError):  # it ends with the connection
                host.destroy(uuid)


@contextmanager
def _volume(action: TryLock, holder: Host) -> Iterator[str]:
    known = holder.read_volumes(action.pool).get((action.pool, action.volume))
    if known is None:
        xml = volume_xml(action.volume, "raw", SIZE)
        known = holder.create_volume(action.pool, xml)
    try:
        yield known.path
    finally:
        with contextlib.suppress(HostError):  # the next try finds it
            holder.delete_volume(action.pool, action.volume)
