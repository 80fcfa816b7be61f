"""What a domain remembers is read as it was written, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from agent.core.metadata import (
    KEPT_OPERATIONS,
    NAMESPACE,
    DomainMetadata,
    Migration,
    Power,
    Recorded,
    from_domain,
    to_xml,
)

FULL = DomainMetadata(
    fleet="fleet",
    namespace="namespace",
    name="name",
    uid="uid",
    created="created",
    generation=3,
    source="commit:file",
    instance="next",
    power=Power(on=True, by="op", at=5, instance="one"),
    labels={"a": "b"},
    annotations={"c": "d\x01"},
    spec={"runPolicy": "Manual", "list": [1, None, True]},
    operations=(
        Recorded("first", "Stop", force=True, target="one", at=4),
        Recorded("second", "Start", force=False, target="two", at=5, cancelled=True),
        Recorded("third", "Evict", force=False, target="two", at=6, failed="Aborted: why"),
    ),
    nvram="EFI",
    home="b",
    epoch=4,
    migration=Migration("second", "a", "b", at=6, epoch=3, converge=True),
)


def read(xml: str) -> DomainMetadata | None:
    return from_domain(etree.fromstring(f"<domain><metadata>{xml}</metadata></domain>"))


@pytest.mark.parametrize(
    "memory",
    [
        FULL,
        replace(FULL, nvram="", operations=(), labels={}, annotations={}, spec={}),
        replace(FULL, power=Power(on=False, by="guest", at=1, instance="")),
        replace(FULL, home="", epoch=0, migration=None),
    ],
)
def test_what_is_written_is_what_is_read(memory: DomainMetadata) -> None:
    assert read(to_xml(memory)) == memory
    assert to_xml(memory) == to_xml(replace(memory, spec=dict(reversed(list(memory.spec.items())))))


ELEMENT = f"{{{NAMESPACE}}}"


@pytest.mark.parametrize(
    ("where", "attribute", "value"),
    [
        (".", "uid", None),
        (".", "generation", "three"),
        (f"{ELEMENT}power", "state", None),
        (f"{ELEMENT}power", "at", "now"),
        (f"{ELEMENT}operation", "target", None),
        (f"{ELEMENT}spec", "", "[]"),
        (f"{ELEMENT}spec", "", "{"),
    ],
)
def test_what_was_edited_by_hand_counts_as_none(
    where: str, attribute: str, value: str | None
) -> None:
    root = etree.fromstring(to_xml(FULL))
    element = root.find(where)
    assert element is not None
    if value is None:
        del element.attrib[attribute]
    elif attribute:
        element.set(attribute, value)
    else:
        element.text = value
    assert read(etree.tostring(root, encoding="unicode")) is None


def test_without_the_element_or_its_power_there_is_none() -> None:
    assert read("") is None
    root = etree.fromstring(to_xml(FULL))
    power = root.find(f"{ELEMENT}power")
    assert power is not None
    root.remove(power)
    assert read(etree.tostring(root, encoding="unicode")) is None


def test_what_has_no_text_is_empty() -> None:
    root = etree.fromstring(to_xml(FULL))
    labels = root.find(f"{ELEMENT}labels")
    assert labels is not None
    root.remove(labels)
    assert read(etree.tostring(root, encoding="unicode")) == replace(FULL, labels={})


def test_the_last_operations_are_remembered_each_once() -> None:
    memory = replace(FULL, operations=())
    entries = [
        Recorded(f"op{number}", "Stop", force=False, target="one", at=number)
        for number in range(KEPT_OPERATIONS + 1)
    ]
    for entry in entries:
        memory = memory.with_operation(entry)
    assert memory.operations == tuple(entries[1:])
    assert KEPT_OPERATIONS == 16
    again = replace(entries[5], cancelled=True)
    memory = memory.with_operation(again)
    assert memory.operations == (*entries[1:5], *entries[6:], again)
    assert memory.recorded("op5") == again
    assert not entries[5].cancelled
    assert memory.recorded("op0") is None
