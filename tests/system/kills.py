"""Moves a guest that counts from host to host, and kills something at random in each move:

    GITVIRT_GUEST_IMAGE=guest.qcow2 python -m tests.system.kills [ROUNDS] [SEED]

Afterwards it runs on one host, nothing of it is on the other, and it counts on from where it was. Needs root; no part of the tests.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from agent.core.identity import unfinished
from tests.e2e.test_moving import storage_class
from tests.rig import operation
from tests.system.fleet import Fleet
from tests.system.test_migration import objects

LONGEST = 5.0
"""Seconds into a move until something is killed."""
WHAT = ("agent", "source", "target", "link", "nothing")


class Witness(threading.Thread):
    """Looks all the time whether the guest runs twice."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self._fleet, self.twice = fleet, 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            self.twice += len(self._fleet.on()) > 1


def move(fleet: Fleet, number: int, chance: random.Random) -> str:
    """One round; what it came to."""
    (source,) = fleet.on()
    target = "pt-2" if source == "pt-1" else "pt-1"
    before = fleet.ticks(source)[-1][0]
    what, after = chance.choice(WHAT), chance.uniform(0.0, LONGEST)
    name = f"move-{number}"
    fleet.ask(operation(name, "vm", "Evict"))
    time.sleep(after)
    _break(fleet, what, source, target, chance)
    end = time.monotonic() + 240
    while not _is_well(fleet, name):
        assert time.monotonic() < end, (
            what,
            after,
            fleet.states(),
            fleet.vm(),
            fleet.log()[-8000:],
        )
        time.sleep(0.2)
    (at,) = fleet.on()
    now = fleet.wait_for(lambda: fleet.ticks(at)[-1:], "a guest that goes on")[0][0]
    assert now >= before, f"the counter went back from {before} to {now}"
    status = fleet.status("virtualmachineoperations", name)
    said = next(each["message"] for each in status["conditions"] if each["type"] == "Completed")
    return f"{what} after {after:.2f} s: {status['phase']}, on {at}, counts {before} → {now} {said}"


def _break(fleet: Fleet, what: str, source: str, target: str, chance: random.Random) -> None:
    match what:
        case "agent":
            fleet.kill()
            time.sleep(chance.uniform(0.0, 2.0))
            fleet.start()
        case "source" | "target":
            pid = fleet.machine(source if what == "source" else target).daemon()
            if pid:
                os.kill(pid, signal.SIGKILL)
        case "link":
            fleet.machine("pt-2").link(fleet.machines[0], up=False)
            time.sleep(chance.choice((1.0, 5.0, 45.0)))
            fleet.machine("pt-2").link(fleet.machines[0], up=True)


def _is_well(fleet: Fleet, name: str) -> bool:
    """One copy, on one host, and the operation has ended."""
    phase = fleet.status("virtualmachineoperations", name).get("phase")
    if phase not in ("Completed", "Failed") or fleet.vm().get("phase") != "Running":
        return False
    states = fleet.states()
    if len(states) != 1 or len(fleet.on()) != 1:
        return False
    (at,) = fleet.on()
    left = [
        each
        for machine in fleet.machines
        for each in fleet.volumes(machine.name)
        if each.endswith(unfinished("")) or (machine.name != at and "_disk_" in each)
    ]
    return not left


def main(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(2, shared=True)
    try:
        guest = Path(os.environ["GITVIRT_GUEST_IMAGE"]).read_bytes()
        fleet.push({"all.yaml": [storage_class("nfs", "nfs"), *objects(fleet, guest, "nfs")]})
        fleet.start()
        fleet.wait_for(fleet.on, "a guest that runs")
        (first,) = fleet.on()
        fleet.wait_for(lambda: len(fleet.ticks(first)) > 5, "a guest that counts")
        witness = Witness(fleet)
        witness.start()
        for number in range(rounds):
            print(f"{number + 1}: {move(fleet, number, chance)}", flush=True)
            assert not witness.twice, "it ran twice"
        witness.ended.set()
        print(f"{rounds} rounds (seed {seed}): it never ran twice, and its counter never went back")
    except AssertionError:
        print(fleet.log()[-12_000:])
        raise
    finally:
        fleet.close()


if __name__ == "__main__":
    main(*(int(each) for each in (sys.argv[1:] + ["20", "1"][len(sys.argv) - 1 :])))
