"""What is in force of what is pushed, and what may be deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.core.acceptance import (
    FREE_DELETIONS,
    Identity,
    accept,
    deletion_set,
    frozen,
    meant_in,
    prune,
    suspended,
)
from agent.core.ledger import Record
from agent.core.model import Desired, Json, Key, Manifest, Meant, Object, Problem
from agent.core.schema import Catalogue

NOW = 86400.0
CATALOGUE = Catalogue.load()
KINDS = CATALOGUE.kinds


def key(name: str, kind: str = "VirtualMachine", namespace: str = "default") -> Key:
    return Key(kind, namespace, name)


def manifest(each: Key, spec: Mapping[str, Json] = {}, **annotations: str) -> Manifest:
    notes = {f"gitvirt.io/{name}": value for name, value in annotations.items()}
    return Manifest(each, {}, notes, {"spec": dict(spec)})


def known(each: Manifest, **more: Json) -> Object:
    return replace(Object(each, "uid", 2, "1970-01-01T00:00:00Z", "old:vm.yaml"), **more)


def new(each: Key) -> Identity:
    return Identity(f"uid of {each.name}")


VM, DISK = key("vm"), key("disk", "VirtualDisk")


@pytest.mark.parametrize("created", ["", "1969-07-20T20:17:40Z"])
def test_what_is_new_gets_the_identity_that_is_known_of_it(created: str) -> None:
    found = Identity("uid", created, generation=7)
    made = accept(KINDS["VirtualMachine"], manifest(VM), None, "new:f", NOW, lambda _: found)
    assert made == Object(manifest(VM), "uid", 7, created or "1970-01-02T00:00:00Z", "new:f")
    assert accept(KINDS["VirtualMachine"], manifest(VM), None, "new:f", NOW, new).generation == 1


BEFORE = manifest(DISK, {"size": 1})


@pytest.mark.parametrize(
    ("after", "generation", "source"),
    [
        (BEFORE, 2, "old:vm.yaml"),
        (replace(BEFORE, line=9), 2, "old:vm.yaml"),
        (replace(BEFORE, labels={"a": "b"}), 2, "new:f"),
        (replace(BEFORE, annotations={"a": "b"}), 2, "new:f"),
        (manifest(DISK, {"size": 2}), 3, "new:f"),
    ],
)
def test_a_generation_is_another_content_and_a_source_is_another_manifest(
    after: Manifest, generation: int, source: str
) -> None:
    made = accept(KINDS["VirtualDisk"], after, known(BEFORE), "new:f", NOW, new)
    assert made == replace(known(BEFORE), manifest=after, generation=generation, source=source)


@pytest.mark.parametrize(("each", "comes_back"), [(VM, False), (DISK, True)])
def test_a_deletion_is_taken_back_where_it_only_waits(each: Key, comes_back: bool) -> None:
    leaving = known(manifest(each), deleted="1970-01-01T00:00:00Z")
    made = accept(KINDS[each.kind], manifest(each), leaving, "new:f", NOW, new)
    assert made == (replace(leaving, deleted="") if comes_back else leaving)


@pytest.mark.parametrize(
    ("kind", "before", "after", "ready", "paths"),
    [
        ("VirtualDisk", {"dataSource": {"type": "HTTP"}}, {}, True, ["spec.dataSource"]),
        ("VirtualDisk", {"dataSource": {"type": "HTTP"}}, {}, False, []),
        ("VirtualDisk", {"persistentVolumeClaim": {"size": "1Gi"}}, {}, True, []),
    ],
)
def test_some_fields_cannot_be_changed_once_the_object_is_ready(
    kind: str, before: Mapping[str, Json], after: Mapping[str, Json], ready: bool, paths: list[str]
) -> None:
    each = key("x", kind)
    found = frozen(KINDS[kind], known(manifest(each, before)), manifest(each, after), ready=ready)
    assert [path for path, _ in found] == paths
    assert all("cannot be changed once the object is ready:" in said for _, said in found)


def test_some_fields_can_never_be_changed() -> None:
    before, after = (
        manifest(key("x", "VirtualMachineOperation"), {"type": each}) for each in ("Start", "Stop")
    )
    found = frozen(KINDS["VirtualMachineOperation"], known(before), after, ready=False)
    assert found == [("spec.type", "cannot be changed: put it back, or use a new name")]


# What may be deleted


def records(*keys: Key, **annotations: str) -> dict[Key, Record]:
    return {each: Record(known(manifest(each, {}, **annotations)), {}) for each in keys}


def code_of(*keys: Key) -> str:
    return deletion_set(each.obj for each in records(*keys).values())


def desired(*keys: Key, **more: Json) -> Desired:
    return replace(Desired("r", {each: manifest(each) for each in keys}), **more)


def vms(count: int) -> tuple[Key, ...]:
    return tuple(key(f"vm{number}") for number in range(count))


OTHER = key("other", "VirtualImage")


def test_what_has_no_manifest_any_more_is_deleted() -> None:
    found = prune(CATALOGUE, desired(OTHER), {OTHER}, records(VM, OTHER), "")
    assert (found.delete, found.held) == ((VM,), ())


@pytest.mark.parametrize("why", ["wanted", "invalid", "deleted already"])
def test_nothing_happens_to_what_is_not_missing(why: str) -> None:
    there = records(VM, OTHER)
    if why == "deleted already":
        there[VM] = Record(replace(there[VM].obj, deleted="1970-01-01T00:00:00Z"), {})
    said = desired(OTHER, invalid=frozenset({VM} if why == "invalid" else ()))
    found = prune(CATALOGUE, said, {OTHER, VM} if why == "wanted" else {OTHER}, there, "")
    assert (found.delete, found.held) == ((), ())


@pytest.mark.parametrize(
    ("said", "held"),
    [
        (desired(OTHER, broken=("a.yaml", "b.yaml")), "a.yaml, b.yaml cannot be read"),
        (desired(), "no manifest is left"),
        (desired(key("op", "VirtualMachineOperation")), "no manifest is left"),
        (desired(OTHER, meant={Meant(None, None, "vm"): "c.yaml:3"}), "c.yaml:3 may be meant"),
    ],
)
def test_nothing_is_deleted_while_it_may_be_a_mistake(said: Desired, held: str) -> None:
    found = prune(CATALOGUE, said, said.manifests, records(VM), "")
    assert found.delete == ()
    (problem,) = found.held
    assert problem.resource == str(VM)
    assert held in problem.message


def test_what_others_have_declared_counts_as_left() -> None:
    assert prune(CATALOGUE, desired(), (), records(VM), "", {"VirtualMachine": 1}).delete == (VM,)
    assert not prune(
        CATALOGUE, desired(), (), records(VM), "", {"VirtualMachineOperation": 1}
    ).delete


@pytest.mark.parametrize("annotation", ["prune", "reconcile"])
@pytest.mark.parametrize(("value", "stays"), [("disabled", True), ("enabled", False)])
def test_an_annotation_keeps_an_object(annotation: str, value: str, stays: bool) -> None:
    there = {**records(VM, **{annotation: value}), **records(key("b"))}
    found = prune(CATALOGUE, desired(OTHER), {OTHER}, there, "")
    assert found.delete == ((key("b"),) if stays else (key("b"), VM))
    assert [each.resource for each in found.held] == ([str(VM)] if stays else [])
    assert suspended(there[VM].obj.manifest) is (stays and annotation == "reconcile")


def test_what_two_annotations_keep_is_told_of_once() -> None:
    there = records(VM, prune="disabled", reconcile="disabled")
    (problem,) = prune(CATALOGUE, desired(OTHER), {OTHER}, there, "").held
    assert (problem.file, problem.line, problem.resource) == ("", 0, str(VM))


@pytest.mark.parametrize("kind", ["VirtualMachine", "VirtualDisk"])
@pytest.mark.parametrize(
    ("going", "there", "free"),
    [
        (FREE_DELETIONS, 3, True),
        (FREE_DELETIONS + 1, 3, False),
        (FREE_DELETIONS + 1, 9, False),
        (FREE_DELETIONS + 1, 10, True),  # three tenths
        (4, 13, False),
        (4, 14, True),
    ],
)
def test_too_many_at_once_wait_for_a_confirmation(
    kind: str, going: int, there: int, free: bool
) -> None:
    every = tuple(sorted(key(f"x{number:02}", kind) for number in range(there)))
    gone, left = every[:going], every[going:]
    known_ones = records(*every)
    found = prune(CATALOGUE, desired(OTHER), left, known_ones, "")
    assert found.delete == (gone if free else ())
    assert {each.resource for each in found.held} == (set() if free else set(map(str, gone)))
    assert all(f"{going} of {there}" in each.message for each in found.held)
    assert prune(CATALOGUE, desired(OTHER), left, known_ones, code_of(*gone)).delete == gone
    assert (
        bool(prune(CATALOGUE, desired(OTHER), left, known_ones, code_of(*gone[1:])).delete) is free
    )
    here, elsewhere = records(*gone), {kind: there - going}
    assert prune(CATALOGUE, desired(OTHER), (), here, "", elsewhere).delete == found.delete
    leaving = {
        each: Record(replace(record.obj, deleted="1970-01-01T00:00:00Z"), {})
        for each, record in records(key("leaves", kind)).items()
    }
    assert prune(CATALOGUE, desired(OTHER), left, {**known_ones, **leaving}, "") == found


def test_a_confirmation_of_what_is_in_doubt_deletes_just_that() -> None:
    said = desired(OTHER, meant={Meant(None, None, "vm"): "c.yaml:3"})
    doubted = prune(CATALOGUE, said, {OTHER}, records(VM, key("sure")), "")
    assert doubted.delete == (key("sure"),)
    assert code_of(VM) in doubted.held[0].message
    assert prune(CATALOGUE, said, {OTHER}, records(VM, key("sure")), code_of(VM)).delete == (
        key("sure"),
        VM,
    )


@pytest.mark.parametrize(
    ("stranger", "may_be"),
    [
        (key("x"), True),
        (key("x", namespace="elsewhere"), False),
        (key("vm", namespace="elsewhere"), True),
        (key("x", "VirtualDisk"), False),
        (key("b"), False),  # it is known: the document means that one
    ],
)
def test_a_stranger_that_does_not_hold_may_be_another_name_of_an_object(
    stranger: Key, may_be: bool
) -> None:
    problem = Problem("f.yaml", 7, str(stranger), "spec", "does not hold")
    said = desired(OTHER, invalid=frozenset({stranger}), problems=(problem,))
    assert meant_in(said, VM, records(VM, key("b"))) == ("f.yaml:7" if may_be else "")
