"""What real QEMU and a real libvirtd do when things go wrong."""

from __future__ import annotations

import os
import signal
import socket
import uuid as uuids
from collections.abc import Iterator

import libvirt
import pytest

from agent.core.host import HostError
from agent.hypervisor import reading
from agent.hypervisor.deadlines import Deadlines
from agent.hypervisor.host import LibvirtHost
from tests.hosts import PATIENCE, Events, Session, end_process, remove_domains
from tests.hypervisor.rigs import Rig, domain_xml, metadata_xml

IMPATIENT = Deadlines(quick=2.0, guest=2.0)


@pytest.fixture
def rig(session_host: LibvirtHost) -> Rig:
    return Rig(session_host)


@pytest.fixture
def impatient(session: Session) -> Iterator[LibvirtHost]:
    host = session.open(IMPATIENT)
    try:
        yield host
    finally:
        remove_domains(host)
        host.close()


@pytest.fixture
def virsh(session: Session, session_host: LibvirtHost) -> Iterator[libvirt.virConnect]:
    """Somebody else's connection to the same host."""
    connection = libvirt.open("qemu:///session")
    try:
        yield connection
    finally:
        connection.close()


def test_the_host_says_what_it_can_do(session_host: LibvirtHost) -> None:
    node = session_host.read(frozenset()).node
    assert node.name == session_host.name != ""
    assert node.session
    assert not node.cpu_tuning
    assert node.uri == "qemu:///session"
    assert node.machine.startswith("pc-q35-")
    assert "custom" in node.cpu_modes
    assert "qemu64" in node.cpu_models
    assert node.legacy_machine.startswith("pc-i440fx-")
    assert "sse2" in node.cpu_features
    assert "invtsc" not in node.cpu_features
    assert os.access(node.emulator, os.X_OK)
    assert node.cpus == os.cpu_count()
    assert node.memory > 1 << 28
    assert node.qemu_version.count(".") == node.libvirt_version.count(".") == 2


def test_a_pool_stands_in_the_users_data_home(session: Session, session_host: LibvirtHost) -> None:
    assert session_host.ensure_pool("gitvirt") == str(session.data_home / "libvirt" / "gitvirt")


def test_a_pool_stands_beside_the_default_one(
    session: Session, virsh: libvirt.virConnect, session_host: LibvirtHost
) -> None:
    elsewhere = session.root / "elsewhere"
    default = virsh.storagePoolDefineXML(
        f"<pool type='dir'><name>default</name><target><path>{elsewhere}/images</path></target></pool>"
    )
    try:
        assert session_host.ensure_pool("beside") == str(elsewhere / "beside")
        assert virsh.storagePoolLookupByName("beside").autostart() == 1
    finally:
        default.undefine()


def test_a_pool_of_another_type_is_not_taken(
    virsh: libvirt.virConnect, session_host: LibvirtHost
) -> None:
    pool = virsh.storagePoolDefineXML(
        "<pool type='netfs'><name>nfs</name><source><host name='localhost'/><dir path='/x'/></source>"
        "<target><path>/nonexistent</path></target></pool>"
    )
    try:
        with pytest.raises(HostError, match="netfs") as raised:
            session_host.ensure_pool("nfs")
        assert not raised.value.retry
    finally:
        pool.undefine()


def test_a_pools_name_is_no_path(session_host: LibvirtHost) -> None:
    for name in ("../up", "..", ""):
        with pytest.raises(HostError) as raised:
            session_host.ensure_pool(name)
        assert not raised.value.retry


def test_an_element_that_libvirt_does_not_know_is_refused(session_host: LibvirtHost) -> None:
    with pytest.raises(HostError) as raised:
        session_host.define(domain_xml("web", str(uuids.uuid4()), devices="<antigravity/>"))
    assert (raised.value.reason, raised.value.retry) == ("InvalidDefinition", False)


def test_defining_takes_autostart_away(rig: Rig, virsh: libvirt.virConnect) -> None:
    uuid = rig.define()
    domain = virsh.lookupByUUIDString(uuid)
    domain.setAutostart(1)
    rig.define(uuid=uuid, note="b")
    assert domain.autostart() == 0


def test_a_start_that_fails_says_why(rig: Rig) -> None:
    uuid = str(uuids.uuid4())
    disk = '<disk type="file" device="disk"><driver name="qemu" type="raw"/><source file="/nonexistent/disk"/><target dev="sda" bus="sata"/></disk>'
    rig.host.define(domain_xml("web", uuid, devices=disk))
    with pytest.raises(HostError, match="/nonexistent/disk"):
        rig.host.start(uuid)
    assert rig.state(uuid) == "shutoff"


