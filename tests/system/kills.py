"""Moves a guest that counts from host to host, and kills something at random in each move:

    GITVIRT_GUEST_IMAGE=guest.qcow2 python -m tests.system.kills [ROUNDS] [SEED] [WHAT…]

Afterwards it runs on one host, nothing of it is on the other, and it counts on from where it was; only where its QEMU was
killed it was booted, or where it has panicked: QEMU before 9.0 can lose what an emulated guest writes in a move. In the end its
disk holds each number once. Needs root; no part of the tests.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt

from agent.core.identity import domain_name, unfinished
from tests.e2e.test_moving import storage_class
from tests.rig import operation, vm_key
from tests.system.fleet import Fleet
from tests.system.isolated import FOLDERS, SHARED
from tests.system.test_migration import objects

LONGEST = 4.0
"""Seconds into a move until something is killed."""
PATIENCE = 300.0
"""Seconds after which what does not come right is stuck."""
WHAT = ("agent", "source", "target", "source-qemu", "target-qemu", "link", "nothing")
WAYS = ("evict", "drain", "rules")
"""What makes it move."""
BOOTED = re.compile(r"began with ([0-9]+)")
"""What a guest says at each boot, and how far its disk has come."""
PANIC = "Kernel panic"


class Witness(threading.Thread):
    """Looks all the time whether the guest runs twice."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(daemon=True)
        self._fleet, self.twice = fleet, 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            self.twice += len(self._fleet.on()) > 1


