"""Carrying actions out, one object's sequence by one worker. Nothing here decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from pathlib import Path

from agent.core.actions import (
    Action,
    CreateVolume,
    DefineDomain,
    DefinitionAction,
    DeleteVolume,
    DestroyDomain,
    DomainAction,
    EraseVolume,
    ImportImage,
    ResizeVolume,
    ResumeDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    UndefineDomain,
    WriteSeed,
)
from agent.core.host import Host, HostError, RawDomain, RawVolume, Reading, version
from agent.core.metadata import from_domain
from agent.core.model import Json, Key
from agent.core.volumes import mentions, untold, users_of, volume_xml
from agent.images.errors import CancelledError, ImageError
from agent.images.pipeline import HttpSource, Reach, fetch
from agent.images.seed import nocloud, sysprep
from agent.kinds.virtual_machine.definition import parse
from agent.reconcile.news import INTERNAL, ProgressNews
from agent.reconcile.world import DomainRead, Observation, VolumeRead

STARTS_AT_ONCE = 4
_UNTOLD = (
    "Its volume is kept: nobody can tell whether a disk of {} is based on it. Start the domain, or "
    "put the disk into a directory that is an active storage pool."
)
CHUNK = 1024 * 1024


@dataclass
class Outcome:
    """How one object's sequence ended, and what was seen on the way."""

    key: Key
    generation: int
    done: list[str] = field(default_factory=list)
    failed: str = ""
    reason: str = ""
    message: str = ""
    retry: bool = True
    result: Mapping[str, Json] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    called_off: threading.Event = field(default_factory=threading.Event)
    """Set, at any time, once a download that is part of it is not wanted any more."""
    outdated: bool = False
    """True if what failed was left alone: the host is another one than it was decided on."""


class _OutdatedError(HostError):
    """What an action relies on does not hold any more."""


@dataclass(frozen=True)
class Ticket:
    """One object's sequence on its way to a worker."""

    key: Key
    generation: int
    actions: tuple[Action, ...]
    called_off: threading.Event = field(default_factory=threading.Event)
    """As in Outcome."""

    def failed(self, message: str) -> Outcome:
        """How it ended where it should never have."""
        verb = self.actions[0].verb
        return Outcome(self.key, self.generation, failed=verb, reason=INTERNAL, message=message)


