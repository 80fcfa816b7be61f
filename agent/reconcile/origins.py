"""Who an object that nobody knows yet is: what was known of it may be in the trash, in a domain's
metadata, or in the name of a volume.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from agent.core.acceptance import Identity
from agent.core.domain_xml import parse
from agent.core.host import RawDomain
from agent.core.identity import (
    disk_prefix,
    disk_uid,
    domain_uuid,
    is_uid_of,
    known_data,
    known_prefix,
    named_uid,
    operation_uid,
    taken_with,
)
from agent.core.ledger import Record
from agent.core.metadata import NAMESPACE, DomainMetadata, from_domain
from agent.core.model import Key, Manifest
from agent.core.references import references
from agent.core.schema import Catalogue
from agent.core.volumes import users_of
from agent.kinds.registry import lies
from agent.reconcile.trash import Trash
from agent.reconcile.world import World

UNREAD = (
    "it is new here, and may be on {}, out of reach since the agent started: it is accepted once "
    "that can be read, or is not among the nodes of the settings any more"
)
MUTE = (
    "it is new here, and there is a domain of its machine's that does not answer, so that nobody "
    "can tell what it is: it is accepted once that can be read"
)


class Origins:
    """Looks at the hosts and at the trash; changes nothing."""

    def __init__(self, catalogue: Catalogue, world: World, trash: Trash, fleet: str) -> None:
        self._catalogue = catalogue
        self._world, self._trash, self._fleet = world, trash, fleet

    def identity(
        self,
        manifest: Manifest,
        back: Record | None,
        memories: Mapping[Key, DomainMetadata],
        *,
        fresh: bool,
    ) -> Identity:
        """An object's uid: what is known from the trash, a domain or a volume's name, else a new
        one. With a `fresh` ledger also what image data is marked with; else such a mark is that of
        an object that is gone.
        """
        key = manifest.key
        if self._catalogue.kinds[key.kind].request:
            return Identity(operation_uid(self._fleet, key, manifest.spec))
        if back is not None:
            return Identity(back.obj.uid, back.obj.created, back.obj.generation + 1)
        if (memory := memories.get(key)) is not None:
            return Identity(memory.uid, memory.created, memory.generation)
        if fresh and (uid := self._marked(key) or self._parted(key)):
            return Identity(uid)
        if self._catalogue.kinds[key.kind].keeps_data:
            uid = next(iter(self.volumes(key)), "") or named_uid(key, uuid.uuid4().hex)
            return Identity(uid)
        return Identity(str(uuid.uuid4()))

    def _parted(self, key: Key) -> str:
        """The uid that snapshots of disks have in their names which were taken with the machine's
        of that name; empty if there is not just one.
        """
        uids = {taken_with(name) for _, name in self._world.snapshots} - {""}
        found = {uid for uid in uids if is_uid_of(uid, key)} - self._trash.entries.keys()
        return found.pop() if len(found) == 1 else ""

    def _marked(self, key: Key) -> str:
        """The uid that image data of a host is marked with; empty if there is not just one."""
        prefix = known_prefix(self._fleet, key)
        names = (name for _, name in self._world.known if name.startswith(prefix))
        uids = {said.uid for name in names if (said := known_data(self._fleet, name)) is not None}
        return uids.pop() if len(uids) == 1 else ""

    def too_early(self, manifest: Manifest, unread: Sequence[str], *, fresh: bool) -> str:
        """Why an object that the ledger does not know cannot be called a new one as long as some
        nodes, or its domain, have not been read, in a sentence; empty if it can. With a `fresh`
        ledger nobody knows which operations are done, either.
        """
        kind = self._catalogue.kinds[manifest.key.kind]
        # of these a host may know an object that the ledger does not
        remembered = kind.keeps_data or kind is self._catalogue.machine or (kind.request and fresh)
        if not remembered or self._trash.restorable(manifest.key):
            return ""
        if unread:
            return UNREAD.format(", ".join(unread))
        uuid = domain_uuid(self._fleet, self.machine(manifest))
        return MUTE if any(domain == uuid for _, domain in self._world.mute) else ""

    def volumes(self, key: Key) -> Mapping[str, str]:
        """Volumes that may be a new disk's, by uid: those of its name that the trash does not know.
        Of several, which a lost ledger leaves, the one that a domain refers to.
        """
        if not self._catalogue.kinds[key.kind].keeps_data:
            return {}
        prefix = disk_prefix(self._fleet, key)
        named = self._world.named.get(prefix, ())
        left = {name for each in self._trash.of(key) for _, name in lies(self._fleet, each)}
        volumes = {disk_uid(name): name for name in {*named} - left}
        volumes = {uid: name for uid, name in volumes.items() if uid not in self._trash.entries}
        if len(volumes) < 2:  # pragma: no mutate: it is only quicker
            return volumes
        domains = list(self._world.all_domains())
        return {u: name for u, name in volumes.items() if users_of(name, domains, ())} or volumes

    def unknown(self, uids: Mapping[Key, str]) -> dict[Key, DomainMetadata]:
        """What our domains remember, by VM, unless they bear the uid by which the VM is known.
        Found without parsing: most are known, and each is parsed once more to be decided about.
        """
        marks = {domain_uuid(self._fleet, key): f' uid="{uid}"' for key, uid in uids.items()}
        domains = self._world.all_domains()
        return self._remembered(
            raw for raw in domains if raw.uuid not in marks or marks[raw.uuid] not in _newest(raw)
        )

    def memories(self, of: Iterable[Manifest]) -> dict[Key, DomainMetadata]:
        """What our domains remember, by VM, where these manifests are new: the ledger may have been
        lost.
        """
        uuids = {domain_uuid(self._fleet, self.machine(manifest)) for manifest in of}
        if not uuids:
            return {}
        return self._remembered(raw for raw in self._world.all_domains() if raw.uuid in uuids)

    def machine(self, manifest: Manifest) -> Key:
        """The machine whose domain may remember an object: of a request the one it is for."""
        if not self._catalogue.kinds[manifest.key.kind].request:
            return manifest.key
        return next(target for _, target in references(self._catalogue, manifest))

    def _remembered(self, domains: Iterable[RawDomain]) -> dict[Key, DomainMetadata]:
        memories: dict[Key, DomainMetadata] = {}
        for raw in domains:
            xml = _newest(raw)
            memory = from_domain(parse(xml)) if NAMESPACE in xml else None
            if memory is None or memory.fleet != self._fleet:
                continue
            key = Key(self._catalogue.machine.name, memory.namespace, memory.name)
            if raw.uuid == domain_uuid(self._fleet, key):  # and no copy of it
                memories.setdefault(key, memory)  # what is on several nodes is left alone anyway
        return memories


def _newest(raw: RawDomain) -> str:
    """The definition that has what was written last."""
    return raw.inactive_xml or raw.active_xml
