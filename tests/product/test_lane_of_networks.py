"""Many machines start at once: their entries are written one after the other, and nobody waits for another's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.rig import Rig, disk, machine, settings, static

COUNT = 100


@dataclass
class OneByOne(Rig):
    """What changes networks takes its time: one is done after each pass."""

    waiting: deque[Callable[[], None]] = field(default_factory=deque)

    def _lane(self, name: str, node: str = "") -> Callable[[Callable[[], None]], None]:
        return self.waiting.append if name == "networks" else super()._lane(name, node)

    def step(self) -> float:
        wait = super().step()
        if self.waiting:
            self.waiting.popleft()()
        return wait


def test_a_hundred_starts_share_a_lane_and_each_waits_for_its_own_entry(tmp_path: Path) -> None:
    rig = OneByOne(tmp_path)
    rig.push({"config.yaml": settings("10.66.10.0/24")})
    first = machine("first", disks=("first",), virtualMachineIPAddressName="first")
    rig.push({"first.yaml": [first, static("10.66.10.20", "first"), disk("first")]})
    rig.settle()
    names = [f"vm-{number:03d}" for number in range(COUNT)]
    rig.push(
        {
            f"{name}.yaml": [
                machine(name, disks=(name,), virtualMachineIPAddressName=name),
                static(f"10.66.10.{number + 100}", name),
                disk(name),
            ]
            for number, name in enumerate(names)
        }
    )
    rig.verbs()
    rig.agent.reconciler.look_at_git()
    held: list[int] = []
    for _ in range(3 * COUNT):
        if all(map(rig.running, names)):
            break
        rig.step()
        rig.now += 1.0
        entries = {each.name.partition(".")[0] for each in rig.host.networks["gitvirt"].held}
        on = {name for name in names if rig.running(name)}
        assert on < entries
        assert len(entries - on) <= 3, "first, and what was written a moment ago"
        held.append(len(entries))
    assert all(after - before in (0, 1) for before, after in pairwise(held))
    assert all(map(rig.running, names))
    verbs = rig.verbs()
    assert verbs.count("hold_address") == COUNT
    assert not {"make_network", "start_network", "release_address"} & {*verbs}
