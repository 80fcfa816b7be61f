"""Where things are, on the one node that there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.identity import POOL
from agent.core.known import Fact
from agent.core.model import Key
from agent.kinds.local import Place, labels, place
from tests.golden.case import NODE
from tests.kinds.deciding import PATH, READY, UNREAD, made, view_of


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, None),
        (UNREAD, None),
        ({**READY, (known.NODE, NODE.name): None}, None),
        ({**READY, (known.POOL_PATH, (NODE.name, POOL)): None}, None),
        ({**READY, (known.POOL_PATH, (NODE.name, POOL)): ""}, None),
        (READY, Place(NODE, PATH)),
    ],
)
def test_a_node_is_there_once_it_and_its_pool_have_been_read(
    facts: Mapping[Fact, Any], expected: Place | None
) -> None:
    assert place(view_of(facts), NODE.name) == expected


def test_volumes_lie_in_the_pool() -> None:
    where = Place(NODE, PATH)
    assert (where.name, where.path("a")) == (NODE.name, f"{PATH}/a")


OWN = {
    "kubernetes.io/hostname": NODE.name,
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
}
GIVEN = {"kubernetes.io/os": "other", "zone": "a"}


@pytest.mark.parametrize(
    ("there", "deleted", "expected"),
    [(False, "", OWN), (True, "", {**OWN, **GIVEN}), (True, "1970-01-01T00:00:00Z", OWN)],
)
def test_a_manifest_adds_labels(there: bool, deleted: str, expected: Mapping[str, str]) -> None:
    key = Key("Node", "", NODE.name)
    node = made(key, {}, deleted)
    labelled = replace(node, manifest=replace(node.manifest, labels=GIVEN))
    facts: Mapping[Fact, Any] = {(known.OBJECT, key): labelled if there else None}
    assert labels(view_of(facts), NODE.name) == expected
