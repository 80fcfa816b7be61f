"""What the host shows of a machine, as it is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.domain_xml import bare
from agent.core.host import RawDomain
from agent.core.metadata import DomainMetadata
from agent.kinds.virtual_machine.seen import Seen, seen
from tests.golden.case import CATALOGUE
from tests.kinds.virtual_machine.test_intent import SPEC, known

RULES = CATALOGUE.kinds["VirtualMachine"]
XML = bare("default.vm", "uuid", known())
DISK = "<disk><source file='/pool/{0}'/><target bus='scsi'/><serial>{0}</serial>{1}</disk>"


def domain(inactive: str = XML, active: str = "") -> RawDomain:
    return RawDomain("uuid", "default.vm", "running", "booted", inactive, active)


def with_devices(devices: str, memory: DomainMetadata | None = None) -> str:
    xml = bare("default.vm", "uuid", memory or known())
    return xml.replace("</domain>", f"<devices>{devices}</devices></domain>")


def test_what_is_not_there_is_not_seen() -> None:
    assert seen(None, RULES) == Seen(None)
    assert seen(domain(""), RULES) == Seen(domain(""))
    off = seen(domain(), RULES)
    assert (off.active, off.running, off.agent, off.block_job, off.bases) == (
        None,
        None,
        False,
        False,
        {},
    )
    assert off.memory == known()


def test_a_domain_without_a_definition_is_seen_as_it_runs() -> None:
    found = seen(domain("", XML), RULES)
    assert (found.defined, found.memory, found.running) == (None, None, known())


CHANNEL = "<channel><target name='org.qemu.guest_agent.0' state='{}'/></channel>"


@pytest.mark.parametrize(
    ("devices", "agent", "block_job"),
    [
        ("", False, False),
        (CHANNEL.format("connected"), True, False),
        (CHANNEL.format("disconnected"), False, False),
        (DISK.format("root", ""), False, False),
        (DISK.format("root", "<mirror/>"), False, True),
    ],
)
def test_the_running_side_shows_the_agent_and_what_is_under_way(
    devices: str, agent: bool, block_job: bool
) -> None:
    found = seen(domain(active=with_devices(devices)), RULES)
    assert (found.agent, found.block_job) == (agent, block_job)


def test_the_files_below_a_disk_are_those_that_run() -> None:
    below = "<backingStore><source file='/pool/base'/></backingStore>"
    found = seen(domain(active=with_devices(DISK.format("root", below))), RULES)
    assert found.bases == {"root": ("/pool/base",)}


def test_a_spec_from_before_a_field_means_what_it_meant() -> None:
    older = {name: value for name, value in SPEC.items() if name != "bootloader"}
    assert seen(domain(bare("default.vm", "uuid", known(older))), RULES).memory == known()
    assert seen(domain(bare("default.vm", "uuid", known({}))), RULES).memory == known({})
    foreign = seen(domain("<domain><name>default.vm</name></domain>"), RULES)
    assert foreign.memory is None


READ_ONLY = "<readonly/>"


@pytest.mark.parametrize(
    ("virtio", "devices", "readonly"),
    [
        (True, [("root", ""), ("cloudinit", "")], [False, True]),
        (True, [("root", ""), ("cloudinit", READ_ONLY)], [False, True]),
        (True, [("root", READ_ONLY), ("cloudinit", "")], [True, True]),
        (True, [("root", "")], [False]),
        (False, [("root", ""), ("cloudinit", "")], [False, False]),
        (False, [("root", ""), ("sysprep", READ_ONLY)], [False, True]),
    ],
)
def test_an_earlier_medium_counts_as_read_only_where_it_can_be(
    virtio: bool, devices: list[tuple[str, str]], readonly: list[bool]
) -> None:
    memory = known({**SPEC, "enableParavirtualization": virtio})
    xml = with_devices("".join(DISK.format(*each) for each in devices), memory)
    found = seen(domain(xml), RULES).defined
    assert found is not None
    assert [disk.readonly for disk in found.disks.disks] == readonly
    bare_memory = replace(memory, spec={})
    xml = with_devices(DISK.format("cloudinit", ""), bare_memory)
    found = seen(domain(xml), RULES).defined
    assert found is not None
    assert not found.disks.disks[0].readonly
