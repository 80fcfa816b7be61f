"""An upgrade of the agent plans nothing: a domain as an earlier version left it is as good as our own.

`earlier/domain.xml` is never rewritten. Its metadata lacks the fields that the schema has got since, all of which have
defaults: a stored spec means what it meant.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.facts import Decision
from agent.core.host import RawDomain
from agent.core.identity import domain_uuid
from agent.core.metadata import NAMESPACE, to_xml
from agent.kinds.virtual_machine.definition import read
from agent.kinds.virtual_machine.elements.disks import Disk
from agent.kinds.virtual_machine.provisioning import MEDIA
from tests.golden.case import FLEET, NOW, Case, accepted, definition

FOLDER = Path(__file__).parent / "earlier"
NEXT = "00000000000000ff"


@pytest.fixture
def case() -> Case:
    return Case(accepted((FOLDER / "manifest.yaml").read_bytes()))


@pytest.fixture
def running(case: Case) -> RawDomain:
    """The domain with an instance that runs, and the id of the next one renewed, as the earlier version did."""
    xml = (FOLDER / "domain.xml").read_text()
    used = read(DomainText(xml)).metadata
    assert used is not None
    assert case.uuid == domain_uuid(FLEET, case.key)
    head, metadata, tail = xml.partition(f'instance="{used.instance}" generation')
    assert metadata
    later = f'{head}instance="{NEXT}" generation{tail}'
    return RawDomain(case.uuid, "default.linux-vm", "running", "booted", later, xml)


def test_a_running_machine_is_left_as_it_is(case: Case, running: RawDomain) -> None:
    decision = settled(case, running)
    assert decision.actions == ()
    assert decision.changes == ()
    assert decision.status is not None
    types = {each.type for each in decision.status["conditions"]}
    assert types.isdisjoint({"DriftDetected", "AwaitingRestartToApplyConfiguration"})
    assert decision.status["phase"] == "Running"


def test_a_change_of_a_field_that_came_later_is_seen(case: Case, running: RawDomain) -> None:
    text = (FOLDER / "manifest.yaml").read_bytes()
    text = text.replace(b"spec:\n", b"spec:\n  bootloader: EFI\n", 1)
    changed = Case(accepted(text))
    assert [str(each) for each in settled(changed, running).changes] == ["bootloader: BIOS → EFI"]


def test_the_next_definition_has_its_medium_read_only(case: Case, running: RawDomain) -> None:
    settled(case, running)
    case.change({"memory": {"size": "2Gi"}})
    decision = settled(case, running)
    assert [each.path for each in decision.changes] == ["memory.size"]
    medium = medium_of(definition(decision))
    assert medium.readonly
    assert medium.address == medium_of(running.active_xml).address  # not where a new one would be
    active = case.decide(replace(running, inactive_xml=definition(decision)), NOW + 7200)
    assert active.actions == ()
    assert active.status is not None
    assert "DriftDetected" not in {each.type for each in active.status["conditions"]}


def medium_of(xml: str) -> Disk:
    (found,) = [each for each in read(DomainText(xml)).disks.disks if each.serial in MEDIA]
    return found


def settled(case: Case, raw: RawDomain) -> Decision:
    return case.decide(raw, NOW + 3600)


def test_the_file_is_of_an_earlier_version() -> None:
    """It would prove nothing if it held what today's version writes."""
    xml = (FOLDER / "domain.xml").read_text()
    root, facts = parse(xml), read(DomainText(xml))
    assert facts.metadata is not None
    assert not medium_of(xml).readonly
    assert "osType" not in facts.metadata.spec
    assert root.find(f"metadata/{{{NAMESPACE}}}vm") is not None
    assert "osType" not in to_xml(facts.metadata)
