"""Which files of the operations branch go once operations have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.core.ledger import load, path_of
from agent.core.model import Desired, Key, Manifest, Problem
from agent.core.schema import Catalogue
from agent.reconcile.withdrawal import withdrawal

CATALOGUE = Catalogue.load()
A, B, C = (Key("VirtualMachineOperation", "lab", name) for name in "abc")
SPEC = {"virtualMachineName": "vm", "type": "Stop"}
NODE = Key("Node", "", "node")


def asked(
    files: Mapping[str, list[Key]], problems: tuple[str, ...] = (), ignored: tuple[str, ...] = ()
) -> Desired:
    keys = {key: path for path, each in files.items() for key in each}
    return Desired(
        "r",
        {key: Manifest(key, {}, {}, {"spec": SPEC}) for key in keys},
        keys,
        problems=tuple(Problem(file, 1, "", "", "x") for file in problems),
        ignored=tuple(Problem(file, 1, "", "", "x") for file in ignored),
    )


def files(wanted: Desired, gone: set[Key], kept: set[Key]) -> dict[str, set[str] | None]:
    """Paths that change, with the names in them; None for those that go."""
    changes = withdrawal(CATALOGUE, wanted, gone, kept)
    return {
        path: None if data is None else {(load(data) or {})["metadata"]["name"]}
        for path, data in changes.items()
    }


OWN = {key: path_of(CATALOGUE, key) for key in (A, B, C)}


@pytest.mark.parametrize(
    ("wanted", "gone", "kept", "expected"),
    [
        (asked({"f": [A]}), set(), {A}, {}),
        (asked({"f": [A]}), {A}, set(), {"f": None}),
        (asked({"f": [A], "g": [B]}), {A}, set(), {"f": None}),
        (asked({"f": [A], "g": [B]}), {B}, set(), {"g": None}),
        (asked({"f": [A], "g": [B]}), {A, B}, set(), {"f": None, "g": None}),
        (asked({"f": [A, B]}), {A, B}, set(), {"f": None}),
        (asked({"f": [A, B]}), {A}, {B}, {"f": None, OWN[B]: {"b"}}),
        (asked({"f": [A, B, C]}), {A}, {B, C}, {"f": None, OWN[B]: {"b"}, OWN[C]: {"c"}}),
        (asked({"f": [A, B]}), {A}, set(), {}),  # b is under way
        (asked({"f": [A, B, C]}), {A}, {B}, {}),
        (asked({"f": [A, NODE]}), {A}, set(), {}),
        (asked({"f": [A], "g": [B]}, problems=("f",)), {A, B}, set(), {"g": None}),
        (asked({"f": [A], "g": [B]}, ignored=("f",)), {A, B}, set(), {"g": None}),
        (asked({OWN[A]: [A, B]}), {B}, {A}, {OWN[A]: {"a"}}),
        (asked({"f": [A, B], OWN[B]: [C]}), {A}, {B}, {}),  # somebody else's file
        (asked({"f": [A, B], OWN[B]: [C]}), {A, C}, {B}, {OWN[B]: None}),
        (asked({"f": [A, B]}, problems=(OWN[B],)), {A}, {B}, {}),
        (asked({"f": [A, B]}, ignored=(OWN[B],)), {A}, {B}, {}),
        (asked({"f": [A, B], OWN[B]: [C], "g": [NODE]}), set(), set(), {}),
    ],
)  # fmt: skip
def test_a_file_goes_when_all_in_it_has_ended(
    wanted: Desired, gone: set[Key], kept: set[Key], expected: dict[str, set[str] | None]
) -> None:
    assert files(wanted, gone, kept) == expected


def test_one_that_stays_is_written_as_it_was_asked_for() -> None:
    wanted = asked({"f": [A, B]})
    labelled = replace(wanted.manifests[B], labels={"a": "b"}, annotations={"c": "d"})
    wanted = replace(wanted, manifests={**wanted.manifests, B: labelled})
    data = withdrawal(CATALOGUE, wanted, {A}, {B})[OWN[B]]
    assert data is not None
    assert load(data) == {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineOperation",
        "metadata": {
            "annotations": {"c": "d"},
            "labels": {"a": "b"},
            "name": "b",
            "namespace": "lab",
        },
        "spec": SPEC,
    }
    plain = withdrawal(CATALOGUE, asked({"f": [A, B]}), {A}, {B})[OWN[B]]
    assert plain is not None
    assert (load(plain) or {})["metadata"] == {"name": "b", "namespace": "lab"}
