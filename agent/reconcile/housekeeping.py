"""What is cleared away without anybody asking: the trash once its time is over, image data that
nothing needs, operations that ended long ago, what networks hold for machines that nobody knows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.core.actions import DiscardUpload, EraseVolume
from agent.core.facts import Engine
from agent.core.identity import POOL, disk_uid, domain_uuid, finished, known_data
from agent.core.jobs import Job
from agent.core.known import DOMAIN_AT, JOB, VOLUME_AT, WIRED
from agent.core.ledger import Record
from agent.core.model import Desired, Key, Problem
from agent.core.network import Held
from agent.core.network_actions import ReleaseAddress
from agent.core.nodes import HOME
from agent.core.volumes import users_of
from agent.kinds.registry import IMPORTING, from_upload, lies, needed, outlived
from agent.reconcile.book import Book
from agent.reconcile.entries import GRACE as ENTRY_GRACE
from agent.reconcile.entries import Entry, lost
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.hosts import Hosts
from agent.reconcile.news import Lanes, Post, reported
from agent.reconcile.strays import strays
from agent.reconcile.uploads import Uploads
from agent.reconcile.verbs import VERBS, lane
from agent.reconcile.world import World

log = logging.getLogger("gitvirt")

EVERY = 60.0
"""Seconds between two looks, where nothing happens."""
ERASE_AGAIN = 600.0
"""Seconds until a volume that could not be deleted is tried again."""
GRACE = 3600.0
"""Seconds for which nothing may need image data before it is deleted."""
Volume = tuple[str, str, str]
"""Node, pool and name."""
MAKING = frozenset(kind.__name__ for kind, verb in VERBS.items() if verb.long or verb.moves)
"""Verbs whose data nobody needs before they have ended."""
VOLUME = "Volume"
"""Kind of the keys under which volumes are deleted here; no manifest has it."""
ENTRY = "Entry"
"""The same of what networks hold."""
CLEARED = frozenset((VOLUME, ENTRY))


@dataclass
class _Times:
    """When what is due, in seconds since the epoch."""

    look: float = 0.0
    images: float = 0.0  # pragma: no mutate: long ago
    withdraw: float = 0.0  # pragma: no mutate: long ago
    retry: dict[Volume, float] = field(default_factory=dict)
    """What is due is not there any more."""
    unneeded: dict[Volume, float] = field(default_factory=dict)
    """Since when nothing needs some image data."""
    lost: dict[Entry, float] = field(default_factory=dict)
    """Since when nobody knows whom networks hold something for."""


class Housekeeping:
    """Runs at the end of a pass. Deletes a volume only after whoever refers to it was looked for on
    the host just before, and a disk's only after the status branch says so.
    """

    def __init__(
        self,
        engine: Engine,
        book: Book,
        world: World,
        hosts: Hosts,
        executor: Executor,
        lanes: Lanes,
        post: Post,
        fleet: str,
        retention: float,
    ) -> None:
        self._engine, self._book, self._world, self._hosts = engine, book, world, hosts
        self._executor, self._lanes, self._post = executor, lanes, post
        self._fleet, self._retention = fleet, retention
        self._times = _Times()
        self._uploads = Uploads(fleet)
        self._withdrawn: frozenset[Key] = frozenset()
        self._erased: dict[Volume, str] = {}
        """Uid of the trash entry that each volume under way belongs to."""
        self.busy: set[Volume | Key] = set()
        """What is being deleted."""
        self._doubtful: tuple[Problem, ...] = ()
        self.looked = False
        """True if `finished` was not asked since the last look."""

    def wake(self) -> None:
        """Something has happened: look at once."""
        self._times.look = 0.0

    def due(self) -> float:
        return self._times.look

    def run(self, now: float, desired: Desired) -> None:
        """Clear away what is due. The world and the ledger are known by now."""
        if now < self._times.look:
            return
        self._times.look = now + EVERY
        self.looked = True
        self._times.retry = {volume: at for volume, at in self._times.retry.items() if at > now}
        for uid, record in list(self._book.trash.entries.items()):
            self._trashed(uid, record, now)
        if now >= self._times.images:
            self._times.images = now + EVERY
            self._images(desired, now)
            self._discard(desired, now)
            self._entries(desired, now)
        if self._world.snapshots or self._doubtful or self._book.strays:
            known = {record.obj.uid for record in self._objects()}
            self._book.strays = (*strays(self._world.snapshots, known), *self._doubtful)

    def finished(self, now: float) -> tuple[frozenset[Key], frozenset[Key]]:
        """Operations whose files may go, none if those were just tried; and others that ended."""
        self.looked = False
        book = self._book
        asked = book.operations - book.owned  # of the others there are no files
        operations = (book.records[key] for key in asked if not book.outbox.holds(key))
        gone, kept = outlived(operations, now)
        if not gone or (gone == self._withdrawn and now < self._times.withdraw):
            return frozenset(), kept
        self._withdrawn, self._times.withdraw = gone, now + GRACE
        return gone, kept

    def ended(self, outcome: Outcome, now: float) -> None:
        """What was to be deleted is, or could not be."""
        if outcome.key.kind == ENTRY:
            self._released(outcome, now)
            return
        pool, _, name = outcome.key.name.rpartition("/")
        volume = outcome.key.namespace, pool, name
        self.busy.discard(volume)
        uid = self._erased.pop(volume, "")
        trash = self._book.trash
        self.wake()
        if outcome.failed:
            self._times.retry[volume] = now + ERASE_AGAIN
            log.warning("volume %s: %s", name, outcome.message)
            if uid in trash.entries:
                trash.keep(uid, outcome.reason, outcome.message, now)
            return
        log.info("volume %s: deleted", name)
        self._times.retry.pop(volume, None)
        if uid in trash.entries and not self._left(trash.entries[uid]):
            trash.remove(uid)

    # -- the trash ---------------------------------------------------------------------------

    def _trashed(self, uid: str, record: Record, now: float) -> None:
        trash = self._book.trash
        if now < trash.due(record, self._retention):
            return
        if not lies(self._fleet, record):
            trash.remove(uid)
            return
        if not (volumes := self._erasable(uid, record, now)):
            return
        if trash.erasing(uid):
            for volume in volumes:
                self._erased[volume] = uid
                self._erase(volume)
            return
        users = sorted({user for volume in volumes for user in self._users(volume)})
        if users:
            self._times.retry.update(dict.fromkeys(volumes, now + ERASE_AGAIN))
            message = f"Its volume is kept: {', '.join(users)} refers to it."
            trash.keep(uid, "VolumeInUse", message, now)
        else:
            trash.mark(uid, now)

    def _erasable(self, uid: str, record: Record, now: float) -> tuple[Volume, ...]:
        """The volumes of an object of the trash that are to be erased now: on the nodes that have
        them, and on the one that had them last, whatever it shows. None as long as one cannot be
        read that may have one, or was tried just now.
        """
        hosts = self._hosts
        home: str = record.status.get(HOME, "")
        own = lies(self._fleet, record)
        nodes = {
            *(node for each in own for node in self._nodes_of(*each)),
            *([home] if home else ()),
        }
        away = sorted(node for node in nodes if not hosts.reachable(node))
        if not nodes:
            away = list(hosts.away)
        if away:
            message = f"Its volume is kept until node {', '.join(away)} can be read."
            self._book.trash.keep(uid, "NodeNotReady", message, now)
            return ()
        chosen = sorted(nodes) or hosts.names[:1]
        volumes = tuple((node, *each) for each in own for node in chosen)
        return () if any(volume in self._times.retry for volume in volumes) else volumes

    def _nodes_of(self, pool: str, name: str) -> tuple[str, ...]:
        return self._engine.get(VOLUME_AT, (pool, name)) or ()

    def _left(self, record: Record) -> bool:
        """True while something of an object is on a node that shows it."""
        return any(self._nodes_of(*each) for each in lies(self._fleet, record))

    def _users(self, volume: Volume) -> tuple[str, ...]:
        """Whoever refers to a volume on its node, or on those that have the same data."""
        node, pool, name = volume
        seen = self._hosts.sharing(node, pool)
        domains = (raw for node in seen for raw in self._world.domains(node).values())
        volumes = (volume for node in seen for volume in self._world.volumes(node).values())
        return tuple(sorted({*users_of(name, domains, volumes)}))

    def _erase(
        self, volume: Volume, verb: type[EraseVolume] | type[DiscardUpload] = EraseVolume
    ) -> None:
        if volume in self.busy:
            return
        self.busy.add(volume)
        node, pool, name = volume
        key = Key(VOLUME, node, f"{pool}/{name}")
        ticket = Ticket(key, 0, (verb(node, pool, name),))  # pragma: no mutate: it has none
        work = reported(self._post, lambda: self._executor.run(ticket), ticket.failed)
        lane(ticket.actions, self._lanes.at(node))(work)

    # -- uploads -------------------------------------------------------------------------------

    def _discard(self, desired: Desired, now: float) -> None:
        """What no object wants, or nobody has gone on with for long."""
        if not self._world.uploads or not desired.complete or self._unknown(desired):
            return
        there = {
            (node, name): self._world.volumes(node).get((POOL, name))
            for node, name in self._world.uploads
            if self._hosts.reachable(node)
        }
        wanted = (each.obj.uid for each in self._book.records.values() if from_upload(each.obj))
        for node, name in self._uploads.due(there, wanted, now):
            if (node, POOL, name) not in self._times.retry:
                self._erase((node, POOL, name), DiscardUpload)

    # -- what networks hold ---------------------------------------------------------------------

    def _entries(self, desired: Desired, now: float) -> None:
        """For machines that nobody has known for a while, on whatever node."""
        if not desired.complete or self._hosts.away or self._world.mute:
            return

        def is_known(machine: Key, mac: str) -> bool:
            if machine in self._book.records or machine in desired.invalid:
                return True
            uuid = domain_uuid(self._fleet, machine)
            there = self._engine.get(DOMAIN_AT, uuid) or self._engine.get(WIRED, mac)
            return bool(there or desired.meant_in(machine))

        held = self._world.networks.entries()
        found = lost(held, self._fleet, self._book.machine, is_known)
        self._doubtful = found.doubtful
        self._times.lost = {each: self._times.lost.get(each, now) for each in found.ours}
        for entry, since in self._times.lost.items():
            if now >= since + ENTRY_GRACE and _key_of(entry) not in self.busy:
                self._release(*entry)

    def _release(self, node: str, held: Held) -> None:
        key = _key_of((node, held))
        self.busy.add(key)
        ticket = Ticket(key, 0, (ReleaseAddress(node, held),))  # pragma: no mutate: it has none
        work = reported(self._post, lambda: self._executor.run(ticket), ticket.failed)
        lane(ticket.actions, self._lanes.at(node))(work)

    def _released(self, outcome: Outcome, now: float) -> None:
        key = outcome.key
        self.busy.discard(key)
        for entry in filter(lambda each: _key_of(each) == key, self._times.lost):
            self._times.lost[entry] = now  # what fails is tried again after a while
        said = outcome.message or "taken out: nobody knows the machine that it was for"
        log.info("entry %s of node %s: %s", key.name, key.namespace, said)

    # -- image data --------------------------------------------------------------------------

    def _images(self, desired: Desired, now: float) -> None:
        times = self._times
        unneeded = [*self._unneeded(desired), *self._leftovers(), *self._marks(desired)]
        times.unneeded = {key: times.unneeded.get(key, now) for key in unneeded}
        due = [key for key, first in times.unneeded.items() if now >= first + GRACE]
        for volume in (key for key in due if key not in times.retry):
            if not self._hosts.reachable(volume[0]):
                continue
            if self._users(volume):
                times.retry[volume] = now + ERASE_AGAIN
            else:
                self._erase(volume)

    def _unneeded(self, desired: Desired) -> list[Volume]:
        """Image data on the hosts that no object needs; none while that is not known for sure."""
        there = self._world.image_data
        if not there or not desired.complete or self._importing():
            return []
        if self._unknown(desired):
            return []
        names = needed(self._fleet, self._objects())
        if names is None:
            return []
        return [(node, POOL, name) for node, name in there if name not in names]

    def _marks(self, desired: Desired) -> list[Volume]:
        """Marks that say whose image data is, of objects that are not there any more."""
        if not self._world.known or not desired.complete or self._unknown(desired):
            return []
        uids = {record.obj.uid for record in self._objects()}
        said = ((node, name, known_data(self._fleet, name)) for node, name in self._world.known)
        return [(node, POOL, name) for node, name, of in said if of and of.uid not in uids]

    def _leftovers(self) -> list[Volume]:
        """What was left half made by an agent that was killed, and that nobody goes on with; the
        mark of what is not whole goes once that is gone.
        """
        if not self._world.passing or self._importing():
            return []
        kept = {record.obj.uid for record in self._objects()}
        found = []
        for node, pool, name in self._world.passing:
            half = finished(name)
            if half and disk_uid(half) in kept:
                continue  # whoever wants it makes it anew
            there = half and (pool, half) in self._world.volumes(node)
            found.append((node, pool, half if there else name))
        return found

    def _unknown(self, desired: Desired) -> bool:
        """True if a manifest that does not hold may be one of an object that nobody knows."""
        records = self._book.records
        if any(key not in records for key in desired.invalid):
            return True
        importing = [meant.name for meant in desired.meant if meant.kind in (None, *IMPORTING)]
        return bool(importing) and not {key.name for key in records}.issuperset(importing)

    def _objects(self) -> Iterable[Record]:
        yield from self._book.records.values()
        yield from self._book.trash.entries.values()

    def _importing(self) -> bool:
        jobs: Iterable[Job | None] = (self._engine.get(JOB, key) for key in self._book.records)
        return any(job is not None and MAKING & {*job.busy} for job in jobs)


def _key_of(entry: Entry) -> Key:
    """Under which it is taken out."""
    node, held = entry
    return Key(ENTRY, node, f"{held.network}/{held.address}")
