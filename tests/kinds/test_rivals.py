"""There is one default class, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.model import Desired, Key, Manifest, Problem
from agent.kinds.rivals import apart

MARK = "virtualmachineclass.virtualization.deckhouse.io/is-default-class"
BEFORE = Problem("z.yaml", 1, "VirtualDisk lab/x", "spec", "does not hold")


def manifest(name: str, mark: str = "true", kind: str = "VirtualMachineClass") -> Manifest:
    return Manifest(Key(kind, "", name), {}, {MARK: mark} if mark else {}, {}, line=7)


def desired(*manifests: Manifest) -> Desired:
    return Desired(
        "r",
        {each.key: each for each in manifests},
        {each.key: f"{each.key.name}.yaml" for each in manifests},
        frozenset({Key("VirtualDisk", "lab", "x")}),
        (BEFORE,),
    )


@pytest.mark.parametrize(
    "others",
    [
        (),
        (manifest("b", mark=""),),
        (manifest("b", mark="false"),),
        (manifest("b", kind="VirtualMachine"),),
    ],
)
def test_one_default_class_is_no_rival(others: tuple[Manifest, ...]) -> None:
    said = desired(manifest("a"), *others)
    assert apart(said) is said


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("c", "b", "a")])
def test_of_several_none_counts(names: tuple[str, ...]) -> None:
    plain = manifest("d", mark="")
    said = desired(*map(manifest, names), plain)
    found = apart(said)
    path = f"metadata.annotations.{MARK}"
    others = {"a": "b", "b": "a", "c": "a"}
    problems = [
        Problem(
            f"{name}.yaml",
            7,
            f"VirtualMachineClass {name}",
            path,
            f"marks a second default class beside {others[name]}: mark only one of them",
        )
        for name in sorted(names)
    ]
    assert found == replace(
        said,
        manifests={plain.key: plain},
        paths={plain.key: "d.yaml"},
        invalid=said.invalid | {manifest(name).key for name in names},
        problems=(*problems, BEFORE),
    )


def test_one_that_comes_from_no_file_is_told_without() -> None:
    said = replace(desired(manifest("a"), manifest("b")), paths={}, problems=())
    assert {each.file for each in apart(said).problems} == {""}
