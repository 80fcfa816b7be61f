"""Live migrations of an idle guest on shared storage between two hosts, against the bare call. Needs root."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import libvirt

from agent.core.identity import domain_uuid
from agent.core.model import Json, Key
from tests.benchmarks.figures import Figure
from tests.e2e.test_moving import storage_class
from tests.rig import operation
from tests.system.fleet import Fleet
from tests.system.test_migration import objects

ROUNDS = 5
UUID = domain_uuid("default", Key("VirtualMachine", "default", "vm"))


class _Watch(threading.Thread):
    """Until the guest runs on the other host: how long that took, and how long it ran nowhere."""

    def __init__(self, fleet: Fleet, source: str, begun: float) -> None:
        super().__init__(daemon=True)
        self._hosts = {each.name: libvirt.open(each.uri) for each in fleet.machines}
        self._source, self._begun = source, begun
        self.found = (0.0, 0.0)

    def run(self) -> None:
        left = self._begun
        while True:
            running = {name for name, host in self._hosts.items() if _runs(host)}
            now = time.monotonic()
            if self._source in running:
                left = now
            time.sleep(0.005)
            if running and self._source not in running:
                self.found = now - self._begun, now - left
                break
        for host in self._hosts.values():
            host.close()


def _runs(host: libvirt.virConnect) -> bool:
    try:
        state: Json = host.lookupByUUIDString(UUID).state()
    except libvirt.libvirtError:
        return False
    return bool(state[0] == libvirt.VIR_DOMAIN_RUNNING)


def migrate() -> Iterator[Figure]:
    """From the operation to the guest that runs on the other host, and how long it was stopped."""
    fleet = Fleet(2, shared=True)
    try:
        made = objects(fleet, Path(os.environ["GITVIRT_GUEST_IMAGE"]).read_bytes(), "nfs")
        for each in made:
            if each["kind"] == "VirtualDisk":
                each["spec"]["persistentVolumeClaim"] = {"storageClassName": "nfs"}
        fleet.push({"all.yaml": [storage_class("nfs", "nfs"), *made]})
        fleet.start()
        fleet.wait_for(fleet.on, "a guest that runs")
        (first,) = fleet.on()
        fleet.wait_for(lambda: len(fleet.ticks(first)) > 5, "a guest that counts")
        ours = [_moved(fleet, number) for number in range(ROUNDS)]
        fleet.kill()
        bare = [_by_hand(fleet) for _ in range(ROUNDS)]
    finally:
        fleet.close()
    took, moved, stopped = (statistics.median(each) for each in zip(*ours, strict=True))
    call, paused = (statistics.median(each) for each in zip(*bare, strict=True))
    yield Figure("a live migration", moved, "s", 1.05 * call + 0.3)
    yield Figure("the same from the operation on", took, "s")
    yield Figure("the bare call", call, "s")
    yield Figure("its guest is stopped", stopped, "s", paused + 0.4)
    yield Figure("the same of the bare call", paused, "s")


def _moved(fleet: Fleet, number: int) -> tuple[float, float, float]:
    """From the operation on, from the verb on, and how long the guest was stopped."""
    (source,) = fleet.on()
    name = f"move-{number}"
    begun = time.monotonic()
    fleet.ask(operation(name, "vm", "Evict"))
    whole, stopped = _watched(fleet, source, begun)
    ended = time.time()
    verb = [
        line for line in fleet.log().splitlines() if f"MigrateDomain: operation {name} " in line
    ]
    from_verb = ended - datetime.fromisoformat(json.loads(verb[-1])["time"]).timestamp()
    fleet.wait_for(
        lambda: fleet.status("virtualmachineoperations", name).get("phase") == "Completed",
        "its end",
    )
    return whole, from_verb, stopped


def _by_hand(fleet: Fleet) -> tuple[float, float]:
    (source,) = fleet.on()
    target = next(each for each in fleet.machines if each.name != source)
    for seed in (fleet.machine(source).root / "lib" / "gitvirt").glob("*_seed_*"):
        (target.root / "lib" / "gitvirt" / seed.name).write_bytes(seed.read_bytes())
    connection = libvirt.open(fleet.machine(source).uri)
    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PEER2PEER
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_UNSAFE
    )
    given = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{target.address}"}
    begun = time.monotonic()
    watch = _Watch(fleet, source, begun)
    watch.start()
    domain = connection.lookupByUUIDString(UUID)
    domain.migrateToURI3(f"qemu+tcp://{target.address}/system", given, flags)  # type: ignore[arg-type]
    watch.join()
    connection.close()
    return watch.found


def _watched(fleet: Fleet, source: str, begun: float) -> tuple[float, float]:
    watch = _Watch(fleet, source, begun)
    watch.run()
    return watch.found
