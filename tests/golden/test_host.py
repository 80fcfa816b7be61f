"""What a real libvirt makes of our definitions: nothing that it fills in by itself is a difference."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.facts import Decision
from agent.core.host import RawDomain
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from agent.kinds.virtual_machine.definition import DomainFacts, parse, read
from agent.reconcile.execute import Executor, Ticket
from agent.reconcile.world import VolumeRead
from tests.golden.case import CASES, NOW, Case, manifests, names
from tests.golden.test_golden import GOLDEN

UPLOADED = 1 << 20


@pytest.mark.parametrize("name", names())
def test_libvirt_keeps_what_is_defined(name: str, session_host: LibvirtHost) -> None:
    xml = (CASES / name / GOLDEN).read_text()
    facts = read(parse(xml))
    session_host.define(xml)
    assert read(parse(shown(session_host, facts.uuid).inactive_xml)) == facts


@pytest.fixture
def real(request: pytest.FixtureRequest, session_host: LibvirtHost) -> Iterator[Case]:
    """The case on the node that there is, with its volumes; they go with it."""
    case = Case(
        manifests(request.param),
        session_host.read(frozenset()).node,
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
    executor = Executor(
        hosts={session_host.name: session_host},
        spool=tmp_path,
        image_limit=0,
        number=itertools.count().__next__,
        progress=lambda _key, _percent: None,
        stopping=lambda: False,
        may_act=lambda: True,
    )
    done: list[list[str]] = []
    raw: RawDomain | None = None
    decision = real.decide()
    while decision.actions and len(done) < 4:
        outcome = executor.run(Ticket(real.key, 1, decision.actions))
        assert not outcome.failed, outcome.message
        done.append(outcome.done)
        for news in outcome.seen:
            if isinstance(news, VolumeRead) and news.volume is not None:
                real.put_volume(news.volume)
        raw = shown(session_host, real.uuid)
        decision = real.decide(raw, NOW + len(done))
    # the second one only writes down that the first one's instance id is used up
    assert [verbs for verbs in done if verbs != ["DefineDomain"]] == [done[0]]
    assert done[0][-2:] == ["DefineDomain", "StartDomain"]
    assert len(done) == 2
    assert raw is not None
    assert raw.active
    assert comparable(read(parse(raw.active_xml))) == comparable(read(parse(raw.inactive_xml)))
    assert decision.changes == ()
    assert conditions(decision).isdisjoint({"DriftDetected", "AwaitingRestartToApplyConfiguration"})


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
