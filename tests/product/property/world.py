"""The world that the agents live in: hosts that keep watch over themselves, one repository, one clock, two agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.core.host import HostError, RawNode
from agent.core.links import Link
from agent.reconcile.lease import BEAT, TERM
from agent.reconcile.summary import Summary
from tests.memory_host import NODE, Killed
from tests.product.faults import FragileRepository
from tests.product.property.host import GuardedHost
from tests.rig import START, STATUS, Rig

LAN, OFFICE = (Link(bridge=name) for name in ("lan", "office"))
AGENTS = ("agent", "another")
PARTS = ("delete_volume", "create_volume")
"""Verbs that may be the beginning of an action; the lease is looked at before each action."""
UNTIL_TAKEN_OVER = TERM + 2 * BEAT


class Seat:
    """Where one of the agents runs. Dead: its process has ended. Hung: it does nothing for a while, and then goes on."""

    def __init__(self, name: str, rig: Rig) -> None:
        self.name, self.rig = name, rig
        self.dead = self.hung = False

    @property
    def works(self) -> bool:
        return not self.dead and not self.hung

    @property
    def summary(self) -> Summary:
        return self.rig.agent.reconciler.summary()

    def may_act(self) -> bool:
        return not self.dead and self.rig.agent.git.may_act()


@dataclass
class Fuse:
    """What happens at one of the agent's next effects: it dies, or it hangs for so long that another one takes over."""

    left: int
    phase: str
    hangs: bool


