"""Volume groups as libvirt's own driver for tests has them: nothing here needs LVM."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest
from lxml import etree

from agent.core.model import Json
from agent.core.volumes import volume_xml
from agent.hypervisor.storage import VolumeReader, create_volume, for_pool

GROUP = (
    "<pool type='{0}'><name>{1}</name><source><name>vg0</name></source>"
    "<target><path>/dev/{1}</path></target></pool>"
)


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    connection = libvirt.open("test:///default")
    pools = [connection.storagePoolDefineXML(GROUP.format(*each)) for each in POOLS]
    for pool in pools:
        pool.create()
    yield connection
    for pool in pools:
        for volume in pool.listAllVolumes():
            volume.delete()
        pool.destroy()
        pool.undefine()
    connection.close()


POOLS = (("logical", "of-lvm"), ("dir", "of-files"))


def test_a_pool_is_read_with_its_type(connection: libvirt.virConnect) -> None:
    found = [VolumeReader().read(connection, name) for _, name in POOLS]
    assert [each[:2] for each in found if each] == [
        ("/dev/vg0", "logical"),  # whatever its definition said
        ("/dev/of-files", "dir"),
    ]
    assert VolumeReader().read(connection, "missing") is None


@pytest.mark.parametrize(("name", "allocation"), [("of-lvm", 1 << 20), ("of-files", 0)])
def test_a_logical_volume_has_all_of_its_space_from_the_beginning(
    connection: libvirt.virConnect, name: str, allocation: int
) -> None:
    pool = connection.storagePoolLookupByName(name)
    xml = volume_xml("disk.raw", "raw", 1 << 20)
    said = etree.fromstring(for_pool(pool, xml))
    assert (said.findtext("allocation"), said.findtext("capacity")) == (
        str(allocation),
        str(1 << 20),
    )
    volume = create_volume(connection, name, xml)
    info: Json = volume.info()
    assert info[1:] == [1 << 20, allocation]
