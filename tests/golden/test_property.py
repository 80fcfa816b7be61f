"""Whatever a spec asks for: its definition says it, and says it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.metadata import KEPT_OPERATIONS, DomainMetadata, Power, Recorded
from agent.kinds.virtual_machine.definition import differing, expect, parse, read, render
from agent.kinds.virtual_machine.topology import MAX_CORES, problem
from agent.kinds.virtual_machine.wanted import Device, GuestCpu, Wanted
from tests.golden.case import CREATED, NODE

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=30)
PATHS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="/"), min_size=1, max_size=40
).map(lambda name: f"/pool/{name}")
TEXT = st.text(max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MACHINES = ("pc-q35-7.2", "pc-q35-9.1", "q35")
LEGACY_MACHINES = ("pc-i440fx-7.2", "pc-i440fx-9.1", "pc")
SECONDS = st.integers(0, 2**33)
CORES = st.integers(1, MAX_CORES).filter(lambda cores: problem(cores) is None)
SIZES = st.builds("{}{}".format, st.integers(1, 4096), st.sampled_from(("Mi", "Gi", "M", "000Ki")))

CPUS = st.one_of(
    st.sampled_from(("maximum", "host-model", "host-passthrough")).map(GuestCpu),
    st.builds(
        GuestCpu,
        mode=st.just("custom"),
        model=st.sampled_from(("Nehalem", "qemu64")),
        features=st.sets(st.sampled_from(("vmx", "aes", "avx", "ssse3"))).map(
            lambda names: tuple(sorted(names))
        ),
    ),
)
DEVICES = st.lists(
    st.builds(
        Device,
        path=PATHS,
        format=st.sampled_from(("qcow2", "raw")),
        serial=st.text("0123456789abcdef", min_size=1, max_size=32),
        readonly=st.booleans(),
        cdrom=st.booleans(),
        boot=st.integers(0, 16),
    ),
    max_size=16,
).map(tuple)
METADATA = st.builds(
    DomainMetadata,
    fleet=NAMES,
    namespace=NAMES,
    name=NAMES,
    uid=NAMES,
    created=st.just(CREATED),
    generation=st.integers(1, 10**9),
    source=PATHS,
    instance=NAMES,
    power=st.builds(Power, on=st.booleans(), by=NAMES, at=SECONDS, instance=NAMES),
    labels=st.dictionaries(NAMES, TEXT, max_size=4),
    annotations=st.dictionaries(NAMES, TEXT, max_size=4),
    spec=st.dictionaries(TEXT, VALUES, max_size=5),
    operations=st.lists(
        st.builds(
            Recorded,
            uid=NAMES,
            type=st.sampled_from(("Start", "Stop", "Restart", "Automatic", "Reboot")),
            force=st.booleans(),
            target=NAMES,
            at=SECONDS,
            cancelled=st.booleans(),
        ),
        max_size=KEPT_OPERATIONS,
    ).map(tuple),
)
NODES = st.builds(
    lambda session, tuning, virt_type: replace(
        NODE, session=session, cpu_tuning=tuning, virt_type=virt_type
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(("kvm", "qemu")),
)


@st.composite
def wanted(draw: st.DrawFn) -> Wanted:
    os_type = draw(st.sampled_from(("Generic", "Windows", "Legacy")))
    machines = LEGACY_MACHINES if os_type == "Legacy" else MACHINES
    spec: dict[str, Any] = {
        "cpu": {
            "cores": draw(CORES),
            "coreFraction": draw(st.integers(1, 100).map("{}%".format)),
        },
        "memory": {"size": draw(SIZES)},
        "bootloader": draw(st.sampled_from(("BIOS", "EFI", "EFIWithSecureBoot"))),
        "osType": os_type,
        "enableParavirtualization": draw(st.booleans()),
    }
    return Wanted(
        name=draw(NAMES),
        uuid=str(draw(st.uuids())),
        metadata=draw(METADATA),
        spec=spec,
        node=draw(NODES),
        cpu=draw(CPUS),
        devices=draw(DEVICES),
        mac=draw(st.binary(min_size=5, max_size=5)).hex(":"),
        console_log=draw(PATHS),
        machine=draw(st.sampled_from(machines)),
    )


@given(wanted())
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_back(each: Wanted) -> None:
    facts = expect(each)
    assert read(parse(render(facts))) == facts


@given(wanted(), wanted())
@settings(max_examples=100, deadline=None)
def test_two_definitions_differ_where_their_facts_do(one: Wanted, other: Wanted) -> None:
    """What is compared is what is written: no element of a definition is left out of its facts."""
    first, second = expect(one), replace(expect(other), name=one.name, uuid=one.uuid)
    second = replace(second, metadata=first.metadata)
    assert (render(first) == render(second)) == (differing(first, second) == [])
