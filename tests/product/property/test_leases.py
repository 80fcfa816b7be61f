"""Addresses, and everything that may happen to them, to machines and to agents, in whatever order: nobody's address is another's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.core.domain_xml import parse
from agent.core.host import RawDomain
from agent.core.metadata import from_domain
from agent.core.network import Held, NetworkReading
from tests import rig as rigs
from tests.memory_networks import network
from tests.product.property import surroundings
from tests.product.property.host import GuardedHost
from tests.product.property.manifests import KEPT
from tests.product.property.world import UNTIL_TAKEN_OVER, Fuse, World
from tests.rig import MAIN, OPERATIONS, STATUS, disk, machine, manifest, operation, static

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "12"))
STEPS = int(os.environ.get("PROPERTY_STEPS", "20"))
NAMES = ("a", "b", "c")
IP, MAC = "VirtualMachineIPAddress", "VirtualMachineMACAddress"
RANGES = (("10.66.10.0/29",), ("10.66.10.0/28",), ("10.66.10.0/29", "10.66.20.0/29"))
STATIC = ("10.66.10.2", "10.66.10.3", "10.66.10.4", "10.66.20.2", "10.77.0.9")
MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")
NETWORK = "default"
"""It serves all ranges. One of the agent's own could not grow while machines run in it."""
RETENTION = 600
FOREIGN = Held(NETWORK, "52:54:00:aa:bb:cc", "10.66.10.5", "printer")

names = st.sampled_from(NAMES)
passes = st.sampled_from((0, 1, 3, 8))


@dataclass
class AddressHost(GuardedHost):
    """Keeps watch over what machines that run have."""

    had: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)
    """The addresses that each instance was started with, by UUID and number."""

    def _put(self, domain: RawDomain) -> None:
        super()._put(domain)
        if not domain.active:
            return
        mine, run = frozenset(having(domain)), (domain.uuid, self.runs[domain.uuid])
        assert self.had.setdefault(run, mine) == mine, f"{domain.name} has {mine} by now"
        for other in self._domains.values():
            if other.active and other.uuid != domain.uuid:
                both = mine & frozenset(having(other))
                assert not both, f"{domain.name} and {other.name} both have {both}"


def having(domain: RawDomain) -> Iterator[str]:
    """What the instance that runs has: IP addresses that are reserved for it, MAC addresses that it shows."""
    root = parse(domain.active_xml)
    memory = from_domain(root)
    yield from (each.address for each in (memory.addresses if memory else ()) if each.kind == IP)
    yield from (str(each.get("address")) for each in root.iterfind("devices/interface/mac"))