@dataclass
class Round:
    """One move."""

    fleet: Fleet
    objects: list[dict[str, Any]]
    number: int
    chance: random.Random
    what: str
    way: str = field(init=False)
    after: float = field(init=False)

    def __post_init__(self) -> None:
        (self.source,) = self.fleet.on()
        self.target = "pt-2" if self.source == "pt-1" else "pt-1"
        self.way, self.after = self.chance.choice(WAYS), self.chance.uniform(0.0, LONGEST)

    def run(self) -> str:
        """What it came to."""
        (last, _) = self.fleet.ticks(self.source)[-1]  # which may be of a boot before this one
        ((count, up),) = self.fleet.wait_for(
            lambda: self._beyond(self.source, last), "a guest that counts"
        )
        panics = self.fleet.console(self.source).count(PANIC)
        self.ask()
        time.sleep(self.after)
        self.kill()
        said = self.end()
        self.fleet.wait_for(self.is_well, "a machine that is well", PATIENCE)
        (at,) = self.fleet.on()
        ((now, since),) = self.fleet.wait_for(
            lambda: self._beyond(at, count), "a guest that counts on"
        )
        booted = any(int(each) >= count for each in BOOTED.findall(self.fleet.console(at)))
        panicked = self.fleet.console(at).count(PANIC) > (panics if at == self.source else 0)
        excused = panicked or self.what.endswith("qemu")
        assert excused or (not booted and since >= up), "it was booted"
        went = f"{self.source} → {at}{', booted' * booted}{', panicked' * panicked}"
        return f"{self.way}, {self.what} after {self.after:.2f} s: {went}, {count} → {now}; {said}"

    def _beyond(self, at: str, count: int) -> list[tuple[int, int]]:
        """What it has counted last, if that is more."""
        return [each for each in self.fleet.ticks(at)[-1:] if each[0] > count]

    def ask(self) -> None:
        match self.way:
            case "evict":
                self.fleet.ask(operation(f"move-{self.number}", "vm", "Evict"))
            case "drain":
                self._drains = subprocess.Popen(
                    [sys.executable, "-m", "agent", "drain", self.source, "--timeout", "120s"],
                    env=self.fleet.environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            case "rules":
                self.rule({"kubernetes.io/hostname": self.target})

    def end(self) -> str:
        """Wait for its end, and take back what was asked."""
        match self.way:
            case "evict":
                return self.fleet.wait_for(self._operation, "an end of the operation", PATIENCE)
            case "drain":
                said = self._drains.communicate()[0].strip().rpartition("\n")[2]
                return f"{said}; {self.fleet.gitvirt('uncordon', self.source).strip()}"
            case _:
                moved = _comes(lambda: self.fleet.vm().get("nodeName") == self.target, 100.0)
                self.rule({})
                return "it fits" if moved else "it was not moved in time"

    def _operation(self) -> str:
        status = self.fleet.status("virtualmachineoperations", f"move-{self.number}")
        if status.get("phase") not in ("Completed", "Failed"):
            return ""
        told = next(each for each in status["conditions"] if each["type"] == "Completed")
        return f"{status['phase']} {told.get('message', '')}"

    def rule(self, selector: dict[str, str]) -> None:
        *rest, vm = self.objects
        spec = {**vm["spec"], **({"nodeSelector": selector} if selector else {})}
        self.fleet.push({"all.yaml": [*rest, {**vm, "spec": spec}]})

    def kill(self) -> None:
        fleet, chance = self.fleet, self.chance
        side = fleet.machine(self.source if self.what.startswith("source") else self.target)
        match self.what:
            case "agent":
                fleet.kill()
                time.sleep(chance.uniform(0.0, 2.0))
                fleet.start()
            case "source" | "target":
                if pid := side.daemon():
                    os.kill(pid, signal.SIGKILL)
            case "source-qemu" | "target-qemu":
                for pid in side.qemus():
                    os.kill(pid, signal.SIGKILL)
            case "link":
                fleet.machine("pt-2").link(fleet.machines[0], up=False)
                time.sleep(chance.choice((1.0, 5.0, 45.0)))
                fleet.machine("pt-2").link(fleet.machines[0], up=True)

    def is_well(self) -> bool:
        """One copy, on one host, and nothing on its way."""
        fleet, status = self.fleet, self.fleet.vm()
        states, running = fleet.states(), fleet.on()
        if status.get("phase") != "Running" or len(states) != 1 or len(running) != 1:
            return False
        if any(each["type"] == "Migrating" for each in status["conditions"]):
            return False
        return not any(
            name.endswith(unfinished("")) or (machine.name != running[0] and "_disk_" in name)
            for machine in fleet.machines
            for name in fleet.volumes(machine.name)
        )

    def told(self) -> str:
        """All that is known where it went wrong."""
        parts = [
            f"{self.way}, {self.what} after {self.after:.2f} s from {self.source}",
            f"{self.fleet.states()} {self.fleet.vm()}",
            self.fleet.log()[-12_000:],
        ]
        for machine in self.fleet.machines:
            parts.append(
                f"-- console on {machine.name}\n{self.fleet.console(machine.name)[-4000:]}"
            )
            logs = (machine.root / "log" / "qemu").glob("*.log")
            parts += [f"-- QEMU on {machine.name}\n{log.read_text()[-4000:]}" for log in logs]
        return "\n".join(parts)


def _comes(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def written(fleet: Fleet) -> list[int]:
    """What the guest has counted, as its disk has it, once it is off."""
    fleet.kill()
    (at,) = fleet.on()
    connection = libvirt.open(fleet.machine(at).uri)
    connection.lookupByName(domain_name(vm_key())).destroy()
    connection.close()
    (disk,) = (each for each in (fleet.folder / "common").iterdir() if "_disk_" in each.name)
    raw = fleet.folder / "common" / "raw"
    there = Path(FOLDERS["lib"], SHARED)
    convert = ("qemu-img", "convert", "-O", "raw", str(there / disk.name), str(there / raw.name))
    mounts = ("nsenter", "-t", str(fleet.machine(at).pid), "-m")
    subprocess.run([*mounts, *convert], check=True)
    checked = subprocess.run(["e2fsck", "-fy", str(raw)], check=False, stdout=subprocess.DEVNULL)
    assert checked.returncode <= 1, f"the disk is not whole: {checked.returncode}"  # 1: journal
    show = ["debugfs", "-R", "cat /log", str(raw)]
    found = subprocess.run(show, check=True, capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def main(rounds: int, seed: int, what: tuple[str, ...]) -> None:
    chance = random.Random(seed)
    fleet = Fleet(2, shared=True)
    try:
        made = objects(fleet, Path(os.environ["GITVIRT_GUEST_IMAGE"]).read_bytes(), "nfs")
        fleet.push({"class.yaml": [storage_class("nfs", "nfs")], "all.yaml": made})
        fleet.start()
        (first,) = fleet.wait_for(fleet.on, "a guest that runs")
        fleet.wait_for(lambda: len(fleet.ticks(first)) > 5, "a guest that counts")
        witness = Witness(fleet)
        witness.start()
        for number in range(rounds):
            one = Round(fleet, made, number, chance, chance.choice(what))
            try:
                print(f"{number + 1}: {one.run()}", flush=True)
                assert not witness.twice, "it ran twice"
            except AssertionError:
                print(one.told(), flush=True)
                raise
        witness.ended.set()
        counted = written(fleet)
        assert counted == list(range(1, len(counted) + 1)), "its disk is not what it has written"
        print(f"{rounds} rounds (seed {seed}): it never ran twice, and its counter never went back")
    finally:
        fleet.close()


if __name__ == "__main__":
    rounds, seed, *kinds = [*sys.argv[1:], *["20", "1"][len(sys.argv) - 1 :]]
    main(int(rounds), int(seed), tuple(kinds) or WHAT)
