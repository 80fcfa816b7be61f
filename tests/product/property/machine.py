"""The state machine: rules change Git, the host and the agents; `heal` lets the agents work undisturbed and checks everything."""

from __future__ import annotations

import sys
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.product.property.checks import Checks
from tests.product.property.host import POOL, GuardedHost
from tests.product.property.manifests import DISKS, FIELDS, VMS, machines, names, of
from tests.product.property.rules_agents import AgentRules
from tests.product.property.rules_git import COMMON
from tests.product.property.rules_nodes import AWAY, NodeRules, numbers
from tests.rig import MAIN, OPERATIONS

PUSHES = (
    *("machine", "machine", "machine", "another machine", "without"),
    *("disk", "what it refers to", "operation"),
)
BACK_OFFS_ARE_OVER = 400
REST = 1000
FRESH_OPERATIONS = 20_000
"""Seconds for which the agent leaves finished operations alone for sure."""


class Product(AgentRules, NodeRules, Checks):
    @initialize(a=machines("a"), b=machines("b"), nodes=st.sampled_from((1, 1, 1, 2, 3)))
    def begin(self, a: dict[str, Any], b: dict[str, Any], nodes: int) -> None:
        self.set_up({"a": a, "b": b}, nodes)
        for seat in self.world.seats:
            self.world.start(seat)
        self.heal()

    @invariant()
    def one_acts_at_most(self) -> None:
        assert len(self.world.leaders()) <= 1

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # whatever has happened, it ends well
                self.heal()
        finally:
            super().teardown()

    @rule()
    def heal(self) -> None:
        self.let_everybody_work()
        self.machines_are_right()
        self.own_machines_are_right()
        for name in (*VMS, *self.own):
            self.turns_were_asked_for(name)
        self.strangers_are_untouched()
        self.data_is_kept()
        self.moments_are_kept()
        self.images_share_their_data()
        self.trash_is_right()
        self.identities_are_kept()
        self.operations_have_one_target()
        self.operations_have_ended()
        self.plan_is_empty()
        self.nothing_is_left_to_do()
        self.known |= {self.run(name) for name in VMS if self.on(name)}
        self.tips.append(self.world.tip)
        self.open_window()

    @rule(
        name=names,
        what=st.sampled_from(("crash", "poweroff", "Stop", "Restart", "lost", "nothing")),
        failing=st.integers(0, 2),
        looks=st.booleans(),
    )
    def one_thing_at_rest(self, name: str, what: str, failing: int, looks: bool) -> None:
        """Where just one thing happens, the outcome is known exactly."""
        self.heal()
        self.starts_fail(failing=failing, looks=looks)
        if what in ("crash", "poweroff"):
            self.happens(name=name, how=what)
        elif what in ("Stop", "Restart"):
            self.ask(name=name, kind=what, force=False)
        elif what == "lost":
            self.host_is_lost()
        self.heal()

    @rule(data=st.data(), name=names, what=st.sampled_from(PUSHES))
    def a_push_does_what_its_plan_says(self, data: st.DataObject, name: str, what: str) -> None:
        self.heal()
        self.planning = True
        try:
            self.pushes(data, name, what)
        finally:
            self.planning = False
        self.heal()

    def pushes(self, data: st.DataObject, name: str, what: str) -> None:
        match what:
            case "machine" if name in self.vms:
                field = data.draw(st.sampled_from((*FIELDS, *COMMON)))
                self.change(name, **{field: data.draw(of(name, field))})
            case "machine" | "another machine":
                self.declare_machine(name, data.draw(machines(name)))
            case "without":
                self.remove(name)
            case "disk":
                disk = data.draw(st.sampled_from(DISKS))
                self.change_a_disk(name=disk, size=data.draw(st.sampled_from(("1Gi", "2Gi", None))))
            case "what it refers to":
                kinds = ("image", "secret", "class", "immutable", "broken file")
                self.change_what_is_referred_to(data=data, what=data.draw(st.sampled_from(kinds)))
            case "operation":
                kind = data.draw(st.sampled_from(("Start", "Stop", "Restart")))
                self.ask(name=name, kind=kind, force=data.draw(st.booleans()))

    @precondition(lambda self: self.own)
    @rule(
        data=st.data(),
        number=numbers,
        name=names,
        what=st.sampled_from(PUSHES),
        seconds=st.sampled_from(AWAY),
    )
    def the_others_go_on_without_one(
        self, data: st.DataObject, number: int, name: str, what: str, seconds: float
    ) -> None:
        """What is pushed while a node is lost holds on the others."""
        self.heal()
        mine = self.own_of(number)
        lost = self.own[mine].host
        lost.disconnect()
        before = dict(lost._domains)
        self.world.pass_time(seconds)
        self.declare_own(mine, cpu={"cores": 4})
        self.pushes(data, name, what)
        self.let_everybody_work(lost)
        self.machines_are_right()
        self.own_machines_are_right(lost)
        self.data_is_kept()
        self.images_share_their_data()
        assert lost._domains == before
        self.commit_is_accepted()
        self.heal()

    @precondition(lambda self: self.own)
    @rule(
        number=numbers,
        cores=st.integers(1, 3),
        seconds=st.sampled_from(AWAY),
        restarted=st.booleans(),
    )
    def the_others_go_on_without_the_first(
        self, number: int, cores: int, seconds: float, restarted: bool
    ) -> None:
        """What was on the first node is started nowhere else."""
        self.heal()
        self.host.disconnect()
        before = dict(self.host._domains)
        self.world.pass_time(seconds)
        if restarted:
            for seat in self.world.seats:
                self.world.start(seat)
        self.declare_own(self.own_of(number), cpu={"cores": cores})
        self.let_everybody_work(self.host)
        self.own_machines_are_right()
        assert self.host._domains == before
        self.commit_is_accepted()
        self.heal()

    def commit_is_accepted(self) -> None:
        agent = self.rig.document("agent.yaml")
        assert (
            agent["applied"]["revision"] == agent["attempted"]["revision"] == self.repo.refs[MAIN]
        )

    @rule(name=names, cores=st.integers(1, 3))
    def renamed_for_a_while(self, name: str, cores: int) -> None:
        """A domain of another name is left alone, whatever is wanted of it."""
        self.heal()
        raw = self.raw(name)
        if raw is None or name not in self.vms:
            return
        self.host.renamed_by_hand(raw.uuid, "mine")
        renamed = self.raw(name)
        self.change(name, cpu={"cores": cores})
        self.everybody_works(6)
        assert self.raw(name) is renamed
        self.host.renamed_by_hand(raw.uuid, raw.name)
        self.heal()

    def let_everybody_work(self, lost: GuardedHost | None = None) -> None:
        self.world.fuse = None
        self.world.mend(host for host in self.world.hosts if host is not lost)
        self.starts_end(well=True)
        for seat in self.world.seats:
            seat.hung = False
        if all(seat.dead for seat in self.world.seats):
            self.world.start(self.world.seats[0])
        self.layers_merged()
        self.push({"broken.yaml": None})
        if self.ledger_fault:  # what was in force before is in no ledger
            for name in sorted(self.bad):
                self.declare_machine(name, self.vms[name])
        self.forget_old_operations()
        self.world.settle()
        self.world.pass_time(BACK_OFFS_ARE_OVER)
        self.world.settle()
        self.forget_removed_operations()

    def forget_old_operations(self) -> None:
        """The agent would remove them itself some day, and that day is no day of rest."""
        self.forget_removed_operations()
        then = self.world.now - FRESH_OPERATIONS
        old = [op for op in self.operations if self.asked_at[op] < then]
        for op in old:
            name = self.operations.pop(op)["spec"]["virtualMachineName"]
            self.note(name, "withdrawn")
        if old:
            self.push({f"{op}.yaml": None for op in old}, OPERATIONS)

    def forget_removed_operations(self) -> None:
        """Those that the agent has removed."""
        tip = self.repo.fetch().get(OPERATIONS)
        if tip is not None:
            there = {file.path.removesuffix(".yaml") for file in self.repo.files(tip)}
            self.operations = {op: self.operations[op] for op in self.operations if op in there}

    def nothing_is_left_to_do(self) -> None:
        """An agent that goes on finds nothing to do, and one that knows nothing finds nothing either."""
        for fresh in (False, True):
            if fresh:
                leader = self.leader()
                self.world.kill(leader)
                if all(seat.dead for seat in self.world.seats):
                    self.world.start(leader)
            while not self.is_at_rest():
                pass

    def is_at_rest(self) -> bool:
        """False if something was cleared away whose time had come."""
        tip = self.world.tip
        waste = {*self.volumes} - self.declared
        waste |= {name for name in self.host.pools[POOL] if name.startswith("default_image_")}
        self.rig.verbs()
        self.world.pass_time(REST)
        self.world.settle()
        verbs = self.rig.verbs()
        if not verbs and self.world.tip == tip:
            return True
        assert set(verbs) <= {"delete_volume"}, verbs
        assert waste, self.repo.log(self.world.tip)
        return False
