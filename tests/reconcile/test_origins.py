"""Who an object is that nobody knows yet."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

import pytest

from agent.core.acceptance import Identity
from agent.core.facts import Engine
from agent.core.host import RawDomain, RawVolume
from agent.core.identity import POOL, disk_volume, domain_name, domain_uuid, operation_uid
from agent.core.ledger import Record
from agent.core.metadata import DomainMetadata, Power, to_xml
from agent.core.model import Key, Manifest, Object
from agent.core.schema import Catalogue
from agent.reconcile.origins import Origins
from agent.reconcile.outbox import Outbox
from agent.reconcile.trash import Trash
from agent.reconcile.world import DomainRead, VolumeRead, World

FLEET, NODE = "default", "node"
VM, OTHER = Key("VirtualMachine", "lab", "vm"), Key("VirtualMachine", "lab", "other")
DISK = Key("VirtualDisk", "lab", "disk")
STOP = Key("VirtualMachineOperation", "lab", "stop")
ONE, TWO = (str(uuid.UUID(int=number)) for number in (1, 2))
THEN = "1970-01-01T00:00:00Z"


def manifest(key: Key, **spec: str) -> Manifest:
    return Manifest(key, {}, {}, {"spec": spec})


STOPPING = manifest(STOP, virtualMachineName="vm")


def memory(key: Key = VM, fleet: str = FLEET) -> DomainMetadata:
    off = Power(on=False, by="policy", at=1, instance="")
    return DomainMetadata(
        fleet, key.namespace, key.name, f"uid of {key.name}", THEN, 7, "c:f", "next", off
    )


def domain(
    remembered: DomainMetadata | None = None, key: Key = VM, *, active: bool = False, more: str = ""
) -> RawDomain:
    inner = "" if remembered is None else to_xml(remembered)
    xml = f"<domain><metadata>{inner}</metadata>{more}</domain>"
    state = "running" if active else "shutoff"
    shown = ("", xml) if active else (xml, "")
    return RawDomain(domain_uuid(FLEET, key), domain_name(key), state, "unknown", *shown)


def origins(*seen: RawDomain | str, trash: Iterable[str] = ()) -> Origins:
    """With domains, and volumes by name, on a host; and uids in the trash."""
    world = World(Engine({}, {}), FLEET)
    for each in seen:
        if isinstance(each, str):
            volume = RawVolume(POOL, each, f"/{each}", 1, 1)
            world.observe(VolumeRead(NODE, POOL, each, volume))
        else:
            world.observe(DomainRead(1, NODE, each.uuid, each))
    known = Trash(Outbox())
    known.load({uid: Record(Object(manifest(DISK), uid, 1, THEN, ""), {}) for uid in trash})
    return Origins(Catalogue.load(), world, known, FLEET)


def volume(uid: str, fleet: str = FLEET, key: Key = DISK) -> str:
    return disk_volume(fleet, key, uid)


BACK = Record(Object(manifest(DISK), ONE, 3, THEN, ""), {})


def test_the_same_file_is_the_same_operation() -> None:
    expected = Identity(operation_uid(FLEET, STOP, STOPPING.spec))
    assert origins().identity(STOPPING, BACK, {STOP: memory()}, fresh=True) == expected


@pytest.mark.parametrize("key", [DISK, VM])
def test_what_comes_back_from_the_trash_is_what_it_was(key: Key) -> None:
    found = origins(volume(TWO)).identity(manifest(key), BACK, {key: memory()}, fresh=True)
    assert found == Identity(ONE, THEN, 4)


def test_a_domain_knows_whose_it_is() -> None:
    found = origins().identity(manifest(VM), None, {VM: memory()}, fresh=True)
    assert found == Identity("uid of vm", THEN, 7)


def test_a_disk_is_known_by_its_volume() -> None:
    assert origins(volume(ONE)).identity(manifest(DISK), None, {}, fresh=True) == Identity(ONE)


@pytest.mark.parametrize(
    ("key", "seen"), [(DISK, ()), (VM, (volume(ONE, key=VM),)), (DISK, (volume(ONE, "other"),))]
)
def test_what_nobody_knows_is_new(key: Key, seen: tuple[str, ...]) -> None:
    first, second = (origins(*seen).identity(manifest(key), None, {}, fresh=True) for _ in range(2))
    assert first == Identity(first.uid)
    assert str(uuid.UUID(first.uid)) == first.uid
    assert first.uid not in (ONE, second.uid)


# -- volumes that may be a disk's --------------------------------------------------------------


def attached(name: str) -> RawDomain:
    return domain(more=f"<disk><source file='/{name}'/></disk>")


@pytest.mark.parametrize(
    ("seen", "trash", "expected"),
    [
        ((), (), ()),
        ((volume(ONE),), (), (ONE,)),
        ((volume(ONE, "other"),), (), ()),
        ((volume(ONE, key=DISK._replace(name="other")),), (), ()),
        ((volume(ONE),), (ONE,), ()),
        ((volume(ONE), volume(TWO)), (), (ONE, TWO)),
        ((volume(ONE), volume(TWO)), (ONE,), (TWO,)),
        ((volume(ONE), volume(TWO), attached(volume(TWO))), (), (TWO,)),
        ((volume(ONE), volume(TWO), attached(volume(TWO))), (TWO,), (ONE,)),
        ((volume(ONE), attached(volume(TWO))), (), (ONE,)),
    ],
)
def test_volumes_of_its_name_may_be_a_disks(
    seen: tuple[RawDomain | str, ...], trash: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    found = origins(*seen, trash=trash)
    assert found.volumes(DISK) == {uid: volume(uid) for uid in expected}
    assert found.volumes(VM) == {}


# -- what domains remember ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (domain(memory()), {VM: memory()}),
        (domain(memory(), active=True), {VM: memory()}),
        (domain(), {}),
        (domain(more="<title>https://gitvirt.io/xmlns/</title>"), {}),
        (domain(memory(fleet="other")), {}),
        (domain(memory(OTHER)), {}),  # a copy of it
        (domain(memory(VM), OTHER), {}),
    ],
)
def test_our_domains_remember_who_they_are(
    seen: RawDomain, expected: Mapping[Key, DomainMetadata]
) -> None:
    found = origins(seen)
    assert found.unknown({}) == expected
    assert found.memories([manifest(VM)]) == expected
    assert found.memories([]) == {}


def test_only_those_are_asked_that_may_remember_what_is_new() -> None:
    """An operation is remembered by its machine."""
    found = origins(domain(memory()), domain(memory(OTHER), OTHER))
    both = {VM: memory(), OTHER: memory(OTHER)}
    assert found.unknown({}) == both
    assert found.memories([manifest(OTHER)]) == {OTHER: memory(OTHER)}
    assert found.memories([STOPPING]) == {VM: memory()}
    assert found.memories([STOPPING, manifest(OTHER)]) == both
    assert found.memories([manifest(STOP, virtualMachineName="third")]) == {}
    assert found.memories([manifest(DISK)]) == {}


def test_a_domain_that_is_none_of_ours_hides_none() -> None:
    """Whatever order they stand in."""
    foreign = RawDomain(ONE, "foreign", "shutoff", "unknown", "<domain/>")
    copy = RawDomain(TWO, "copy", "shutoff", "unknown", domain(memory()).inactive_xml)
    for seen in ((foreign, copy, domain(memory())), (domain(memory()), copy, foreign)):
        assert origins(*seen).unknown({}) == {VM: memory()}
        assert origins(*seen).memories([manifest(VM)]) == {VM: memory()}


def test_a_machine_is_unknown_by_its_name_and_by_another_uid() -> None:
    found = origins(domain(memory()))
    assert found.unknown({VM: "another"}) == {VM: memory()}
    assert found.unknown({OTHER: memory().uid}) == {VM: memory()}


def test_a_known_machine_is_not_parsed_for_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is parsed once more to be decided about."""
    monkeypatch.delattr("agent.reconcile.origins.parse")
    assert origins(domain(memory())).unknown({VM: memory().uid}) == {}
