"""The contract of every host, on libvirt's system daemon."""

from __future__ import annotations

from tests.hypervisor.rigs import Rig
from tests.hypervisor.test_host_contract import (  # noqa: F401
    test_a_destroyed_instance_was_stopped_by_the_host_and_a_start_forgets_it,
    test_a_running_domain_is_not_undefined,
    test_an_overlay_names_what_it_stands_on,
    test_live_metadata_leaves_the_definition_alone,
    test_redefining_a_running_domain_changes_its_next_start_only,
    test_unchanged_readings_are_the_same_instances,
    test_what_is_uploaded_is_in_the_volume,
)
from tests.system.isolated import MACHINE


def test_the_system_daemon_is_no_users_session(rig: Rig) -> None:
    assert rig.host.ensure_pool("gitvirt") == "/var/lib/libvirt/gitvirt"
    node = rig.host.read(frozenset({"gitvirt"})).node
    assert node.name == rig.host.name == MACHINE
    assert not node.session
    assert node.machine.startswith("pc-q35-")


def test_cpu_tuning_is_offered_until_a_running_domain_shows_that_there_is_none(rig: Rig) -> None:
    rig.running()
    assert not rig.host.read(frozenset()).node.cpu_tuning
