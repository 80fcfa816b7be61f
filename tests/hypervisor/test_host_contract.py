"""What every host does, whatever stands behind it."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator

import pytest
from lxml import etree

from agent.core.host import HostError, RawDomain
from agent.core.metadata import NAMESPACE
from agent.core.volumes import volume_xml
from tests.hypervisor.rigs import Rig, domain_xml, metadata_xml, overlay_volume, raw_volume

NOBODY = "00000000-0000-4000-8000-000000000000"
VM = f"metadata/{{{NAMESPACE}}}vm"


def read(rig: Rig, uuid: str) -> RawDomain:
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    return domain


def note(xml: str) -> str | None:
    element = etree.fromstring(xml).find(VM)
    assert element is not None
    return element.get("note")


def vcpus(xml: str) -> str | None:
    return etree.fromstring(xml).findtext("vcpu")


def test_a_new_definition_is_off(rig: Rig) -> None:
    uuid = rig.define("web")
    domain = rig.host.read(frozenset()).domains[uuid]
    assert (domain.name, domain.state, domain.active, domain.active_xml) == (
        "web",
        "shutoff",
        False,
        "",
    )
    assert note(domain.inactive_xml) == "a"
    assert not domain.managed_save


def test_a_start_copies_the_definition_and_its_metadata(rig: Rig) -> None:
    uuid = rig.define(note="first")
    rig.host.start(uuid)
    domain = read(rig, uuid)
    assert (domain.state, domain.active) == ("running", True)
    assert note(domain.active_xml) == "first"


def test_redefining_a_running_domain_changes_its_next_start_only(rig: Rig) -> None:
    uuid = rig.define(vcpus=1, note="old")
    rig.host.start(uuid)
    rig.define(vcpus=2, note="new", uuid=uuid)
    domain = read(rig, uuid)
    assert (vcpus(domain.active_xml), note(domain.active_xml)) == ("1", "old")
    assert (vcpus(domain.inactive_xml), note(domain.inactive_xml)) == ("2", "new")
    rig.host.destroy(uuid)
    rig.host.start(uuid)
    again = read(rig, uuid)
    assert (vcpus(again.active_xml), note(again.active_xml)) == ("2", "new")


def test_live_metadata_leaves_the_definition_alone(rig: Rig) -> None:
    uuid = rig.running()
    rig.host.set_live_metadata(uuid, metadata_xml("live"))
    domain = read(rig, uuid)
    assert (note(domain.active_xml), note(domain.inactive_xml)) == ("live", "a")
    power = etree.fromstring(domain.active_xml).find(f"{VM}/{{{NAMESPACE}}}power")
    assert power is not None
    assert power.get("state") == "on"


def test_live_metadata_replaces_what_was_there(rig: Rig) -> None:
    uuid = rig.running()
    for text in ("one", "two"):
        rig.host.set_live_metadata(uuid, metadata_xml(text))
    assert len(etree.fromstring(read(rig, uuid).active_xml).findall(VM)) == 1


def test_live_metadata_of_a_domain_that_is_off_is_refused(rig: Rig) -> None:
    with pytest.raises(HostError) as raised:
        rig.host.set_live_metadata(rig.define(), metadata_xml("live"))
    assert raised.value.retry
    assert raised.value.reason != "HostUnreachable"


def test_destroying_ends_the_instance(rig: Rig) -> None:
    uuid = rig.running()
    rig.host.destroy(uuid)
    domain = read(rig, uuid)
    assert (domain.state, domain.reason, domain.active_xml) == ("shutoff", "destroyed", "")


def test_starting_twice_is_starting_once(rig: Rig) -> None:
    uuid = rig.running()
    before = read(rig, uuid)
    rig.host.start(uuid)
    assert read(rig, uuid) is before


def test_stopping_what_is_off_is_fine(rig: Rig) -> None:
    uuid = rig.define()
    rig.host.destroy(uuid)
    rig.host.shutdown(uuid)
    assert rig.state(uuid) == "shutoff"


def test_resuming_what_does_not_wait_for_space_changes_nothing(rig: Rig) -> None:
    uuid = rig.running()
    before = read(rig, uuid)
    rig.host.resume(uuid)
    assert read(rig, uuid) is before
    rig.host.destroy(uuid)
    rig.host.resume(uuid)
    assert rig.state(uuid) == "shutoff"
    rig.host.resume(NOBODY)


def test_a_pool_says_how_much_space_is_free_in_it(rig: Rig) -> None:
    rig.host.ensure_pool("gitvirt")
    assert rig.host.free_space("gitvirt") > 0
    assert rig.host.free_space("no-such-pool") == 0


def test_ending_what_does_not_exist_is_fine(rig: Rig) -> None:
    rig.host.destroy(NOBODY)
    rig.host.shutdown(NOBODY)
    rig.host.undefine(NOBODY)
    assert rig.host.guest_info(NOBODY) is None
    assert rig.host.read_domain(NOBODY) is None


def test_starting_what_does_not_exist_is_an_error_that_trying_again_does_not_mend(rig: Rig) -> None:
    with pytest.raises(HostError) as raised:
        rig.host.start(NOBODY)
    assert (raised.value.reason, raised.value.retry) == ("DomainNotFound", False)
    assert NOBODY in str(raised.value)


def test_undefining_removes_the_definition(rig: Rig) -> None:
    uuid = rig.define()
    rig.host.undefine(uuid)
    rig.host.undefine(uuid)
    assert uuid not in rig.host.read(frozenset()).domains


def test_a_running_domain_is_not_undefined(rig: Rig) -> None:
    uuid = rig.running()
    with pytest.raises(HostError) as raised:
        rig.host.undefine(uuid)
    assert raised.value.reason == "DomainRunning"
    domain = read(rig, uuid)
    assert domain.active
    assert domain.inactive_xml


def test_xml_that_is_no_domain_is_refused_for_good(rig: Rig) -> None:
    for xml in ("<domain", "<volume><name>x</name></volume>"):
        with pytest.raises(HostError) as raised:
            rig.host.define(xml)
        assert not raised.value.retry


def test_a_name_belongs_to_one_uuid(rig: Rig) -> None:
    uuid = rig.define("web")
    with pytest.raises(HostError):
        rig.define("web")
    assert list(rig.host.read(frozenset()).domains) == [uuid]


def test_unchanged_readings_are_the_same_instances(rig: Rig) -> None:
    off, on = rig.define("off"), rig.running("on")
    rig.host.ensure_pool("same")
    rig.host.create_volume("same", raw_volume("v"))
    first, second = (rig.host.read(frozenset({"same"})) for _ in range(2))
    for uuid in (off, on):
        assert second.domains[uuid] is first.domains[uuid]
        assert rig.host.read_domain(uuid) is first.domains[uuid]
    assert second.volumes["same", "v"] is first.volumes["same", "v"]
    assert second.node is first.node
    rig.host.delete_volume("same", "v")


def test_a_changed_domain_is_another_instance_and_its_neighbour_is_not(rig: Rig) -> None:
    changed, neighbour = rig.define("changed"), rig.define("neighbour")
    before = rig.host.read(frozenset()).domains
    rig.define("changed", vcpus=3, uuid=changed)
    after = rig.host.read(frozenset()).domains
    assert after[changed] != before[changed]
    assert after[neighbour] is before[neighbour]


def test_every_change_of_power_is_an_event_that_names_the_domain(rig: Rig) -> None:
    uuid = rig.define()
    for verb in (rig.host.start, rig.host.destroy):
        rig.events.clear()
        verb(uuid)
        assert rig.events.wait("lifecycle", uuid).node == rig.host.name


def test_a_definition_is_an_event(rig: Rig) -> None:
    uuid = rig.define()
    rig.events.wait("lifecycle", uuid)


def test_live_metadata_is_an_event(full_rig: Rig) -> None:
    uuid = full_rig.running()
    full_rig.host.set_live_metadata(uuid, metadata_xml("live"))
    full_rig.events.wait("metadata", uuid)


def test_a_destroyed_instance_was_stopped_by_the_host_and_a_start_forgets_it(full_rig: Rig) -> None:
    uuid = full_rig.running()
    full_rig.host.destroy(uuid)
    full_rig.events.until(lambda: read(full_rig, uuid).stopped_by == "host")
    full_rig.host.start(uuid)
    full_rig.events.until(lambda: read(full_rig, uuid).stopped_by == "")


def test_a_host_without_that_pool_has_no_volumes_of_it(rig: Rig) -> None:
    reading = rig.host.read(frozenset({"missing"}))
    assert (dict(reading.volumes), dict(reading.pools)) == ({}, {})
    assert dict(rig.host.read_volumes("missing")) == {}


def test_a_pool_is_made_once(rig: Rig) -> None:
    path = rig.host.ensure_pool("gitvirt")
    assert path.endswith("/gitvirt")
    assert rig.host.ensure_pool("gitvirt") == path
    assert rig.host.read(frozenset({"gitvirt"})).pools == {"gitvirt": path}


def test_a_volume_is_created_once_and_deleted_once(rig: Rig) -> None:
    path = rig.host.ensure_pool("gitvirt")
    made = [rig.host.create_volume("gitvirt", raw_volume("data")) for _ in range(2)]
    volume = rig.host.read_volumes("gitvirt")["gitvirt", "data"]
    assert [each is volume for each in made] == [True, True]
    assert (volume.path, volume.capacity) == (f"{path}/data", 0)
    for _ in range(2):
        rig.host.delete_volume("gitvirt", "data")
    assert dict(rig.host.read_volumes("gitvirt")) == {}


def test_an_overlay_names_what_it_stands_on(full_rig: Rig) -> None:
    host = full_rig.host
    path = host.ensure_pool("gitvirt")
    host.create_volume(
        "gitvirt",
        overlay_volume("base", "").replace(
            '<backingStore><path></path><format type="qcow2"/></backingStore>', ""
        ),
    )
    host.create_volume("gitvirt", overlay_volume("top", f"{path}/base"))
    volumes = host.read_volumes("gitvirt")
    assert volumes["gitvirt", "top"].backing_path == f"{path}/base"
    assert volumes["gitvirt", "base"].backing_path == ""
    bases = host.read_bases()
    assert (bases[f"{path}/top"], bases[f"{path}/base"]) == (f"{path}/base", "")
    for name in ("top", "base"):
        host.delete_volume("gitvirt", name)


def test_the_mark_of_a_volume_grows(full_rig: Rig) -> None:
    """So that it says more than that it is there."""
    host = full_rig.host
    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", volume_xml("m.unfinished", "raw", 512))
    assert host.read_volumes("gitvirt")["gitvirt", "m.unfinished"].capacity == 512
    host.resize_volume("gitvirt", "m.unfinished", 1024)
    assert host.read_volumes("gitvirt")["gitvirt", "m.unfinished"].capacity == 1024
    host.delete_volume("gitvirt", "m.unfinished")


def test_resizing_grows_and_never_shrinks(full_rig: Rig) -> None:
    host = full_rig.host
    host.ensure_pool("gitvirt")
    host.create_volume(
        "gitvirt",
        overlay_volume("d", "").replace(
            '<backingStore><path></path><format type="qcow2"/></backingStore>', ""
        ),
    )
    sizes = []
    for capacity in (1 << 25, 1 << 20):
        resized = host.resize_volume("gitvirt", "d", capacity)
        assert resized is host.read_volumes("gitvirt")["gitvirt", "d"]
        sizes.append(resized.capacity)
    assert sizes == [1 << 25, 1 << 25]
    host.delete_volume("gitvirt", "d")


def test_what_is_uploaded_is_in_the_volume(full_rig: Rig) -> None:
    host = full_rig.host
    content = bytes(range(256)) * 5000
    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", raw_volume("u"))
    chunks = iter([content[:700_000], b"", content[700_000:]])
    volume = host.upload_volume("gitvirt", "u", chunks, len(content))
    assert volume.physical == volume.capacity == len(content)
    assert host.read_volumes("gitvirt")["gitvirt", "u"] is volume
    assert full_rig.content("gitvirt", "u") == content
    pieces: list[bytes] = []
    assert host.read_volume("gitvirt", "u", pieces.append) is volume
    assert b"".join(pieces) == content
    host.delete_volume("gitvirt", "u")


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("ending", "expected"), [(None, HostError), (OSError("disk"), OSError), (Killed(), Killed)]
)
def test_an_upload_that_ends_early_is_seen_by_its_size(
    full_rig: Rig, ending: BaseException | None, expected: type[BaseException]
) -> None:
    host = full_rig.host

    def chunks() -> Iterator[bytes]:
        yield b"x" * 1000
        if ending is not None:
            raise ending

    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", raw_volume("u"))
    with pytest.raises(expected):
        host.upload_volume("gitvirt", "u", chunks(), 5000)
    assert host.read_volumes("gitvirt")["gitvirt", "u"].physical < 5000
    host.upload_volume("gitvirt", "u", iter([b"y" * 5000]), 5000)
    assert host.read_volumes("gitvirt")["gitvirt", "u"].physical == 5000
    host.delete_volume("gitvirt", "u")


def test_an_upload_goes_on_behind_what_is_there(full_rig: Rig) -> None:
    host = full_rig.host
    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", volume_xml("u", "raw", 0))
    content = bytes(range(256)) * 2000

    there = host.upload_volume("gitvirt", "u", iter([content[:1000]]), 1000).physical
    assert there == 1000
    volume = host.upload_volume("gitvirt", "u", iter([content[there:]]), len(content), there)
    assert volume.physical == len(content)
    assert full_rig.content("gitvirt", "u") == content
    with pytest.raises(HostError) as raised:
        host.upload_volume("gitvirt", "u", iter([b"12"]), len(content) + 1, len(content))
    assert raised.value.reason == "UploadTooLong"
    host.delete_volume("gitvirt", "u")


def test_an_upload_longer_than_announced_is_refused(full_rig: Rig) -> None:
    host = full_rig.host
    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", raw_volume("u"))
    with pytest.raises(HostError) as raised:
        host.upload_volume("gitvirt", "u", iter([b"12345"]), 3)
    assert raised.value.reason == "UploadTooLong"
    host.delete_volume("gitvirt", "u")


def test_volumes_that_are_not_there_are_named(full_rig: Rig) -> None:
    host = full_rig.host
    host.ensure_pool("gitvirt")
    with pytest.raises(HostError) as raised:
        host.resize_volume("gitvirt", "nothing", 10)
    assert (raised.value.reason, raised.value.retry) == ("VolumeNotFound", False)
    with pytest.raises(HostError) as raised:
        host.create_volume("nowhere", raw_volume("u"))
    assert (raised.value.reason, raised.value.retry) == ("PoolNotFound", False)


def test_a_copy_is_flat_and_as_large_as_it_was_asked_for(full_rig: Rig) -> None:
    host = full_rig.host
    path = host.ensure_pool("gitvirt")
    content = bytes(range(256)) * 4096
    host.create_volume("gitvirt", raw_volume("below"))
    host.upload_volume("gitvirt", "below", iter([content]), len(content))
    top = volume_xml("top", "qcow2", 1 << 21, f"{path}/below", "raw")
    host.create_volume("gitvirt", top)
    with pytest.raises(HostError) as raised:
        host.copy_volume("gitvirt", volume_xml("copy", "raw", 1), "gitvirt", "top", "raw")
    assert (raised.value.reason, raised.value.retry) == ("UnsafeVolume", False)
    wanted = volume_xml("copy", "raw", 1 << 22)
    copy = host.copy_volume("gitvirt", wanted, "gitvirt", "top", "qcow2")
    assert (copy.capacity, copy.backing_path) == (1 << 22, "")
    assert host.read_volumes("gitvirt")["gitvirt", "copy"] is copy
    assert full_rig.content("gitvirt", "copy").rstrip(b"\0") == content.rstrip(b"\0")
    layered = volume_xml("layered", "qcow2", 1 << 22)
    copy = host.copy_volume("gitvirt", layered, "gitvirt", "top", "qcow2")
    assert (copy.capacity, copy.backing_path) == (1 << 22, "")
    for _ in range(2):
        with pytest.raises(HostError):  # what is there is never written over
            host.copy_volume("gitvirt", layered, "gitvirt", "below", "raw")
    for name in ("copy", "layered", "top", "below"):
        host.delete_volume("gitvirt", name)
    with pytest.raises(HostError) as raised:
        host.copy_volume("gitvirt", wanted, "gitvirt", "top", "qcow2")
    assert raised.value.reason == "VolumeNotFound"
    assert dict(host.read_volumes("gitvirt")) == {}


def test_a_guest_without_an_agent_says_nothing(full_rig: Rig) -> None:
    assert full_rig.host.guest_info(full_rig.running()) is None


def test_domains_of_others_are_read_like_ours(rig: Rig) -> None:
    uuid = str(uuids.uuid4())
    foreign = etree.fromstring(domain_xml("theirs", uuid, rig.domain_type))
    foreign.remove(foreign.find("metadata"))  # type: ignore[arg-type]
    rig.host.define(etree.tostring(foreign, encoding="unicode"))
    before = read(rig, uuid)
    rig.running("ours")
    assert rig.host.read(frozenset()).domains[uuid] is before


def test_each_write_to_a_volume_is_seen(full_rig: Rig) -> None:
    host = full_rig.host
    host.ensure_pool("gitvirt")
    host.create_volume("gitvirt", raw_volume("written"))
    host.upload_volume("gitvirt", "written", iter([b"some"]), 4)
    before = host.changed("gitvirt", "written")
    assert host.changed("gitvirt", "written") == before
    host.upload_volume("gitvirt", "written", iter([b"else"]), 4)
    assert host.changed("gitvirt", "written") != before


def test_a_domain_that_nobody_has_taken_a_snapshot_of_has_none(full_rig: Rig) -> None:
    uuid = full_rig.define()
    assert full_rig.host.snapshots(uuid) == 0
    assert full_rig.host.snapshots(NOBODY) == 0
