"""Which pool a class means, and what of a class an object sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.identity import POOL
from agent.core.known import Fact
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.storage_class import Storage, default_class, ready, storage
from agent.kinds.storage_class.decide import ClassData, decide
from tests.kinds.deciding import READY, condition, decided, made, said, view_of

KEY = Key("StorageClass", "", "fast")
POOLS: Mapping[Fact, Any] = {**READY, (known.POOLS, None): {"gitvirt": POOL, "nvme": "vms"}}


def a_class(**content: Json) -> Object:
    obj = made(KEY, {})
    whole = {"volumeBindingMode": "Immediate", "allowVolumeExpansion": True, **content}
    return replace(obj, manifest=replace(obj.manifest, content=whole))


@pytest.mark.parametrize(
    ("facts", "parameters", "pool"),
    [
        (POOLS, {"pool": "nvme"}, "vms"),
        (POOLS, {}, POOL),
        (READY, {"pool": "nvme"}, "nvme"),  # a plan of somebody who has no settings
    ],
)
def test_a_class_means_a_pool_of_the_settings(
    facts: Mapping[Fact, Any], parameters: Json, pool: str
) -> None:
    found = decided(decide, a_class(parameters=parameters), facts)
    assert (found.export, found.ok, found.status) == (ClassData(pool), True, {})


@pytest.mark.parametrize(
    ("content", "waits", "grows"),
    [
        ({}, False, True),
        ({"volumeBindingMode": "WaitForFirstConsumer"}, True, True),
        ({"allowVolumeExpansion": False}, False, False),
        ({"allowVolumeExpansion": None}, False, False),
    ],
)
def test_a_class_says_when_disks_are_made_and_whether_they_grow(
    content: Mapping[str, Json], waits: bool, grows: bool
) -> None:
    found = decided(decide, a_class(**content), POOLS)
    assert found.export == ClassData(POOL, waits=waits, grows=grows)
    facts: Mapping[Fact, Any] = {
        (known.OBJECT, KEY): a_class(),
        (known.EXPORT, KEY): found.export,
    }
    seen = storage("fast", view_of(facts))
    assert (seen.waits, seen.fixed == "") == (waits, grows)
    assert storage("", view_of(facts)).fixed == ""  # of no class


def test_of_several_that_are_marked_the_newest_is_the_default_one() -> None:
    older, newer = Key("StorageClass", "", "z"), Key("StorageClass", "", "a")
    of_kind = Key("StorageClass", "", "")
    assert default_class(view_of({(known.DEFAULTS, of_kind): (older, newer)})) == "a"
    assert default_class(view_of({})) == ""


def test_a_pool_that_no_setting_names_is_told_with_what_to_do() -> None:
    found = decided(decide, a_class(parameters={"pool": "vms"}), POOLS)
    assert not found.ok
    told = condition(found, "Ready")
    assert (told.status, told.reason) == ("False", "StoragePoolNotFound")
    assert "parameters.pool names vms" in told.message
    assert "(gitvirt, nvme)" in told.message
    assert "add it to the settings" in told.message


def test_a_class_goes_whoever_uses_it() -> None:
    gone = decided(decide, made(KEY, {}, deleted="1970-01-01T00:00:00Z"), POOLS)
    assert gone.gone
    assert said(gone) == {}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({(known.EXPORT, KEY): ClassData("vms")}, Storage("fast", "vms")),
        ({(known.EXPORT, KEY): ClassData("", "no pool")}, Storage("fast", "", "no pool")),
        ({}, Storage("fast", "", "is not there")),
    ],
)
def test_an_object_sees_the_class_that_it_names(facts: Mapping[Fact, Any], found: Storage) -> None:
    its_class = storage("fast", view_of({(known.OBJECT, KEY): a_class(), **facts}))
    assert (its_class.name, its_class.pool) == (found.name, found.pool)
    assert found.problem in its_class.problem
    (told,) = ready(its_class, "Lost")
    assert told == (
        Condition("StorageClassReady", "False", "Lost", its_class.problem)
        if found.problem
        else Condition("StorageClassReady", "True", "StorageClassReady")
    )


def test_one_that_is_about_to_go_is_none() -> None:
    going = replace(a_class(), deleted="1970-01-01T00:00:00Z")
    facts: Mapping[Fact, Any] = {(known.OBJECT, KEY): going, (known.EXPORT, KEY): ClassData("vms")}
    assert "is not there" in storage("fast", view_of(facts)).problem
    assert storage("", view_of(facts)) == Storage("", POOL)
    assert ready(Storage(), "Lost") == []