def test_a_reset_is_remembered_for_the_running_instance(
    rig: Rig, virsh: libvirt.virConnect
) -> None:
    uuid = rig.running()
    virsh.lookupByUUIDString(uuid).reset(0)
    rig.events.wait("reboot", uuid)
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    assert domain.rebooted
    # one reset is several events, and each may be the last one
    rig.events.until(lambda: rig.host.read_domain(uuid) is rig.host.read(frozenset()).domains[uuid])
    rig.host.destroy(uuid)
    rig.host.start(uuid)
    rig.events.until(lambda: not rig.host.read(frozenset()).domains[uuid].rebooted)


def test_a_killed_qemu_is_a_crash(rig: Rig, session: Session) -> None:
    uuid = rig.running("web")
    rig.events.clear()
    end_process(session.qemu_pid("web"))
    rig.events.wait("lifecycle", uuid)
    rig.events.until(lambda: rig.state(uuid) == "shutoff")
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    assert (domain.reason, domain.stopped_by) == ("crashed", "")


def test_a_signal_to_qemu_is_a_stop_by_the_host(rig: Rig, session: Session) -> None:
    uuid = rig.running("web")
    end_process(session.qemu_pid("web"), signal.SIGTERM)
    rig.events.until(lambda: rig.state(uuid) == "shutoff")
    domain = rig.host.read_domain(uuid)
    assert domain is not None
    assert (domain.reason, domain.stopped_by) == ("shutdown", "host")


def test_a_transient_domain_has_no_definition(rig: Rig, virsh: libvirt.virConnect) -> None:
    uuid = str(uuids.uuid4())
    virsh.createXML(domain_xml("fleeting", uuid))
    domain = rig.host.read(frozenset()).domains[uuid]
    assert (domain.inactive_xml, domain.active) == ("", True)
    assert rig.host.read_domain(uuid) is domain


def test_a_managed_save_is_seen_and_undefined_with_its_domain(
    rig: Rig, virsh: libvirt.virConnect
) -> None:
    uuid = rig.running()
    virsh.lookupByUUIDString(uuid).managedSave()
    domain = rig.host.read(frozenset()).domains[uuid]
    assert (domain.reason, domain.managed_save) == ("saved", True)
    assert rig.host.read_domain(uuid) is domain
    rig.host.undefine(uuid)
    assert rig.state(uuid) == "gone"


def test_a_lost_daemon_comes_back_with_its_domains(rig: Rig, session: Session) -> None:
    uuid = rig.running("web")
    before = rig.host.read_domain(uuid)
    qemu = session.qemu_pid("web")
    end_process(session.daemon_pid())
    rig.events.wait("disconnected")
    rig.events.wait("connected")
    after = rig.host.read(frozenset()).domains[uuid]
    assert after.active
    assert session.qemu_pid("web") == qemu
    assert before is not None
    assert after.inactive_xml == before.inactive_xml
    rig.events.clear()
    rig.host.destroy(uuid)
    rig.events.wait("lifecycle", uuid)
    assert rig.state(uuid) == "shutoff"


def test_a_qemu_that_hangs_delays_its_own_domain_alone(
    impatient: LibvirtHost, session: Session
) -> None:
    rig = Rig(impatient)
    stuck, well = rig.running("stuck"), rig.running("well")
    impatient.read(frozenset())  # as before each decision: newer versions of libvirt tell no more
    pid = session.qemu_pid("stuck")
    end_process(pid, signal.SIGSTOP)
    try:
        with pytest.raises(HostError) as raised:
            impatient.shutdown(stuck)
        assert raised.value.reason == "Timeout"
        with pytest.raises(HostError) as raised:
            impatient.set_live_metadata(stuck, metadata_xml("never"))
        assert raised.value.reason == "NotResponding"
        domains = impatient.read(frozenset()).domains
        assert domains[stuck].state == "running"
        assert impatient.read_domain(stuck) is domains[stuck]
        impatient.set_live_metadata(well, metadata_xml("alive"))
        assert 'note="alive"' in impatient.read(frozenset()).domains[well].active_xml
    finally:
        end_process(pid, signal.SIGCONT)
    rig.events.until(lambda: accepted(impatient, stuck))


