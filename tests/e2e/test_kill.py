"""Whatever is killed, wherever it is: what was begun gets finished, nothing is done twice, and what is not ours is left alone.

The machines have no system: their firmware finds nothing to boot, ignores the power button, and costs nothing.
"""

from __future__ import annotations

import fcntl
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from agent.core.domain_xml import parse
from agent.core.metadata import from_domain
from agent.kinds.virtual_machine.spec import machine_spec
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import PATIENCE, Stand, find
from tests.gitrepo.git import GitServer
from tests.hosts import end_process
from tests.images.server import hangs_after, serve
from tests.rig import disk, manifest

FOREIGN = "not-ours"
FOREIGN_VOLUMES = {
    "somebodys.qcow2": b"somebody's",
    "other_disk_default_data_8b0a1a52-5d4c-4c0e-8f8b-3f4bd2a3d8a1.qcow2": b"another fleet's",
}
FOREIGN_XML = f"""<domain type='qemu'><name>{FOREIGN}</name><memory unit='MiB'>16</memory><os><type>hvm</type></os>
<metadata><x:y xmlns:x='https://example.org/'>kept</x:y></metadata></domain>"""


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand) -> Iterator[Stand]:
    """A running agent on a host that has a domain and volumes of other people's, untouched at the end."""
    with make_stand("kill") as stand:
        foreign = stand.virsh.defineXML(FOREIGN_XML)
        foreign.create()
        for name, content in FOREIGN_VOLUMES.items():
            (stand.pool / name).write_bytes(content)
        before = foreigners(stand)
        stand.start()
        yield stand
        assert foreigners(stand) == before
        foreign = stand.virsh.lookupByName(FOREIGN)
        foreign.destroy()
        foreign.undefine()
        for name in FOREIGN_VOLUMES:
            (stand.pool / name).unlink()


@pytest.fixture(autouse=True)
def agent(stand: Stand) -> None:
    """An agent runs whatever has become of the test before."""
    if not stand.started:
        stand.start()


def foreigners(stand: Stand) -> dict[str, Any]:
    """Everything about what is not ours."""
    domain = stand.virsh.lookupByName(FOREIGN)
    return {
        "process": stand.session.qemu_pid(FOREIGN),
        "active": domain.XMLDesc(),
        "inactive": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
        "volumes": {name: (stand.pool / name).read_bytes() for name in FOREIGN_VOLUMES},
    }


def machine(name: str, **spec: Any) -> list[dict[str, Any]]:
    """A VM without a system, and its disk."""
    whole = {
        "virtualMachineClassName": "host",
        "cpu": {"cores": 1},
        "memory": {"size": "64Mi"},
        "terminationGracePeriodSeconds": 4,
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name}],
        **spec,
    }
    return [disk(name, "8Mi"), manifest("VirtualMachine", name, whole)]


def running(stand: Stand, name: str, **spec: Any) -> None:
    """Push a VM and wait until it runs and all of it is written down."""
    revision = stand.push({f"{name}.yaml": machine(name, **spec)})
    stand.wait_for_phase("VirtualMachine", name, "Running")
    stand.wait_for(lambda: stand.applied(revision), "the push")
    assert stand.instances(name) == 1


def cores(stand: Stand, name: str) -> int:
    """Of the spec that a running instance has."""
    metadata = from_domain(parse(stand.domain(name).XMLDesc()))
    assert metadata is not None
    return machine_spec(metadata.spec)["cpu"]["cores"]


