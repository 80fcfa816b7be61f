"""What a real libvirt makes of our definitions: nothing that it fills in by itself is a difference."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.facts import Decision
from agent.core.host import RawDomain
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from agent.images.request import Reach
from agent.kinds.virtual_machine.definition import DomainFacts, read, render
from agent.kinds.virtual_machine.elements.disks import Disks
from agent.kinds.virtual_machine.wanted import Tuning
from agent.reconcile.execute import Executor, Ticket
from agent.reconcile.supply import Source
from agent.reconcile.world import VolumeRead
from tests.golden.case import CASES, NODE, NOW, Case, manifests, names
from tests.golden.test_addresses import addresses
from tests.golden.test_golden import GOLDEN

UPLOADED = 1 << 20
TUNINGS = (
    Tuning(detect_zeroes="unmap"),
    Tuning(cache="none", detect_zeroes="unmap"),
    Tuning(cache="none", io="native"),
)


@pytest.mark.parametrize("name", names())
def test_libvirt_keeps_what_is_defined(name: str, session_host: LibvirtHost) -> None:
    xml = (CASES / name / GOLDEN).read_text()
    facts = read(DomainText(xml))
    session_host.define(xml)
    assert read(DomainText(shown(session_host, facts.uuid).inactive_xml)) == facts


@pytest.mark.parametrize("tuning", TUNINGS)
def test_libvirt_keeps_how_disks_are_read_and_written(
    tuning: Tuning, session_host: LibvirtHost
) -> None:
    facts = read(DomainText((CASES / "three-disks" / GOLDEN).read_text()))
    disks = tuple(replace(disk, tuning=tuning) for disk in facts.disks.disks)
    session_host.define(render(replace(facts, disks=Disks(disks))))
    made = read(DomainText(shown(session_host, facts.uuid).inactive_xml))
    assert {disk.tuning for disk in made.disks.disks} == {tuning}


@pytest.mark.parametrize("name", names())
def test_libvirt_has_no_address_left_to_choose(name: str, session_host: LibvirtHost) -> None:
    """Nor does it add a device that needs one, which could be in the way of one of ours later."""
    xml = (CASES / name / GOLDEN).read_text()
    session_host.define(xml)
    made = parse(shown(session_host, read(DomainText(xml)).uuid).inactive_xml)
    assert addresses(made) == addresses(parse(xml))


@pytest.fixture
def real(request: pytest.FixtureRequest, session_host: LibvirtHost) -> Iterator[Case]:
    """The case on the node that there is, with its volumes; they go with it."""
    node = session_host.read(frozenset()).node
    case = Case(
        manifests(request.param),
        replace(node, memory=NODE.memory),  # guests that have just started use little of theirs
        session_host.ensure_pool(POOL),
    )
    for volume in case.volumes.values():
        overlay = volume.name.endswith(".qcow2")
        size = volume.capacity if overlay else UPLOADED
        image_format = "qcow2" if overlay else "raw"
        session_host.create_volume(POOL, volume_xml(volume.name, image_format, size))
    yield case
    session_host.destroy(case.uuid)
    for pool, name in session_host.read_volumes(POOL):
        if name.startswith(f"{case.fleet}_"):
            session_host.delete_volume(pool, name)


@pytest.mark.parametrize("real", names(), indirect=True)
def test_a_running_machine_is_as_it_was_defined(
    real: Case, session_host: LibvirtHost, tmp_path: Path
) -> None:
    done, decision = carried_out(real, session_host, tmp_path)
    raw = shown(session_host, real.uuid)
    # the second one only writes down that the first one's instance id is used up
    assert [verbs for verbs in done if verbs != ["DefineDomain"]] == [done[0]]
    assert done[0][-2:] == ["DefineDomain", "StartDomain"]
    assert len(done) == 2
    assert raw.active
    assert DomainText(raw.active_xml).apart
    assert comparable(read(DomainText(raw.active_xml))) == comparable(
        read(DomainText(raw.inactive_xml))
    )
    assert decision.changes == ()
    assert conditions(decision).isdisjoint({"DriftDetected", "AwaitingRestartToApplyConfiguration"})


@pytest.mark.parametrize("real", ["without-virtio"], indirect=True)
def test_a_change_of_chipset_takes_one_restart_and_leaves_no_difference(
    real: Case, session_host: LibvirtHost, tmp_path: Path
) -> None:
    carried_out(real, session_host, tmp_path)
    first = read(DomainText(shown(session_host, real.uuid).active_xml))
    for number, os_type in enumerate(("Legacy", "Generic"), 1):
        real.change({"osType": os_type})
        done, decision = carried_out(real, session_host, tmp_path, NOW + 1000 * number)
        assert {verb for verbs in done for verb in verbs} == {"DefineDomain"}
        assert [change.path for change in decision.changes] == ["osType"]
        assert "DriftDetected" not in conditions(decision)
        session_host.destroy(real.uuid)
        done, decision = carried_out(real, session_host, tmp_path, NOW + 1000 * number + 500)
        assert done[0][-1] == "StartDomain"
        assert decision.changes == ()
        assert "DriftDetected" not in conditions(decision)
        raw = shown(session_host, real.uuid)
        active, defined = read(DomainText(raw.active_xml)), read(DomainText(raw.inactive_xml))
        assert comparable(active) == comparable(defined)
        assert active.firmware.i440fx == (os_type == "Legacy")
        assert (active.disks == first.disks) == (os_type == "Generic")


def carried_out(
    real: Case, host: LibvirtHost, spool: Path, now: float = NOW
) -> tuple[list[list[str]], Decision]:
    """Decide and act until nothing is left to do: the verbs of each round, and the last decision."""
    executor = Executor(
        hosts={host.name: host},
        source=Source(spool, 0, Reach(), lambda _news: None),
        number=itertools.count().__next__,
        stopping=lambda: False,
        may_act=lambda: True,
    )
    done: list[list[str]] = []
    decision = real.decide(host.read_domain(real.uuid), now)
    while decision.actions and len(done) < 4:
        outcome = executor.run(Ticket(real.key, 1, decision.actions))
        assert not outcome.failed, outcome.message
        done.append(outcome.done)
        for news in outcome.seen:
            if isinstance(news, VolumeRead) and news.volume is not None:
                real.put_volume(news.volume)
        decision = real.decide(host.read_domain(real.uuid), now + len(done))
    return done, decision


def comparable(facts: DomainFacts) -> DomainFacts:
    """Without what libvirt expands or resolves at a start, and without what each start renews."""
    cpu = replace(facts.cpu, mode="", model="", features=())
    firmware = replace(facts.firmware, bootloader="")
    assert facts.metadata is not None
    metadata = replace(facts.metadata, instance="", nvram="")
    return replace(facts, cpu=cpu, firmware=firmware, metadata=metadata)


def conditions(decision: Decision) -> set[str]:
    assert decision.status is not None
    return {each.type for each in decision.status["conditions"]}


def shown(host: LibvirtHost, uuid: str) -> RawDomain:
    raw = host.read_domain(uuid)
    assert raw is not None
    return raw
