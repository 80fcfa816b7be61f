"""A disk goes to another volume while its domain runs."""

from __future__ import annotations

import uuid as uuids

import pytest

from agent.core.domain_xml import copies, parse
from agent.core.host import HostError, RawDomain
from agent.core.volumes import volume_xml
from tests.hypervisor.rigs import Rig, disk_xml, domain_xml

SERIAL = "0123456789abcdef0123456789abcdef"
SIZE = 1 << 20
POOL = "moves"


def read(rig: Rig, uuid: str) -> RawDomain:
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    return domain


def sources(raw: RawDomain) -> list[str | None]:
    found = [
        parse(xml).find("devices/disk/source") for xml in (raw.active_xml, raw.inactive_xml) if xml
    ]
    return [source.get("file") for source in found if source is not None]


@pytest.fixture
def moving(full_rig: Rig) -> tuple[Rig, str, list[str]]:
    """A domain that runs, and the paths of its disk and of an empty volume."""
    host = full_rig.host
    host.ensure_pool(POOL)
    for name in ("one.qcow2", "two.qcow2"):
        host.delete_volume(POOL, name)
    paths = [
        host.create_volume(POOL, volume_xml(name, "qcow2", SIZE)).path
        for name in ("one.qcow2", "two.qcow2")
    ]
    uuid = str(uuids.uuid4())
    host.define(domain_xml("web", uuid, devices=disk_xml(paths[0], SERIAL)))
    host.start(uuid)
    return full_rig, uuid, paths


def complete(rig: Rig, uuid: str, path: str) -> None:
    def done() -> bool:
        found = copies(parse(read(rig, uuid).active_xml)).get(SERIAL)
        return found is not None and found.complete and found.path == path

    rig.events.until(done)


def test_a_copy_that_is_complete_takes_the_place_of_the_disk(
    moving: tuple[Rig, str, list[str]],
) -> None:
    rig, uuid, (one, two) = moving
    rig.host.copy_disk(uuid, SERIAL, disk_xml(two, SERIAL))
    complete(rig, uuid, two)
    assert sources(read(rig, uuid)) == [one, one]
    rig.host.end_disk_copy(uuid, SERIAL, pivot=True)
    assert sources(read(rig, uuid)) == [two, two]
    assert copies(parse(read(rig, uuid).active_xml)) == {}
    rig.host.end_disk_copy(uuid, SERIAL, pivot=True)  # there is none any more


def test_a_copy_that_is_given_up_leaves_the_disk_where_it_is(
    moving: tuple[Rig, str, list[str]],
) -> None:
    rig, uuid, (one, two) = moving
    rig.host.copy_disk(uuid, SERIAL, disk_xml(two, SERIAL))
    with pytest.raises(HostError):
        rig.host.copy_disk(uuid, SERIAL, disk_xml(two, SERIAL))
    rig.host.end_disk_copy(uuid, SERIAL, pivot=False)
    assert sources(read(rig, uuid)) == [one, one]
    assert copies(parse(read(rig, uuid).active_xml)) == {}


def test_a_copy_ends_with_the_instance(moving: tuple[Rig, str, list[str]]) -> None:
    rig, uuid, (one, two) = moving
    rig.host.copy_disk(uuid, SERIAL, disk_xml(two, SERIAL))
    rig.host.destroy(uuid)
    assert sources(read(rig, uuid)) == [one]
    rig.host.end_disk_copy(uuid, SERIAL, pivot=False)
    rig.host.start(uuid)
    assert sources(read(rig, uuid)) == [one, one]
    assert copies(parse(read(rig, uuid).active_xml)) == {}
