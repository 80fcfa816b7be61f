"""What a document may mean that does not count."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.documents import Document
from agent.core.meaning import Hidden, hidden, in_texts, meant_by, named_by
from agent.core.model import Json, Meant
from agent.core.schema import Catalogue

CATALOGUE = Catalogue.load()
OWN = "virtualization.deckhouse.io/v1alpha2"
VM = "VirtualMachine"


def named(name: str, namespace: str | None = None) -> set[Meant]:
    places = (None,) if namespace is None else (namespace, "")
    return {Meant(None, place, name) for place in places}


def of_kind(kind: str = VM) -> set[Meant]:
    return {Meant(kind, None, None)}


def obj(name: str = "x", kind: Json = VM, **more: Json) -> dict[str, Json]:
    return {"apiVersion": OWN, "kind": kind, "metadata": {"name": name, **more}}


def meant(value: Json, *again: dict[str, Json], misnamed: bool = False) -> set[Meant]:
    parts = tuple((("metadata",), part) for part in again)
    return set(meant_by(CATALOGUE, Document(value, 1, again=parts), misnamed=misnamed))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (obj(), named("x")),
        (obj(namespace="lab"), named("x", "lab")),
        (obj(namespace="A"), named("x")),
        (obj(kind="Thing"), named("x")),
        (obj("X"), of_kind()),
        (obj("X", namespace="lab"), of_kind()),
        (obj("X", kind="Thing"), set()),
        (obj("X", kind=[VM]), set()),
        ({"kind": VM, "spec": {}}, of_kind()),
        ({"apiVersion": OWN, "kind": VM}, set()),
        ({"kind": VM}, set()),
        ({}, set()),
        ([], set()),
        (None, set()),
    ],
)
def test_a_mapping_names_what_has_its_name_or_else_its_kind(
    value: Json, expected: set[Meant]
) -> None:
    assert named_by(CATALOGUE, value) == expected
    assert meant(value) == expected


def test_where_the_name_is_what_does_not_hold_all_of_the_kind_may_be_meant() -> None:
    assert meant(obj(), misnamed=True) == named("x") | of_kind()


def test_a_key_that_stands_there_twice_names_both() -> None:
    """Two documents whose line between them is lost, or one with two names."""
    assert meant(obj(), obj("y", namespace="lab")) == named("x") | named("y", "lab")
    assert meant(obj(), {"name": "y"}) == named("x") | named("y")
    assert meant(obj(), {"name": "Y"}) == named("x")
    assert meant(obj(), obj("Y", kind="VirtualDisk")) == named("x") | of_kind("VirtualDisk")


# -- objects inside of others -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "ours"),
    [
        (obj(), True),
        ({"apiVersion": OWN, "kind": VM}, True),
        ({"kind": VM, "metadata": {}}, True),
        ({"kind": VM, "name": "x"}, False),  # what only refers to one
        ({"kind": VM, "metadata": "x"}, False),
        ({"kind": [VM], "metadata": {}}, False),
        ({"apiVersion": OWN, "metadata": {}}, False),
        ({"apiVersion": OWN, "kind": "VirtualMachin", "metadata": {}}, True),
        ({"apiVersion": OWN, "kind": "Spaceship", "metadata": {}}, True),
        ({"kind": "Spaceship", "metadata": {}}, False),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}}, False),
        ({"apiVersion": "kubevirt.io/v1", "kind": VM, "metadata": {}}, False),
        ([obj()], False),
        ("text", False),
    ],
)
def test_what_has_the_head_of_an_object_is_found_in_another(inner: Any, ours: bool) -> None:
    outer = {"apiVersion": OWN, "kind": VM, "spec": {"list": [1, inner, 2]}, "more": 1}
    found = list(hidden(CATALOGUE, Document(outer, 1)))
    deeper = [Hidden(("spec", "list", 1, 0), obj())] if isinstance(inner, list) else []
    assert found == ([Hidden(("spec", "list", 1), inner)] if ours else deeper)
    if ours:
        assert meant(outer) == of_kind() | named_by(CATALOGUE, inner)


def test_a_document_is_not_inside_of_itself() -> None:
    assert list(hidden(CATALOGUE, Document(obj(), 1))) == []


def test_one_behind_another_is_found_too() -> None:
    again = obj("y")
    found = list(hidden(CATALOGUE, Document({"items": []}, 1, again=(((), again),))))
    assert found == [Hidden((), again)]


def test_what_stands_there_often_is_looked_at_once() -> None:
    """An alias costs nothing, and one that holds itself ends."""
    shared = obj()
    around: dict[str, Json] = {"one": shared, "two": [shared, shared]}
    around["self"] = around
    assert [each.value for each in hidden(CATALOGUE, Document(around, 1))] == [shared]


# -- objects in texts -------------------------------------------------------------------------

MOVED = f"""\
#cloud-config
  ---
  apiVersion: {OWN}
  kind: VirtualMachine
  metadata:
    name: web
  spec:
    blockDeviceRefs:
      - kind: VirtualDisk
        name: 'root'
"""


@pytest.mark.parametrize(
    ("text", "names", "kinds"),
    [
        (MOVED, {"web", "root"}, {VM, "VirtualDisk"}),
        (MOVED.replace("\n", " "), set(), set()),
        (MOVED.replace("apiVersion", "version"), set(), set()),
        (MOVED.replace("VirtualMachine\n", "Thing\n"), {"web", "root"}, {"VirtualDisk"}),
        (MOVED.replace("kind: Virtual", "kind: X"), set(), set()),
        ('{"apiVersion": "v1",\n"kind": "VirtualDisk",\n"name": "a"\n}', {"a"}, {"VirtualDisk"}),
    ],
)
def test_what_was_moved_into_a_text_is_named(text: str, names: set[str], kinds: set[str]) -> None:
    expected = {Meant(None, None, name) for name in names}
    assert in_texts(CATALOGUE, [text, "one line"]) == expected
    whole = {"kind": "Thing", "metadata": {"name": "x"}, "spec": {"userData": text}}
    assert meant(whole) == named("x") | expected | {Meant(kind, None, None) for kind in kinds}