def test_killed_while_it_downloads(stand: Stand, guest: bytes) -> None:
    reached = threading.Event()
    stand.images.routes["/guest.qcow2"] = hangs_after(guest[: len(guest) // 2], reached)
    source = {"type": "HTTP", "http": {"url": stand.images.url("/guest.qcow2")}}
    image = manifest(
        "VirtualImage", "image", {"storage": "ContainerRegistry", "dataSource": source}
    )
    stand.push({"image.yaml": image})
    assert reached.wait(PATIENCE), "the agent asked for no image"
    stand.kill()
    stand.images.routes["/guest.qcow2"] = serve(guest)
    stand.start()
    stand.wait_for_phase("VirtualImage", "image", "Ready")
    (volume,) = stand.volumes("image_*")
    assert volume.read_bytes() == guest
    assert list((stand.folder / "data" / "spool").iterdir()) == []


def test_killed_between_define_and_start(stand: Stand) -> None:
    stand.push({"half.yaml": machine("half")[:1]})
    stand.wait_for_phase("VirtualDisk", "half", "Ready")
    with stand.disk("half").open("r+b") as volume:
        fcntl.lockf(volume, fcntl.LOCK_EX)  # as another QEMU would: with it no start can succeed
        stand.push({"half.yaml": machine("half")})
        stand.wait_for(lambda: "lock" in message(stand, "half"), "a start that fails")
        stand.kill()
        assert stand.domain("half").isPersistent()
        assert not stand.domain("half").isActive()
    tried = stand.instances("half")
    stand.start()
    stand.wait_for_phase("VirtualMachine", "half", "Running")
    assert stand.instances("half") == tried + 1


def message(stand: Stand, name: str) -> str:
    """Why a VM does not run."""
    return str(find(stand.status("VirtualMachine", name), "Running", "False").get("message", ""))


@pytest.mark.parametrize("later", ["at once", "past the grace period"])
def test_killed_while_a_restart_waits_for_the_guest(stand: Stand, later: str) -> None:
    name = "patient" if later == "at once" else "late"
    running(stand, name)
    stand.gitvirt("restart", name)
    (operation,) = operations(stand, name)
    pid = stand.qemu_pid(name)
    stand.wait_for_phase("VirtualMachine", name, "Stopping")
    stand.kill()
    if later != "at once":
        # nobody is there to end it: the guest ends by itself, and nobody starts it again either
        end_process(pid)
        stand.wait_for(lambda: not stand.runs(name), "the guest's end")
    stand.start()
    stand.wait_for_phase("VirtualMachineOperation", operation, "Completed")
    stand.wait_for_phase("VirtualMachine", name, "Running")
    assert stand.instances(name) == 2
    assert stand.qemu_pid(name) != pid
    stand.kill()
    stand.start()
    revision = stand.push({"note.txt": later})
    stand.wait_for(lambda: stand.applied(revision), "another pass of another agent")
    assert stand.instances(name) == 2


def operations(stand: Stand, vm: str) -> list[str]:
    """Names of the operations that the command line has asked for."""
    lines = stand.gitvirt("get", "vmop", "-o", "name").split()
    names = [line.rpartition("/")[2] for line in lines]
    return [name for name in names if name.startswith(f"{vm}-")]


@pytest.mark.promise("S114")
def test_qemu_is_killed(stand: Stand) -> None:
    running(stand, "crashing")
    stand.crash("crashing")
    stand.wait_for(lambda: stand.instances("crashing") == 2, "a new instance")
    stand.wait_for(lambda: stand.phases("VirtualMachine", "crashing")[-1] == "Running", "its phase")
    assert stand.runs("crashing")


def test_the_daemon_of_libvirt_is_killed(stand: Stand) -> None:
    running(stand, "lasting")
    pid = stand.qemu_pid("lasting")
    daemon = stand.session.daemon_pid()
    end_process(daemon)
    stand.push({"lasting.yaml": machine("lasting", cpu={"cores": 2})})
    stand.reopen()
    waits = "AwaitingRestartToApplyConfiguration"
    stand.wait_for_condition("VirtualMachine", "lasting", waits)
    assert stand.session.daemon_pid() != daemon
    assert stand.qemu_pid("lasting") == pid
    assert stand.instances("lasting") == 1
    stand.crash("lasting")
    stand.wait_for(lambda: stand.instances("lasting") == 2, "a new instance")
    stand.wait_for(
        lambda: not find(stand.status("VirtualMachine", "lasting"), waits), "what it was told"
    )
    assert cores(stand, "lasting") == 2


def test_the_repository_is_moved_away(stand: Stand) -> None:
    running(stand, "alone")
    hidden = stand.repository.with_name("elsewhere")
    stand.repository.rename(hidden)
    try:
        stand.crash("alone")
        stand.wait_for(lambda: stand.instances("alone") == 2, "a new instance without a repository")
    finally:
        hidden.rename(stand.repository)
    revision = stand.push({"alone.yaml": machine("alone", cpu={"cores": 2})})
    stand.wait_for(lambda: stand.applied(revision), "what was pushed since")
    assert cores(stand, "alone") == 1
    stand.wait_for_condition("VirtualMachine", "alone", "AwaitingRestartToApplyConfiguration")


def test_the_agent_is_killed_between_any_two_things(stand: Stand) -> None:
    """Each round starts an agent, gives it some more of its way, and kills it: at last all is as it should be."""
    stand.kill()
    stand.push({"rounds.yaml": machine("rounds")})
    stages = (
        lambda: stand.phase("VirtualMachine", "rounds"),
        lambda: stand.volumes("disk_default_rounds_*"),
        lambda: "default.rounds" in stand.domains(),
        lambda: stand.instances("rounds"),
        lambda: stand.runs("rounds"),
    )
    for number, stage in enumerate(stages):
        stand.start()
        stand.wait_for(stage, f"stage {number}")
        stand.kill()
    stand.start()
    stand.wait_for_phase("VirtualMachine", "rounds", "Running")
    assert stand.instances("rounds") == 1
    assert len(stand.volumes("disk_default_rounds_*")) == 1


class Server(GitServer):
    """A Git server on a given port; 0 for any."""

    def __init__(self, root: Path, port: int = 0) -> None:
        self._port = port
        super().__init__(root)

    def server_bind(self) -> None:
        self.server_address = ("127.0.0.1", self._port)
        super().server_bind()


def test_the_remote_repositorys_server_is_down(
    make_stand: MakeStand, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("served")
    with Server(root) as server:
        port = server.server_port
        stand = make_stand("remote", root / "vms.git", server.url("vms.git"))
        with stand:
            stand.push({"far.yaml": machine("far")})
            stand.start()
            stand.wait_for_phase("VirtualMachine", "far", "Running")
            server.__exit__(None, None, None)
            stand.crash("far")
            stand.wait_for(lambda: stand.instances("far") == 2, "a new instance without a server")
            revision = stand.push({"far.yaml": machine("far", cpu={"cores": 2})})
            assert not stand.applied(revision)
            with Server(root, port):
                stand.wait_for(lambda: stand.applied(revision), "what was pushed meanwhile")
                assert cores(stand, "far") == 1
                assert stand.stop() == 0


def test_a_service_manager_ends_the_agent_and_the_machines_go_on(stand: Stand) -> None:
    running(stand, "going-on")
    pid = stand.qemu_pid("going-on")
    assert stand.stop() == 0
    assert stand.runs("going-on")
    stand.start()
    revision = stand.push({"note.txt": "after"})
    stand.wait_for(lambda: stand.applied(revision), "the next agent's first pass")
    assert stand.qemu_pid("going-on") == pid
    assert stand.instances("going-on") == 1
    assert signal.Signals.SIGTERM.name in stand.log()
