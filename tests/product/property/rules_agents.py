"""The agents: how they work, die, hang and take over from each other; and time."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis.stateful import rule

from tests.product.property.manifests import names
from tests.product.property.rules_git import GitRules
from tests.product.property.rules_host import HostRules
from tests.product.property.story import DAY
from tests.product.property.world import UNTIL_TAKEN_OVER, Fuse

seats = st.integers(0, 1)


class AgentRules(GitRules, HostRules):
    @rule(seat=seats, passes=st.integers(1, 6), looks=st.booleans())
    def works(self, seat: int, passes: int, looks: bool) -> None:
        each = self.world.seats[seat]
        if looks and each.works:
            self.world.look(each)
        self.world.work(each, passes)

    @rule(first=seats, rounds=st.integers(1, 4))
    def both_work(self, first: int, rounds: int) -> None:
        for _ in range(rounds):
            for each in (self.world.seats[first], self.world.seats[1 - first]):
                if each.works:
                    self.world.look(each)
                self.world.work(each)

    @rule(
        left=st.integers(1, 5),
        what=st.sampled_from(("dies before", "dies after", "dies in a start", "hangs")),
    )
    def soon(self, left: int, what: str) -> None:
        """In the middle of a sequence of actions, or of its start."""
        phase = {"dies before": "before", "dies in a start": "middle"}.get(what, "after")
        self.world.fuse = Fuse(1 if phase == "middle" else left, phase, hangs=what == "hangs")

    @rule(failing=st.integers(0, 3), looks=st.booleans())
    def starts_fail(self, failing: int, looks: bool) -> None:
        """Not before QEMU is there."""
        self.world.failing, self.world.looks = failing, looks

    @rule(well=st.booleans())
    def starts_end(self, well: bool) -> None:
        """Those whose agent has died meanwhile."""
        for host in self.world.hosts:
            for uuid in host.starting():
                (host.comes_up if well else host.start_fails)(uuid)

    @rule(
        name=names,
        what=st.sampled_from(("crash", "destroy", "Restart", "Stop", "nothing")),
        before=st.integers(1, 6),
        after=st.integers(1, 5),
    )
    def hangs_until_the_other_has_taken_over(
        self, name: str, what: str, before: int, after: int
    ) -> None:
        """Just before it would have acted; then it goes on with what it was about to do."""
        acting = (self.world.leaders() or self.world.seats)[0]
        (other,) = (seat for seat in self.world.seats if seat is not acting)
        if other.dead:
            self.world.start(other)
        other.hung = False
        self.world.look(other)
        self.world.work(other)
        if what in ("Restart", "Stop"):
            self.ask(name=name, kind=what, force=True)
        elif what != "nothing":
            self.happens(name=name, how=what)
        if acting.works:
            self.world.look(acting)
        self.world.all_but_actions(acting, before)
        acting.hung = not acting.dead
        self.world.pass_time(UNTIL_TAKEN_OVER)
        self.world.look(other)
        self.world.work(other, after)
        acting.hung = False
        self.world.work(acting, after)

    @rule(
        seat=seats,
        tasks=st.integers(0, 3),
        what=st.sampled_from(("hang", "go on", "start", "start", "kill", "end", "both start")),
    )
    def happens_to_an_agent(self, seat: int, tasks: int, what: str) -> None:
        each = self.world.seats[seat]
        match what:
            case "hang":
                self.hangs(seat, tasks)
            case "go on":
                each.hung = False
            case "start":
                self.world.start(each)
            case "kill":
                self.world.kill(each)
            case "end" if each.works:  # gracefully: the other one may act at once
                each.rig.agent.close()
                self.world.kill(each)
            case "both start":
                for other in (each, self.world.seats[1 - seat]):
                    self.world.start(other)

    def hangs(self, seat: int, tasks: int) -> None:
        each = self.world.seats[seat]
        if each.works:
            self.world.half_a_pass(each, tasks)
            each.hung = not each.dead

    @rule(seconds=st.sampled_from((1, 4, 61, 200, UNTIL_TAKEN_OVER, 700, 3 * DAY, 8 * DAY)))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)
