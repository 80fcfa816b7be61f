"""A disk whose class has changed goes to that class's pool: as a copy while its machines are off;
one that is open is copied by who has it open, who then goes on with the copy.

Where it goes is written down before the copy begins, and what is there counts for nothing until the
disk lies in it: a copy that was cut off, or whose end this agent has not seen, is made again, for
somebody may have started a machine meanwhile. Once it is whole, the definition of each domain goes
over to it, and when all have, the old volume goes to the trash: as long as one lies on that, it is
the disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.core.actions import Action, CopyVolume, CreateVolume, EraseVolume
from agent.core.domain_xml import parse
from agent.core.facts import View
from agent.core.host import RawDomain, RawVolume, version
from agent.core.identity import disk_number, disk_volume, serial, unfinished
from agent.core.jobs import IDLE, held
from agent.core.known import DOMAIN, LEAVING, VOLUME, WRITERS
from agent.core.ledger import MOVE
from agent.core.metadata import from_domain
from agent.core.model import Condition, Json, Key, Object
from agent.core.status import timestamp
from agent.core.volumes import lies_on, mentions
from agent.kinds.local import format_in, nodes, unusable
from agent.kinds.storage_class import Storage, storage
from agent.kinds.virtual_disk.location import Location
from agent.kinds.virtual_disk.volume import Stored, named_class

MIGRATING = "Migrating"
LIVE = ("BeginDiskCopy", "EndDiskCopy")
COPY, CREATE, ERASE = "CopyVolume", "CreateVolume", "EraseVolume"
_GOES_OVER = "The disk is copied, and definitions go over to the copy."


@dataclass(frozen=True)
class Going:
    """A move that has been written down and has not ended."""

    target: Stored
    its_class: str
    began: str

    def told(self, source: RawVolume) -> dict[str, Json]:
        return {
            "startTimestamp": self.began,
            "sourcePVC": source.name,
            "targetPVC": self.target.name,
            "pool": self.target.pool,
            "format": self.target.format,
            "storageClassName": self.its_class,
        }


@dataclass(frozen=True)
class Move:
    """What is to be said and done of a move."""

    state: Mapping[str, Json]
    """status.migrationState."""
    condition: Condition | None = None
    actions: tuple[Action, ...] = ()
    lies: Stored | None = None
    """The volume that it lies in from now on."""
    its_class: str = ""
    """The class that it is in from now on; empty where that stays."""
    open_to: Stored | None = None
    """The empty volume that who has the disk open copies it to."""
    copied: Stored | None = None
    """The whole copy that definitions are to go over to."""
    closed: bool = False
    """True while nobody may open the disk."""
    wake: float | None = None


def recorded_move(status: Mapping[str, Json]) -> Going | None:
    """The move that a status tells of, if it has not ended."""
    told = status.get(MOVE, {})
    if not told or "endTimestamp" in told:
        return None
    target = Stored(str(told["pool"]), str(told["targetPVC"]), str(told["format"]))
    return Going(target, str(told["storageClassName"]), str(told["startTimestamp"]))


def left_by_move(status: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Volumes of a move that has not ended: pool and name."""
    if (going := recorded_move(status)) is not None:
        for name in (going.target.name, unfinished(going.target.name)):
            yield going.target.pool, name


def move(
    disk: Object, of_disk: Storage, where: Location, volume: RawVolume, user: Key | None, view: View
) -> Move:
    """`volume` is the one that it has there; `user` the machine that has it open or is about to."""
    assert where.at is not None  # noqa: S101  # it has a volume there
    case = _Case(disk, where.volume, volume, where.at.name, user, view)
    going = recorded_move(view.previous(disk.key))
    named = named_class(disk)
    wanted = storage(named, view) if named and named != of_disk.name else None
    if going is not None and case.any_on(going.target):
        return case.going_over(going)
    if going is not None and (wanted is None or wanted.name != going.its_class):
        return case.given_up(going)
    if wanted is None:
        return Move(view.previous(disk.key).get(MOVE, {}))
    return case.towards(wanted, going)