class World:
    def __init__(
        self, folder: Path, nodes: int, sort: Callable[[RawNode], GuardedHost] = GuardedHost
    ) -> None:
        self.now = START
        self.hosts = tuple(
            sort(replace(NODE, name=name, uri=f"memory:///{name}", host=f"uuid of {name}"))
            for name in (f"node-{number}" for number in range(1, nodes + 1))
        )
        self.host = self.hosts[0]
        """What is new goes there."""
        self.repo = FragileRepository(lambda: self.now)
        self.fuse: Fuse | None = None
        self.failing = 0
        """How many of the next starts fail in their middle."""
        self.looks = False
        """Whether an agent reads the host in the middle of its starts."""
        self.acting: Seat | None = None
        """Whose instructions are carried out."""
        self.seats = [self._seat(name, folder) for name in AGENTS]
        self.seats[1].dead = True
        self.repo.effects = self._effect
        for host in self.hosts:
            host.clock = lambda: self.now
            host.on_effect = self._effect
            host.others = tuple(each for each in self.hosts if each is not host)
        self._listen()

    def _seat(self, name: str, folder: Path) -> Seat:
        own = folder / name
        own.mkdir()
        rig = Rig(
            own,
            self.host,
            self.repo,
            others=self.hosts[1:],
            networks={"lan": LAN, "office": OFFICE},
        )
        rig.start(name)
        return Seat(name, rig)

    @property
    def rig(self) -> Rig:
        """For whatever does not depend on which agent acts."""
        return self.seats[0].rig

    @property
    def tip(self) -> str:
        return self.repo.refs[STATUS]

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for seat in self.seats:
            seat.rig.now = self.now

    # -- agents ---------------------------------------------------------------------------------

    def start(self, seat: Seat) -> None:
        """A new process in place of whatever was there."""
        seat.rig.start(seat.name)
        seat.dead = seat.hung = False
        self._listen()

    def kill(self, seat: Seat) -> None:
        seat.rig.drop()
        seat.dead, seat.hung = True, False
        self._listen()

    def _listen(self) -> None:
        for host in self.hosts:
            host._subscribers[:] = [
                seat.rig.agent.reconciler.post for seat in self.seats if not seat.dead
            ]

    def look(self, seat: Seat) -> None:
        seat.rig.agent.reconciler.look_at_git()

    def work(self, seat: Seat, passes: int = 1) -> None:
        """Passes of one agent; it may die of them."""
        for _ in range(passes):
            self._as(seat, seat.rig.step)

    def half_a_pass(self, seat: Seat, tasks: int) -> None:
        """A pass, and only some of what it started."""

        def some() -> None:
            seat.rig.agent.reconciler.run()
            for _ in range(min(tasks, len(seat.rig._tasks))):
                seat.rig._tasks.popleft()()

        self._as(seat, some)

    def all_but_actions(self, seat: Seat, passes: int) -> None:
        """Passes whose actions are about to be carried out, and are not yet."""

        def some() -> None:
            held = []
            for _ in range(passes):
                seat.rig.agent.reconciler.run()
                while seat.rig._tasks:
                    task = seat.rig._tasks.popleft()
                    if task in seat.rig.deeds:
                        held.append(task)
                    else:
                        task()
            seat.rig._tasks.extend(held)

        self._as(seat, some)

    def _as(self, seat: Seat, work: Callable[[], object]) -> None:
        if not seat.works:
            return
        before, self.acting = self.acting, seat
        try:
            work()
        except Killed:
            self.kill(seat)
        finally:
            self.acting = before

    def leaders(self) -> list[Seat]:
        """Who thinks that it may act."""
        return [seat for seat in self.seats if seat.may_act()]

    def _effect(self, what: str, phase: str) -> None:
        if what == "ensure_pool" or self.acting is None:
            return
        if phase == "before":
            others = [seat.name for seat in self.leaders() if seat is not self.acting]
            assert not others, f"{what} by {self.acting.name} while {others} may act"
        if phase == "middle":
            self._in_the_middle(self.acting)
        fuse = self.fuse
        if fuse is None or fuse.phase != phase:
            return
        if fuse.hangs and what in PARTS:
            return
        fuse.left -= 1
        if fuse.left > 0:
            return
        self.fuse = None
        if not fuse.hangs:
            raise Killed
        self._meanwhile(self.acting)

    def _in_the_middle(self, seat: Seat) -> None:
        """Of a start: its QEMU process is there, and its guest does not run yet."""
        if self.looks:
            for host in self.hosts:
                for uuid in host.starting():
                    host._tell(uuid, "lifecycle")
            self.work(seat, 3)
            if seat.dead:
                raise Killed
        if self.failing:
            self.failing -= 1
            raise HostError("HypervisorError", "QEMU ended at once")

    def _meanwhile(self, hung: Seat) -> None:
        """One agent hangs in the middle of its work, and the other one takes over."""
        hung.hung = True
        try:
            self.pass_time(UNTIL_TAKEN_OVER)
            for seat in self.seats:
                if seat.works:
                    self.look(seat)
                    self.work(seat, 4)
        finally:
            hung.hung = False

    def settle(self) -> None:
        """Passes of everybody until nothing is left to do. Time goes on where only time helps."""
        working = [seat for seat in self.seats if seat.works]
        for seat in working:
            self.look(seat)
        for _ in range(400):
            waits = []
            for self.acting in working:
                first = self.acting.rig.step()
                waits += [first, self.acting.rig.agent.reconciler.run()]
            self.acting = None
            busy = any(seat.rig._tasks for seat in working)
            leading = [seat for seat in working if seat.summary.leading]
            if not busy and len(leading) == 1 and leading[0].summary.settled:
                return
            if not busy and min(waits) > 0:
                self.pass_time(min(waits))
        raise AssertionError(f"not settled: {[seat.summary for seat in working]}")

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """What happens meanwhile is nobody's instruction, and happens also where no agent gets."""
        acting, self.acting = self.acting, None
        lost = [host for host in self.hosts if not host.reachable]
        told = [(host, host._subscribers[:]) for host in lost]
        for host in lost:
            host.reachable, host._subscribers[:] = True, []
        try:
            yield
        finally:
            self.acting = acting
            for host, subscribers in told:
                host.reachable, host._subscribers[:] = False, subscribers

    # -- nodes ------------------------------------------------------------------------------------

    def slow(self, host: GuardedHost) -> None:
        for seat in self.seats:
            seat.rig.slow.add(host.name)

    def mend(self, hosts: Iterable[GuardedHost]) -> None:
        """They can be reached, and answer."""
        for host in hosts:
            host.mute.clear()
            for seat in self.seats:
                seat.rig.quick(host.name)
            if not host.reachable:
                host.reconnect()

    # -- Git --------------------------------------------------------------------------------------

    def push(self, files: Mapping[str, Any], ref: str) -> None:
        self.rig.push(files, ref)