class Leases(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gitvirt-")
        self.world = World(Path(self.folder.name), 1, AddressHost)
        self.host, self.rig = self.world.host, self.world.rig
        self.host.add_network(network(NETWORK, "10.66.0.1/16"))
        for seat in self.world.seats:
            self.world.start(seat)
        self.wanted: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, Any]] = {}
        """The address objects that are declared, by file."""
        self.tips: list[str] = []
        self.asked = 0
        self.foreign = False
        disks = {f"disk-{name}.yaml": disk(f"disk-{name}") for name in NAMES}
        self.push({"kept.yaml": KEPT, "keep.yaml": static("10.66.10.6", "kept"), **disks})
        self.push({"config.yaml": rigs.settings(*RANGES[0])})

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.folder.cleanup()

    def push(self, files: dict[str, Any], ref: str = MAIN) -> None:
        self.world.push(files, ref)

    @initialize(machines=st.sets(names, min_size=1))
    def begin(self, machines: set[str]) -> None:
        for name in sorted(machines):
            self.declared(name, "", False)
        self.heal()

    # -- what people push -------------------------------------------------------------------------

    @rule(ranges=st.sampled_from(RANGES))
    def ranges_change(self, ranges: tuple[str, ...]) -> None:
        """One that lacks what is reserved does not hold, and the last good one stays."""
        self.push({"config.yaml": rigs.settings(*ranges)})

    @rule(name=names, address=st.sampled_from(("", "", "one", "two", "its own")), mac=st.booleans())
    def declared(self, name: str, address: str, mac: bool) -> None:
        spec: dict[str, Any] = {"runPolicy": "AlwaysOn"}
        if address == "its own":
            address = self.own(name)
        if address:
            spec["virtualMachineIPAddressName"] = address
        if mac:
            spec["networks"] = [{"type": "Main", "virtualMachineMACAddressName": "mine"}]
        self.wanted[name] = machine(name, disks=(f"disk-{name}",), **spec)
        self.push({f"{name}.yaml": self.wanted[name]})

    def own(self, name: str) -> str:
        """The address object that was made for a machine, if there is one."""
        begins = f"namespaces/default/virtualmachineipaddresses/{name}-"
        found = (path for path in self.rig.documents() if path.startswith(begins))
        return next((path.rpartition("/")[2].removesuffix(".yaml") for path in found), "")

    @rule(name=names)
    def removed(self, name: str) -> None:
        if len(self.wanted) > 1 and self.wanted.pop(name, None) is not None:
            self.push({f"{name}.yaml": None})

    @rule(
        name=st.sampled_from(("one", "two")),
        how=st.sampled_from(("Auto", *STATIC, "of another", "gone", "gone")),
        of=names,
        namespace=st.sampled_from(("default", "default", "prod")),
    )
    def address_is_declared(self, name: str, how: str, of: str, namespace: str) -> None:
        """`of another`: the address that a machine has, while it has it or after it had it."""
        if how == "of another":
            path = f"namespaces/default/virtualmachines/{of}.yaml"
            status = self.rig.vm(of)["status"] if path in self.rig.documents() else {}
            how = status.get("ipAddress") or STATIC[0]
        file = f"ip-{name}.yaml"
        self.held.pop(file, None)
        if how == "gone":
            self.push({file: None})
            return
        self.held[file] = (
            manifest(IP, name, {"type": "Auto"}, namespace=namespace)
            if how == "Auto"
            else static(how, name, namespace=namespace)
        )
        self.push({file: self.held[file]})

    @rule(how=st.sampled_from(("any", *MACS, "gone")))
    def mac_is_declared(self, how: str) -> None:
        spec = {"address": how} if how in MACS else {}
        self.push({"mac.yaml": None if how == "gone" else manifest(MAC, "mine", spec)})

    @rule(name=names, kind=st.sampled_from(("Restart", "Restart", "Stop", "Start")))
    def asked_for(self, name: str, kind: str) -> None:
        self.asked += 1
        op = f"op-{self.asked}"
        force = {} if kind == "Start" else {"force": True}
        self.push({f"{op}.yaml": operation(op, name, kind, **force)}, OPERATIONS)

    # -- what happens on the host -----------------------------------------------------------------

    @rule(name=names, how=st.sampled_from(("crash", "poweroff", "reboot")))
    def ends(self, name: str, how: str) -> None:
        uuid = self.rig.uuid(name)
        raw = self.host._domains.get(uuid)
        if raw is not None and raw.state == "running":
            ways = {"crash": self.host.crash, "reboot": self.host.guest_reboot}
            with self.world.by_hand():
                ways.get(how, self.host.guest_poweroff)(uuid)

    @rule(what=st.sampled_from(("takes one out", "takes all out", "adds one", "removes it")))
    def somebody_edits_the_network(self, what: str) -> None:
        reading = self.host.networks.get(NETWORK)
        if reading is None:
            return
        ours = [each for each in reading.held if each != FOREIGN]
        match what:
            case "takes one out":
                ours = ours[1:]
            case "takes all out":
                ours = []
            case "adds one":
                self.foreign = self.foreign or all(each.address != FOREIGN.address for each in ours)
            case "removes it":
                self.foreign = False
        there = (*ours, FOREIGN) if self.foreign else tuple(ours)
        self.host.networks[NETWORK] = NetworkReading(reading.network, there)
        self.host._tell("", "network", NETWORK)

    @rule()
    def host_is_lost(self) -> None:
        self.host.lose_host()

    # -- the agents, and time ----------------------------------------------------------------------

    @rule(seat=st.integers(0, 1), count=passes)
    def works(self, seat: int, count: int) -> None:
        each = self.world.seats[seat]
        if each.works:
            self.world.look(each)
        self.world.work(each, count)

    @rule(left=st.integers(1, 6), what=st.sampled_from(("before", "after", "after", "hangs")))
    def soon(self, left: int, what: str) -> None:
        self.world.fuse = Fuse(left, "after" if what == "hangs" else what, hangs=what == "hangs")

    @rule(seat=st.integers(0, 1), what=st.sampled_from(("kill", "start", "start", "hang", "go on")))
    def happens_to_an_agent(self, seat: int, what: str) -> None:
        each = self.world.seats[seat]
        match what:
            case "kill":
                self.world.kill(each)
            case "start":
                self.world.start(each)
            case "hang" if each.works:
                self.world.half_a_pass(each, 2)
                each.hung = not each.dead
            case "go on":
                each.hung = False

    @precondition(lambda self: self.tips)
    @rule(data=st.data(), lost=st.booleans())
    def ledger_is_lost_or_rolled_back(self, data: st.DataObject, lost: bool) -> None:
        refs = self.world.repo.refs
        if lost:
            refs.pop(STATUS, None)
        else:
            refs[STATUS] = data.draw(st.sampled_from(self.tips))

    @rule(seconds=st.sampled_from((30, UNTIL_TAKEN_OVER, RETENTION - 60, RETENTION + 60)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    # -- what holds ---------------------------------------------------------------------------------

    @rule()
    def heal(self) -> None:
        self.world.fuse = None
        for seat in self.world.seats:
            seat.hung = False
        if all(seat.dead for seat in self.world.seats):
            self.world.start(self.world.seats[0])
        self.world.settle()
        for _ in range(2):  # what is free by then is taken by whoever waited for it
            self.world.pass_time(RETENTION + 100)
            self.world.settle()
        self.leases_are_right()
        for name in NAMES:
            self.machine_is_right(name)
        self.network_is_right()
        self.nothing_is_left_to_do()
        self.tips.append(self.world.tip)

    def objects(self, plural: str) -> list[dict[str, Any]]:
        word = f"/{plural}/"
        return [self.rig.document(path) for path in self.rig.documents() if word in path]

    def leases_are_right(self) -> None:
        """Who has an address has its lease, nobody else has it, and nothing is kept for ever."""
        for plural, sort in ((f"{IP.lower()}es", "ip"), (f"{MAC.lower()}es", "mac")):
            leases = {
                each["metadata"]["name"]: each
                for each in self.objects(f"{plural.removesuffix('es')}leases")
            }
            bound = []
            for each in self.objects(plural):
                if each["status"]["phase"] not in ("Bound", "Attached"):
                    continue
                address = each["status"]["address"]
                lease = leases[f"{sort}-{address.replace('.', '-').replace(':', '-')}"]
                ref = next(iter(lease["spec"].values()))
                assert ref["name"] == each["metadata"]["name"], (ref, each)
                assert ref["namespace"] == each["metadata"]["namespace"], (ref, each)
                bound.append(lease["metadata"]["name"])
            assert sorted(bound) == sorted(leases), "a lease is kept that nobody has"

    def machine_is_right(self, name: str) -> None:
        raw = self.host._domains.get(self.rig.uuid(name))
        if name not in self.wanted:
            assert raw is None
            return
        document = self.rig.vm(name)
        status, spec = document["status"], document["spec"]
        found = {each["type"]: each for each in status["conditions"]}
        if raw is None or not raw.active:
            told = [
                each for each in found.values() if each["status"] == "False" and each["message"]
            ]
            assert told, status
            return
        memory = from_domain(parse(raw.active_xml))
        assert memory is not None
        (reserved,) = (each for each in memory.addresses if each.kind == IP)
        assert status["ipAddress"] == reserved.address
        if not found.get("AwaitingRestartToApplyConfiguration"):
            wanted = spec.get("virtualMachineIPAddressName") or reserved.name
            assert reserved.name == wanted, (reserved, wanted)

    def network_is_right(self) -> None:
        """It holds what machines have that run, each once, and nothing of others is touched."""
        reading = self.host.networks.get(NETWORK)
        held = () if reading is None else reading.held
        assert (FOREIGN in held) is (self.foreign and reading is not None)
        ours = [each for each in held if each != FOREIGN]
        for what in ([each.address for each in held], [each.mac for each in held]):
            assert len(what) == len(set(what)), held
        for raw in self.host._domains.values():
            if raw.active:
                mine = set(having(raw))
                assert any({each.mac, each.address} <= mine for each in ours), (mine, held)
        assert len(ours) <= len(self.wanted), held

    def nothing_is_left_to_do(self) -> None:
        """Nor does an agent find anything that knows nothing."""
        self.rig.verbs()
        (leader,) = self.world.leaders()
        self.world.kill(leader)
        if all(seat.dead for seat in self.world.seats):
            self.world.start(leader)
        self.world.settle()
        assert self.rig.verbs() == []


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    surroundings.prepare(monkeypatch.setattr)
    run_state_machine_as_test(
        Leases,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="PROPERTY_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        ),
    )
