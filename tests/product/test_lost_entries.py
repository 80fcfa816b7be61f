"""What networks hold for machines that went together with the ledger."""

from __future__ import annotations

import pytest

from agent.core.identity import mac_address
from agent.core.network import Held
from agent.reconcile.entries import GRACE
from tests.product.test_address_delivery import entries, pool
from tests.product.test_lost_leases import lose
from tests.rig import Rig, disk, machine, vm_key

__all__ = ["pool"]
GONE = Held(
    "gitvirt", mac_address("default", vm_key("gone")), "10.66.10.77", "gone.default.default.gitvirt"
)
BY_HAND = Held("gitvirt", "52:54:00:00:00:01", "10.66.10.78")
OTHERS = Held("gitvirt", "52:54:00:00:00:02", "10.66.10.79", "gone.default.green.gitvirt")
DOUBTFUL = Held("gitvirt", "52:54:00:00:00:03", "10.66.10.80", "lost.default.default.gitvirt")


@pytest.fixture
def left(pool: Rig) -> Rig:
    """A machine runs; beside what its network holds for it there is more."""
    pool.push({"vm.yaml": [machine(), disk()]})
    pool.settle()
    reading = pool.host.networks["gitvirt"]
    pool.host.add_network(reading.network, *reading.held, GONE, BY_HAND, OTHERS, DOUBTFUL)
    lose(pool)
    pool.settle()
    return pool


def later(rig: Rig, seconds: float = GRACE) -> None:
    """So much later, and what housekeeping does then."""
    for _ in range(int(seconds // 60) + 3):
        rig.now += 60.0
        rig.step()
    rig.settle()


def test_an_entry_of_a_machine_that_nobody_knows_goes_after_a_while_and_no_other(left: Rig) -> None:
    assert GONE in left.host.networks["gitvirt"].held
    later(left)
    held = left.host.networks["gitvirt"].held
    assert GONE not in held
    assert {BY_HAND, OTHERS, DOUBTFUL} < {*held}
    assert "vm.default.default.gitvirt" in entries(left)
    assert left.verbs().count("release_address") == 1


def test_what_is_doubtful_is_told_and_left(left: Rig) -> None:
    later(left)
    (told,) = left.agent.reconciler.summary().problems
    assert told.resource == f"Network gitvirt of node {left.host.name}"
    assert "10.66.10.80" in told.message
    assert "VirtualMachine default/lost" in told.message
    assert "virsh net-update gitvirt delete" in told.message
    assert DOUBTFUL in left.host.networks["gitvirt"].held
    reading = left.host.networks["gitvirt"]
    left.host.add_network(reading.network, *({*reading.held} - {DOUBTFUL}))
    later(left, 60)
    assert left.agent.reconciler.summary().problems == ()


def test_one_whose_manifest_comes_back_in_time_keeps_its_entry(left: Rig) -> None:
    later(left, GRACE / 2)
    left.push({"gone.yaml": [machine("gone", disks=("gone",)), disk("gone")]})
    left.settle()
    later(left)
    assert left.running("gone")
    assert entries(left)["gone.default.default.gitvirt"] == left.vm("gone")["status"]["ipAddress"]


def test_nothing_goes_while_a_manifest_that_cannot_be_read_may_mean_it(left: Rig) -> None:
    left.push({"broken.yaml": "kind: ["})
    left.settle()
    later(left)
    assert GONE in left.host.networks["gitvirt"].held


def test_nothing_goes_while_a_domain_has_its_card(left: Rig) -> None:
    raw = left.host.read_domain(left.uuid())
    assert raw is not None
    mac = mac_address("default", vm_key())
    theirs = raw.inactive_xml.replace(raw.uuid, "5" * 36).replace(mac, GONE.mac)
    left.host.define(theirs.replace("default.vm", "somebody"))
    left.settle()
    later(left)
    assert GONE in left.host.networks["gitvirt"].held