@dataclass(frozen=True)
class _Case:
    disk: Object
    has: Stored
    volume: RawVolume
    node: str
    user: Key | None
    view: View

    def domains(self) -> list[RawDomain]:
        """Those that have the disk, on or off, on whatever node."""
        return [raw for _, raw in self._found()]

    def _found(self) -> Iterator[tuple[str, RawDomain]]:
        number = serial(self.disk.uid)
        for node in nodes(self.view):
            for uuid in self.view.read(WRITERS, (node, number)) or ():
                raw = self.view.read(DOMAIN, (node, uuid))
                if raw is not None:
                    yield node, raw

    def any_on(self, volume: Stored) -> bool:
        return any(lies_on(raw, volume.name) for raw in self.domains())

    def going_over(self, going: Going) -> Move:
        """Some domain lies on the copy already."""
        state = going.told(self.volume)
        if self.any_on(self.has):
            waits = Condition(MIGRATING, "True", "InProgress", _GOES_OVER)
            return Move(state, waits, copied=going.target)
        return self._ended(going)

    def _ended(self, going: Going) -> Move:
        end = {"endTimestamp": timestamp(self.view.now), "result": "Succeeded"}
        state = {**going.told(self.volume), **end}
        return Move(state, lies=going.target, its_class=going.its_class)

    def given_up(self, going: Going) -> Move:
        """No domain lies on the copy, and it is nobody's data: it is deleted."""
        state = going.told(self.volume)
        message = f"The copy in storage pool {going.target.pool} is given up."
        if any(mentions(raw, going.target.name) for raw in self.domains()):
            return Move(state, _said("WaitForTargetVolumeRelease", message))
        job = self.view.job(self.disk.key)
        left = tuple(self._erased(going.target))
        if not left and not job.busy:
            end = {"endTimestamp": timestamp(self.view.now), "result": "Failed"}
            return Move({**state, **end, "message": message})
        if self._held(ERASE):
            waits = _said("WaitForTargetVolumeRelease", job.error)
            return Move(state, waits, wake=job.retry_at if job.retry else None)
        return Move(state, _said("WaitForTargetVolumeRelease", message), left)

    def towards(self, wanted: Storage, going: Going | None) -> Move:
        state = going.told(self.volume) if going is not None else {}
        if wanted.problem:
            return Move(state, _said("StorageClassNotFound", wanted.problem))
        if wanted.pool == self.volume.pool:
            return Move(state, its_class=wanted.name)
        if closed := unusable(self.view, self.node, wanted.pool):
            return Move(state, _said("WaitForTargetReady", closed))
        begun = going or self._begun(wanted)
        if self._is_copied(begun):
            waits = Condition(MIGRATING, "True", "InProgress", _GOES_OVER)
            whole = Move(begun.told(self.volume), waits, copied=begun.target)
            return whole if self.domains() else self._ended(begun)
        if self._runs_alone():
            return self._live(begun)
        copying = COPY in self.view.job(self.disk.key).busy
        if not copying and (problem := self._hindrance()):
            return Move(state, _said("WaitForSourceVolumeRelease", problem))
        return self._copy(begun)

    def _begun(self, wanted: Storage) -> Going:
        number = disk_number(self.has.name) + 1
        form = format_in(self.view, self.node, wanted.pool)
        name = disk_volume(self.view.fleet, self.disk.key, self.disk.uid, form, number)
        return Going(Stored(wanted.pool, name, form), wanted.name, timestamp(self.view.now))

    def _copy(self, going: Going) -> Move:
        """Nobody opens the disk until the copy has ended."""
        state, target = going.told(self.volume), going.target
        job = self.view.job(self.disk.key)
        if self._held(COPY) or self._held(ERASE):
            message = f"The disk cannot be copied to storage pool {target.pool}: {job.error}"
            wake = job.retry_at if job.retry else None
            return Move(state, _said("WaitForTargetReady", message), wake=wake)
        copy = CopyVolume(
            node=self.node,
            pool=target.pool,
            name=target.name,
            source_pool=self.has.pool,
            source=self.has.name,
            capacity=self.volume.capacity,
            format=target.format,
            source_format=self.has.format,
            as_of=self._as_of(),
        )
        message = f"The disk is copied to storage pool {target.pool}."
        progress = Condition(MIGRATING, "True", "InProgress", message)
        actions = () if job.busy else (*self._erased(target, mark=False), copy)
        return Move(state, progress, actions, closed=True)

    def _runs_alone(self) -> bool:
        """True if just one domain has the disk, which runs on the volume that the disk has, and
        goes on with the disk.
        """
        found = list(self._found())
        leaving = self.view.read(LEAVING, self.disk.key)
        if len(found) != 1 or self.user in (None, leaving):
            return False
        node, raw = found[0]
        at_home = node == self.node and raw.active and not raw.starting
        return at_home and not raw.unread and lies_on(raw, self.has.name)

    def _live(self, going: Going) -> Move:
        """The instance copies it to an empty volume, which is made first."""
        state, target = going.told(self.volume), going.target
        job = self.view.job(self.disk.key)
        message = f"The disk is copied to storage pool {target.pool} while it is open."
        progress = Condition(MIGRATING, "True", "InProgress", message)
        if self._held(CREATE) or self._held(ERASE):
            message = f"The disk cannot be copied to storage pool {target.pool}: {job.error}"
            wake = job.retry_at if job.retry else None
            return Move(state, _said("WaitForTargetReady", message), wake=wake)
        if self.view.read(VOLUME, (self.node, target.pool, target.name)) is not None:
            work = self.view.job(self.user) if self.user is not None else IDLE
            if work.failed in LIVE:
                progress = _said("WaitForTargetReady", work.error)
            return Move(state, progress, open_to=target)
        left = tuple(self._erased(target))
        create = CreateVolume(
            *(self.node, target.pool, target.name, self.volume.capacity), format=target.format
        )
        return Move(state, progress, () if job.busy else (*left, create))

    def _is_copied(self, going: Going) -> bool:
        """True if this agent has made a whole copy, and no domain was started since it began."""
        result, target = self.view.job(self.disk.key).result, going.target
        if result.get("copied") != f"{target.pool}/{target.name}":
            return False
        there = self.view.read(VOLUME, (self.node, target.pool, target.name)) is not None
        off = not any(raw.active or raw.unread for raw in self.domains())
        return there and off and result.get("asOf") == self._as_of()

    def _as_of(self) -> str:
        """Changes with each start of a domain that has the disk."""
        return ",".join(sorted(f"{raw.uuid}/{_instance(raw)}" for raw in self.domains()))

    def _erased(self, volume: Stored, *, mark: bool = True) -> Iterator[EraseVolume]:
        names = (volume.name, unfinished(volume.name))
        there = [self.view.read(VOLUME, (self.node, volume.pool, name)) for name in names]
        if any(raw is not None for raw in there):  # what has a mark is not seen
            yield EraseVolume(self.node, volume.pool, volume.name)
        if mark and there[1] is not None:
            yield EraseVolume(self.node, volume.pool, names[1])

    def _held(self, verb: str) -> bool:
        job = self.view.job(self.disk.key)
        return held(job, self.disk.generation, self.view.now) and job.failed == verb

    def _hindrance(self) -> str:
        """Why the disk cannot be copied now, in a sentence; empty if it can."""
        for node, raw in self._found():
            if node != self.node:
                return f"Domain {raw.name} is on node {node}, and the volume on {self.node}."
            if raw.unread:
                return f"Domain {raw.name} does not answer: nobody can tell whether it writes."
            if raw.active:
                return f"The disk moves to its new class once domain {raw.name} is off."
            if raw.managed_save:
                return (
                    f"Domain {raw.name} has a saved state, which goes on from the disk as it is: "
                    "start it, or drop that (`virsh managedsave-remove`)."
                )
            if not lies_on(raw, self.has.name):
                return f"Domain {raw.name} has the disk on another file, as after a snapshot."
        return f"The disk moves to its new class once {self.user} is off." if self.user else ""


def _instance(raw: RawDomain) -> str:
    """The next start's id, which is renewed after each."""
    memory = from_domain(parse(raw.inactive_xml)) if raw.inactive_xml else None
    return memory.instance if memory is not None else version(raw)


def _said(reason: str, message: str) -> Condition:
    return Condition(MIGRATING, "False", reason, message)