class Executor:
    """Knows how to carry out every action. Safe to call from several threads."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        spool: Path,
        image_limit: int,
        number: Callable[[], int],
        progress: Callable[[ProgressNews], None],
        stopping: Callable[[], bool],
        may_act: Callable[[], bool],
        reach: Reach,
    ) -> None:
        self._hosts = hosts
        self._spool = spool
        self._image_limit, self._reach = image_limit, reach
        self._number = number
        self._progress = progress
        self._stopping = stopping
        self._may_act = may_act
        self._starts = {name: threading.Semaphore(STARTS_AT_ONCE) for name in hosts}
        self._pools = {name: threading.Lock() for name in hosts}
        self._imports: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def run(self, ticket: Ticket) -> Outcome:
        """Carry out a sequence until one action fails, then look at what was touched."""
        outcome = Outcome(ticket.key, ticket.generation, called_off=ticket.called_off)
        try:
            for action in ticket.actions:
                outcome.failed = action.verb
                self._check(outcome)
                self._do(action, outcome)
                outcome.done.append(action.verb)
                outcome.failed = ""
        except (HostError, ImageError) as error:
            outcome.reason, outcome.message = error.reason, str(error)
            outcome.retry = error.retry or not isinstance(error, ImageError)
            outcome.outdated = isinstance(error, _OutdatedError)
        self._look(ticket, outcome)
        return outcome

    def _check(self, outcome: Outcome) -> None:
        """Nothing is begun once the agent ends, once another one may act in its place, or once
        nobody wants it.
        """
        if self._stopping():
            raise HostError("Stopping", "the agent is ending")
        if not self._may_act():
            raise HostError("LeaseLost", "another agent may act by now: waiting for the lease")
        if outcome.called_off.is_set():
            raise CancelledError

    def _look(self, ticket: Ticket, outcome: Outcome) -> None:
        """Read every domain that was touched."""
        domains = {
            (each.node, each.uuid) for each in ticket.actions if isinstance(each, DomainAction)
        }
        for node, uuid in sorted(domains):
            number = self._number()
            try:
                raw = self._hosts[node].read_domain(uuid)
            except HostError:
                continue  # the next full read sees it
            outcome.seen.append(DomainRead(number, node, uuid, raw))

    @singledispatchmethod
    def _do(self, action: Action, outcome: Outcome) -> None:
        raise NotImplementedError(action.verb)

    @_do.register
    def _(self, action: CreateVolume, outcome: Outcome) -> None:
        xml = volume_xml(
            action.name, "qcow2", action.capacity, action.backing_path, action.backing_format
        )
        with self._pools[action.node]:
            volume = self._hosts[action.node].create_volume(action.pool, xml)
        _saw(outcome, action.node, volume)

    @_do.register
    def _(self, action: ResizeVolume, outcome: Outcome) -> None:
        with self._pools[action.node]:
            volume = self._hosts[action.node].resize_volume(
                action.pool, action.name, action.capacity
            )
        _saw(outcome, action.node, volume)

    @_do.register
    def _(self, action: DeleteVolume, outcome: Outcome) -> None:
        host = self._hosts[action.node]
        raw = host.read_domain(action.unless_in)
        if raw is not None and mentions(raw, action.name):
            raise _OutdatedError(
                "VolumeInUse", f"volume {action.name} is kept: domain {raw.name} refers to it"
            )
        with self._pools[action.node]:
            host.read_volumes(action.pool)  # a log file is no volume until the pool is refreshed
            host.delete_volume(action.pool, action.name)
        outcome.seen.append(VolumeRead(action.node, action.pool, action.name, None))

    @_do.register
    def _(self, action: EraseVolume, outcome: Outcome) -> None:
        host = self._hosts[action.node]
        with self._pools[action.node]:  # no overlay of it can be made meanwhile
            _erasable(host, action.pool, action.name)
            host.delete_volume(action.pool, action.name)
        outcome.seen.append(VolumeRead(action.node, action.pool, action.name, None))

    @_do.register
    def _(self, action: WriteSeed, outcome: Outcome) -> None:
        if action.sysprep:
            data = sysprep(action.files)
        else:
            meta = {"instance-id": action.instance_id, "local-hostname": action.hostname}
            data = nocloud(meta, action.files["user-data"])
        self._store(action.node, action.pool, action.name, iter([data]), len(data), outcome)

    @_do.register
    def _(self, action: DefineDomain, outcome: Outcome) -> None:
        self._as_decided(action)
        self._hosts[action.node].define(action.xml)

    @_do.register
    def _(self, action: UndefineDomain, outcome: Outcome) -> None:
        self._as_decided(action)
        self._hosts[action.node].undefine(action.uuid)

    @_do.register
    def _(self, action: StartDomain, outcome: Outcome) -> None:
        for uuid, known in action.beside:
            number = self._number()
            raw = self._hosts[action.node].read_domain(uuid)
            if version(raw) != known:
                outcome.seen.append(DomainRead(number, action.node, uuid, raw))
                raise _changed("a domain that has a disk of its own")
        with self._starts[action.node]:
            self._hosts[action.node].start(action.uuid, reset_nvram=action.reset_nvram)

    @_do.register
    def _(self, action: ShutdownDomain, outcome: Outcome) -> None:
        if self._runs(action.node, action.uuid, action.if_instance):
            self._hosts[action.node].shutdown(action.uuid)

    @_do.register
    def _(self, action: DestroyDomain, outcome: Outcome) -> None:
        if self._runs(action.node, action.uuid, action.if_instance):
            self._hosts[action.node].destroy(action.uuid)

    @_do.register
    def _(self, action: ResumeDomain, outcome: Outcome) -> None:
        if self._runs(action.node, action.uuid, action.if_instance):
            self._hosts[action.node].resume(action.uuid)

    @_do.register
    def _(self, action: SetLiveMetadata, outcome: Outcome) -> None:
        if self._runs(action.node, action.uuid, action.if_instance):
            self._hosts[action.node].set_live_metadata(action.uuid, action.xml)

    def _as_decided(self, action: DefinitionAction) -> None:
        """Fails if somebody changed the domain since the action was decided: a snapshot taken by
        hand puts its disks on other files, and no event tells of it.
        """
        raw: RawDomain | None = self._hosts[action.node].read_domain(action.uuid)
        if version(raw) != action.over:
            raise _changed("the domain")

    def _runs(self, node: str, uuid: str, instance: str) -> bool:
        """True if just that instance runs: between decision and deed somebody may have started
        another one.
        """
        raw = self._hosts[node].read_domain(uuid)
        if raw is None or not raw.active:
            return False
        metadata = from_domain(parse(raw.active_xml))
        return (metadata.instance if metadata else "") == instance

    @_do.register
    def _(self, action: ImportImage, outcome: Outcome) -> None:
        source = HttpSource(action.url, action.checksums, action.ca_bundle)

        told = _Told(outcome.key, self._progress)
        prepared = fetch(
            source,
            self._spool,
            told.progress,
            lambda: self._stopping() or outcome.called_off.is_set(),
            self._image_limit,
            reach=self._reach,
            trouble=told.trouble,
        )
        try:
            self._check(outcome)
            name = f"{action.volume_prefix}{prepared.digest}.{prepared.format}"
            with self._import_lock(action.node + name):
                _replaceable(self._hosts[action.node], action.pool, name, prepared.stored_size)
                self._store(
                    action.node,
                    action.pool,
                    name,
                    _chunks(prepared.path),
                    prepared.stored_size,
                    outcome,
                )
        finally:
            prepared.path.unlink(missing_ok=True)
        outcome.result = {
            "digest": prepared.digest,
            "format": prepared.format,
            "storedBytes": prepared.stored_size,
            "unpackedBytes": prepared.virtual_size,
            "source": action.source,
        }

    def _import_lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._imports.setdefault(name, threading.Lock())

    def _store(
        self,
        node: str,
        pool: str,
        name: str,
        chunks: Iterator[bytes],
        size: int,
        outcome: Outcome,
    ) -> None:
        """Have a volume with just this content. One that is there whole is left alone; a part of
        one is made anew.
        """
        host = self._hosts[node]
        known = host.read_volumes(pool).get((pool, name))
        if known is None or known.physical != size:
            if known is not None:
                host.delete_volume(pool, name)
            # made empty, so that the file's size tells how much of it has arrived
            host.create_volume(pool, volume_xml(name, "raw", 0))
            known = host.upload_volume(pool, name, chunks, size)
        _saw(outcome, node, known)


def _changed(what: str) -> _OutdatedError:
    return _OutdatedError("DomainChanged", f"{what} was changed meanwhile: deciding anew")


class _Told:
    """Tells of a download what is news."""

    def __init__(self, key: Key, tell: Callable[[ProgressNews], None]) -> None:
        self._last, self._tell = ProgressNews(key, 0), tell

    def progress(self, done: int, total: int | None) -> None:
        self._news(replace(self._last, percent=done * 10 // total * 10 if total else 0, trouble=""))

    def trouble(self, what: str) -> None:
        self._news(replace(self._last, trouble=what))

    def _news(self, news: ProgressNews) -> None:
        if news != self._last:
            self._last = news
            self._tell(news)


def _replaceable(host: Host, pool: str, name: str, size: int) -> None:
    """Fails if a volume of that name with other content is in use."""
    seen = host.read(frozenset({pool}))
    known = seen.volumes.get((pool, name))
    if known is not None and known.physical != size:
        _unused(name, seen)


def _erasable(host: Host, pool: str, name: str) -> None:
    """Fails if anything on the host refers to a volume, or may do so."""
    seen = host.read(frozenset({pool}))
    _unused(name, seen)
    unclear = untold(seen.domains.values(), host.read_bases())
    if unclear:
        raise HostError("VolumeInUse", _UNTOLD.format(", ".join(unclear)))


def _unused(name: str, seen: Reading) -> None:
    users = users_of(name, seen.domains.values(), seen.volumes.values())
    if users:
        message = f"Its volume is kept: {', '.join(users)} refers to it."
        raise HostError("VolumeInUse", message)


def _saw(outcome: Outcome, node: str, volume: RawVolume) -> None:
    outcome.seen.append(VolumeRead(node, volume.pool, volume.name, volume))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
