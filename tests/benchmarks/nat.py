"""From a push to a running guest behind NAT, whose address a network holds first, against bare libvirt-python calls."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

import libvirt

from agent.core.identity import domain_uuid, mac_address
from agent.core.model import Key
from agent.gitrepo.local import LocalRepository
from agent.hypervisor.host import LibvirtHost
from tests.benchmarks.figures import Figure, wall
from tests.benchmarks.live import running, until
from tests.benchmarks.starting import commit, twin
from tests.gitrepo.git import bare
from tests.rig import disk, machine, settings, static
from tests.system.conftest import own_machine

ROUNDS = 5
ENTRY = "<host mac='{}' ip='10.66.10.{}'><lease expiry='2' unit='minutes'/></host>"
BOTH = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG


def nat() -> Iterator[Figure]:
    """On a machine of one's own, as that of tests/system."""
    if os.geteuid() != 0:
        raise SystemExit("a machine of one's own needs root: start this one as root")
    with own_machine() as root:
        uri = f"qemu+unix:///system?socket={root}/run/libvirt-sock"
        host, repository_root = LibvirtHost(None, uri), bare(root / "repository")
        ours, bare_calls = [], []
        with (
            running(root / "agent", repository_root, host),
            LocalRepository(repository_root) as repository,
            libvirt.open(uri) as connection,
        ):
            commit(repository, {"config.yaml": settings("10.66.10.0/24")})
            pushed(repository, connection, ROUNDS)  # the network is made and runs
            for number in range(ROUNDS):
                ours.append(wall(lambda number=number: pushed(repository, connection, number)))  # type: ignore[misc]
                bare_calls.append(by_hand(connection, host, number))
            for domain in connection.listAllDomains():
                domain.destroy()
        host.close()
    mine, theirs = statistics.median(ours), statistics.median(bare_calls)
    yield Figure("bare calls: entry, volume, define, start", theirs, "s")
    yield Figure("push to running behind NAT", mine, "s")
    yield Figure("push to running behind NAT, as a multiple of bare calls", mine / theirs, "", 1.2)


def pushed(repository: LocalRepository, connection: libvirt.virConnect, number: int) -> None:
    """Until a new machine runs."""
    name = f"vm-{number}"
    uuid = domain_uuid("default", Key("VirtualMachine", "default", name))
    vm = machine(name, disks=(name,), runPolicy="AlwaysOn", virtualMachineIPAddressName=name)
    commit(repository, {f"{name}.yaml": [disk(name), static(f"10.66.10.{number + 10}", name), vm]})

    def runs() -> bool:
        try:
            state = connection.lookupByUUIDString(uuid).state()
        except libvirt.libvirtError:  # it is not defined yet
            return False
        return bool(int(state[0]) == libvirt.VIR_DOMAIN_RUNNING)

    until(runs, every=0.005)


def by_hand(connection: libvirt.virConnect, host: LibvirtHost, number: int) -> float:
    """Seconds for the same, for a twin."""
    own = mac_address("default", Key("VirtualMachine", "default", f"vm-{number}"))
    mac = f"52:54:00:00:00:{number:02x}"
    begin = time.perf_counter()
    network = connection.networkLookupByName("gitvirt")
    network.update(
        libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST,
        0,
        ENTRY.format(mac, number + 100),
        BOTH,
    )
    twin(connection, host, number, (own, mac)).create()
    return time.perf_counter() - begin
