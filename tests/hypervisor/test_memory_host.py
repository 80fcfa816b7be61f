"""What tests can make the host in memory do."""

from __future__ import annotations

import pytest
from lxml import etree

from agent.core.host import GuestInfo, HostError, RawDomain
from tests.hypervisor.rigs import Rig, raw_volume
from tests.memory_host import Killed, MemoryHost


@pytest.fixture
def host() -> MemoryHost:
    return MemoryHost()


@pytest.fixture
def rig(host: MemoryHost) -> Rig:
    return Rig(host)


def seen(host: MemoryHost, uuid: str) -> tuple[str, str, str]:
    domain = host.read_domain(uuid)
    assert domain is not None
    return domain.state, domain.reason, domain.stopped_by


def test_a_guest_obeys_the_power_button_or_not(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.running()
    host.guest_obeys = False
    host.shutdown(uuid)
    assert seen(host, uuid) == ("running", "booted", "")
    host.guest_obeys = True
    host.shutdown(uuid)
    assert seen(host, uuid) == ("shutoff", "shutdown", "guest")


def test_stops_differ_by_their_cause(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.define()
    ends = {}
    for end in (host.guest_poweroff, host.host_signal, host.crash, host.destroy):
        host.start(uuid)
        end(uuid)
        ends[end.__name__] = seen(host, uuid)[1:]
    assert ends == {
        "guest_poweroff": ("shutdown", "guest"),
        "host_signal": ("shutdown", "host"),
        "crash": ("crashed", ""),
        "destroy": ("destroyed", "host"),
    }


def test_a_guests_reboot_keeps_the_instance_until_it_stops(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.running()
    rig.define(uuid=uuid, note="new")
    host.guest_reboot(uuid)
    domain = host.read_domain(uuid)
    assert domain is not None
    assert domain.rebooted
    assert 'note="a"' in domain.active_xml
    rig.events.wait("reboot", uuid)
    host.destroy(uuid)
    host.start(uuid)
    again = host.read_domain(uuid)
    assert again is not None
    assert not again.rebooted


def test_a_lost_host_forgets_why_everything_is_off(rig: Rig, host: MemoryHost) -> None:
    on, off = rig.running("on"), rig.define("off")
    host.lose_host()
    assert seen(host, on) == seen(host, off) == ("shutoff", "unknown", "")
    rig.events.wait("disconnected")
    rig.events.wait("connected")


def test_an_unreachable_host_says_so(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.define()
    host.disconnect()
    for call in (lambda: host.read(frozenset()), lambda: host.start(uuid)):
        with pytest.raises(HostError) as raised:
            call()
        assert raised.value.reason == "HostUnreachable"
    host.reconnect()
    host.start(uuid)
    assert seen(host, uuid)[0] == "running"


def test_an_edit_by_hand_touches_one_side(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.running()

    def more(root: etree._Element) -> None:
        root.find("vcpu").text = "7"  # type: ignore[union-attr]

    host.edit(uuid, more)
    domain: RawDomain | None = host.read_domain(uuid)
    assert domain is not None
    assert ("<vcpu>7<" in domain.inactive_xml, "<vcpu>7<" in domain.active_xml) == (True, False)
    host.edit(uuid, more, live=True)
    domain = host.read_domain(uuid)
    assert domain is not None
    assert "<vcpu>7<" in domain.active_xml


@pytest.mark.parametrize(("fatal", "state"), [("before", "shutoff"), ("after", "running")])
def test_an_agent_killed_before_an_effect_leaves_none_and_after_it_all(
    rig: Rig, host: MemoryHost, fatal: str, state: str
) -> None:
    uuid = rig.define()

    def kill(verb: str, phase: str) -> None:
        if (verb, phase) == ("start", fatal):
            raise Killed

    host.on_effect = kill
    with pytest.raises(Killed):
        host.start(uuid)
    assert seen(host, uuid)[0] == state


def test_effects_are_recorded_in_order(rig: Rig, host: MemoryHost) -> None:
    host.ensure_pool("p")
    host.create_volume("p", raw_volume("v"))
    uuid = rig.define()
    assert host.verbs == [("ensure_pool", "p"), ("create_volume", "p/v"), ("define", uuid)]


def test_a_start_can_fail(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.define()
    host.starting_fails.add(uuid)
    with pytest.raises(HostError):
        host.start(uuid)
    assert seen(host, uuid) == ("shutoff", "failed", "")


def test_a_guests_agent_answers_while_it_runs(rig: Rig, host: MemoryHost) -> None:
    uuid = rig.define()
    host.guests[uuid] = GuestInfo({"id": "alpine"})
    assert host.guest_info(uuid) is None
    host.start(uuid)
    assert host.guest_info(uuid) == GuestInfo({"id": "alpine"})