def test_one_that_hangs_and_that_nobody_has_read_before_keeps_nobody_from_reading_the_others(
    impatient: LibvirtHost, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_WAITS", 0)  # as if this were a version of libvirt that waits
    rig = Rig(impatient)
    stuck, well = rig.running("stuck"), rig.running("well")
    end_process(session.qemu_pid("stuck"), signal.SIGSTOP)
    try:
        with pytest.raises(HostError):
            impatient.shutdown(stuck)  # a command without an answer
        newcomer = session.open(IMPATIENT)
        try:
            domains = newcomer.read(frozenset()).domains
            alone = newcomer.read_domain(stuck)
        finally:
            newcomer.close()
    finally:
        end_process(session.qemu_pid("stuck"), signal.SIGCONT)
    assert (domains[stuck].unread, domains[stuck].name, domains[stuck].state) == (
        True,
        "stuck",
        "running",
    )
    assert alone == domains[stuck]
    assert (domains[well].unread, bool(domains[well].active_xml)) == (False, True)
    rig.events.until(lambda: accepted(impatient, stuck))


def accepted(host: LibvirtHost, uuid: str) -> bool:
    try:
        host.set_live_metadata(uuid, metadata_xml("again"))
    except HostError as error:
        assert error.reason == "NotResponding"  # noqa: PT017
        return False
    return True


def test_a_qemu_that_hangs_can_be_destroyed(impatient: LibvirtHost, session: Session) -> None:
    rig = Rig(impatient)
    uuid = rig.running("stuck")
    end_process(session.qemu_pid("stuck"), signal.SIGSTOP)
    with pytest.raises(HostError, match="no answer"):
        impatient.shutdown(uuid)
    impatient.destroy(uuid)
    assert rig.state(uuid) == "shutoff"


def test_a_host_that_is_not_there_is_unreachable(session: Session) -> None:
    with pytest.raises(HostError) as raised:
        LibvirtHost(None, f"qemu+unix:///session?socket={session.root}/none")
    assert (raised.value.reason, raised.value.retry) == ("HostUnreachable", True)


def test_a_named_host_that_is_not_there_may_come_later(session: Session) -> None:
    host = LibvirtHost("later", f"qemu+unix:///session?socket={session.root}/none")
    try:
        with pytest.raises(HostError) as raised:
            host.read(frozenset())
        assert raised.value.reason == "HostUnreachable"
        assert host.name == "later"
    finally:
        host.close()


def test_a_named_host_that_comes_later_says_so(session: Session, session_host: LibvirtHost) -> None:
    link = session.root / "later"
    host = LibvirtHost("later", f"qemu+unix:///session?socket={link}")
    try:
        events = Events(host)
        link.symlink_to(session.root / "run" / "libvirt" / "libvirt-sock")
        assert events.wait("connected").node == "later"
        assert host.read(frozenset()).node.name == "later"
    finally:
        host.close()
        link.unlink()


def test_a_host_that_comes_later_is_not_waited_for(
    session: Session, session_host: LibvirtHost
) -> None:
    """Nor is a server that takes the connection and says nothing, and it keeps nobody from trying again."""
    path = session.root / "mute"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(PATIENCE)
        uri = f"qemu+unix:///session?socket={path}"
        host = LibvirtHost("later", uri, deadlines=Deadlines(connect=0.5), later=True)
        try:
            with pytest.raises(HostError, match=r"no connection to .*mute; trying again") as raised:
                host.read(frozenset())
            assert raised.value.reason == "HostUnreachable"
            events = Events(host)
            with server.accept()[0]:  # the first try hangs for as long as this is open
                path.unlink()
                path.symlink_to(session.root / "run" / "libvirt" / "libvirt-sock")
                assert events.wait("connected").node == "later"
                assert host.read(frozenset()).node.name == "later"
        finally:
            host.close()
            path.unlink()


def test_why_a_host_cannot_be_reached_is_said(session: Session) -> None:
    path = session.root / "none"
    host = LibvirtHost("later", f"qemu+unix:///session?socket={path}")
    try:
        with pytest.raises(HostError, match=r"cannot connect to .*none: .*; trying again"):
            host.read(frozenset())
    finally:
        host.close()


def test_two_names_of_one_host_tell_that_it_is_one(
    session: Session, session_host: LibvirtHost
) -> None:
    path = session.root / "run" / "libvirt" / "libvirt-sock"
    other = LibvirtHost("other", f"qemu+unix:///session?socket={path}")
    try:
        seen = other.read(frozenset()).node.host
        assert uuids.UUID(seen)
        assert seen == session_host.read(frozenset()).node.host
    finally:
        other.close()
