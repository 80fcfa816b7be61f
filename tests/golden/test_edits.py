"""Whatever two definitions differ in is told by what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings

from agent.core.changes import Disposition
from agent.core.drift import DEFINITION, Edit
from agent.core.links import Link
from agent.kinds.virtual_machine.definition import NAMES, DomainFacts, differing, expect, plain
from agent.kinds.virtual_machine.edits import edits
from agent.kinds.virtual_machine.elements.disks import Disks
from agent.kinds.virtual_machine.elements.interfaces import Interfaces
from agent.kinds.virtual_machine.wanted import Wanted
from tests.golden.test_property import wanted


def told(one: DomainFacts, other: DomainFacts, *names: str) -> list[Edit]:
    return [*edits(DEFINITION, one, other, names, {}, Disposition.NONE)]


@given(wanted(), wanted())
@settings(max_examples=100, deadline=None)
def test_every_element_that_differs_is_told_by_what_differs_in_it(
    one: Wanted, other: Wanted
) -> None:
    first, second = expect(one), expect(other)
    for name in differing(first, second):
        found = told(first, second, name)
        assert found
        for each in found:
            assert each.expected != each.found
            assert each.path not in NAMES  # its name alone tells nothing
    assert told(first, second, *NAMES) == [
        each for name in sorted(NAMES) for each in told(first, second, name)
    ]


def changed(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value}x"
        case (*numbers, (name, number)):  # an address
            return (*numbers, (name, f"{number}1"))
        case tuple():
            return (*value, "x")
        case Link():
            return replace(value, vlan=value.vlan + 1)
    raise TypeError(type(value))


def variants(part: Any) -> Iterator[tuple[str, Any]]:
    """The same element with one fact changed, for each fact of it or of a device of it."""
    match part:
        case Disks((first, *more)):
            for name, each in variants(first):
                yield name, Disks((each, *more))
        case Interfaces((first, *more)):
            for name, each in variants(first):
                yield name, Interfaces((each, *more))
        case Disks() | Interfaces():
            return
        case _:
            for field in (each for each in fields(part) if each.compare):
                name = field.name
                yield name, replace(part, **{name: changed(getattr(part, name))})


@given(wanted())
@settings(max_examples=50, deadline=None)
def test_every_fact_is_told(each: Wanted) -> None:
    facts = expect(each)
    for name in NAMES:
        part = getattr(facts, name)
        for field, other in variants(part):
            assert plain(name, other) != plain(name, part), (name, field)


@given(wanted())
@settings(max_examples=20, deadline=None)
def test_devices_in_another_order_are_told_as_that(each: Wanted) -> None:
    facts = expect(each)
    facts = replace(facts, interfaces=Interfaces(facts.interfaces.interfaces[:1]))
    (one,) = facts.interfaces.interfaces
    both = (one, replace(one, mac="52:54:00:00:00:01"))
    there = replace(facts, interfaces=Interfaces(both))
    turned = replace(facts, interfaces=Interfaces(both[::-1]))
    (found,) = told(there, turned, "interfaces")
    assert str(found) == "interfaces in order → in another order"
    assert told(facts, there, "interfaces")[0].path == "interface 52:54:00:00:00:01"
