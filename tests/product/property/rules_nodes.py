"""The nodes beside the first: what happens to them, and to the machine that each has for its own."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from tests.product.property.check_machines import MachineChecks
from tests.product.property.host import POOL, GuardedHost
from tests.product.property.manifests import DEFAULT
from tests.product.property.rules_git import GitRules
from tests.product.property.rules_host import HostRules
from tests.product.property.shapes import shape, shape_of
from tests.product.property.story import DATA
from tests.rig import condition

numbers = st.integers(0, 1)
AWAY = (1, 20, 700)
"""Seconds for which a node is lost: as long as libvirtd takes to restart, and longer."""


class NodeRules(GitRules, HostRules, MachineChecks):
    @precondition(lambda self: self.own)
    @rule(number=numbers, what=st.sampled_from(("lost", "lost", "back", "restarts")))
    def happens_to_a_node(self, number: int, what: str) -> None:
        host = self.own[self.own_of(number)].host
        match what:
            case "lost":
                host.disconnect()
            case "back":
                self.world.mend((host,))
            case "restarts":
                for name in self.own:
                    if self.host_of(name) is host and self.on(name):
                        self.note(name, "lost")
                host.lose_host()

    @rule(number=st.integers(0, 2), back=st.booleans())
    def is_slow(self, number: int, back: bool) -> None:
        """Nothing that was asked of a node comes to an end; the first is one like the others here."""
        host = self.world.hosts[number % len(self.world.hosts)]
        if back:
            for seat in self.world.seats:
                seat.rig.quick(host.name)
        else:
            self.world.slow(host)

    @rule(name=st.sampled_from(("a", "b", "own-node-2", "own-node-3")), back=st.booleans())
    def is_mute(self, name: str, back: bool) -> None:
        """The QEMU process of a machine does not answer."""
        if name not in (*self.vms, *self.own):
            return
        host, uuid = self.host_of(name), self.uuid(name)
        if back:
            host.mute.discard(uuid)
        elif self.up(name):
            host.mute.add(uuid)
        host._tell(uuid, "lifecycle")

    @precondition(lambda self: self.own)
    @rule(
        number=numbers,
        what=st.sampled_from(
            (
                *("cores 1", "cores 2", "cores 3", "without", "AlwaysOff", "AlwaysOn", DEFAULT),
                *("Start", "Stop", "Restart", "crash", "poweroff", "destroy", "signal"),
            )
        ),
    )
    def on_another_node(self, number: int, what: str) -> None:
        """Whether or not the node can be reached."""
        name = self.own_of(number)
        match what.split():
            case ["cores", cores]:
                self.declare_own(name, cpu={"cores": int(cores)})
            case ["without"]:
                self.remove_own(name)
            case ["AlwaysOff" | "AlwaysOn" | "AlwaysOnUnlessStoppedManually"]:
                self.declare_own(name, runPolicy=what)
            case ["Start" | "Stop" | "Restart"]:
                self.ask(name=name, kind=what, force=False)
            case _:
                if self.up(name):
                    self.ends(name, what)

    def own_of(self, number: int) -> str:
        names = sorted(self.own)
        return names[number % len(names)]

    # -- what must hold -------------------------------------------------------------------------

    def own_machines_are_right(self, lost: GuardedHost | None = None) -> None:
        """Of what is on a lost node it is said that nobody can tell."""
        for name, own in self.own.items():
            assert own.host.pools[POOL][own.volume].content == DATA
            disks = [each for each in own.host.pools[POOL] if "_disk_" in each]
            assert disks == [own.volume]
            if own.host is lost:
                running = condition(self.rig.vm(name), "Running")
                assert (running["status"], running["reason"]) == ("Unknown", "NodeNotReady")
            elif own.wanted is None:
                self.machine_is_gone(name)
            else:
                self.own_machine_is_right(name)
        ours = {self.uuid(name): self.host_of(name) for name in (*self.vms, *self.own)}
        for host in self.world.hosts:
            strays = [uuid for uuid in host._domains if ours.get(uuid, host) is not host]
            assert not strays, f"{strays} on {host.name}"

    def own_machine_is_right(self, name: str) -> None:
        document, own = self.rig.vm(name), self.own[name]
        assert own.wanted is not None
        assert self.is_in_force(name, own.wanted)
        self.power_is_right(name, document, ready=True)
        raw = self.raw(name)
        if raw is not None:
            found = shape(raw.inactive_xml)
            assert found == shape_of(document["spec"], self.volume_of, found.medium)
