"""Where objects stand on the status branch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.ledger import former_path, path_of, trash_path
from agent.core.model import Key
from agent.core.recognition import name_of
from agent.core.schema import Catalogue

CATALOGUE = Catalogue.load()
UID = "11111111-1111-4111-8111-111111111111"


def test_an_object_has_a_file_of_its_name() -> None:
    key = Key("VirtualMachine", "default", "web")
    assert path_of(CATALOGUE, key) == "namespaces/default/virtualmachines/web.yaml"
    assert trash_path(CATALOGUE, key, UID) == (
        f"trash/namespaces/default/virtualmachines/web.{UID}.yaml"
    )
    assert path_of(CATALOGUE, Key("Node", "", "a")) == "cluster/nodes/a.yaml"


@given(
    st.sampled_from(sorted(CATALOGUE.kinds)),
    st.integers(1, 63),
    st.integers(1, 253),
    st.booleans(),
)
def test_no_path_is_longer_than_file_systems_bear(
    kind: str, namespace: int, length: int, trashed: bool
) -> None:
    place = "n" * namespace if CATALOGUE.kinds[kind].namespaced else ""
    paths = set()
    for last in "ab":
        key = Key(kind, place, "x" * (length - 1) + last)
        paths.add(trash_path(CATALOGUE, key, UID) if trashed else path_of(CATALOGUE, key))
    assert len(paths) == 2
    assert all(len(path.encode()) <= 255 and path.endswith(".yaml") for path in paths)


@pytest.mark.parametrize("length", [100, 253])
def test_a_name_is_cut_only_where_it_is_too_long(length: int) -> None:
    key = Key("VirtualMachineOperation", "default", "x" * length)
    assert (path_of(CATALOGUE, key) == former_path(CATALOGUE, key)) is (length == 100)


def test_no_name_is_what_a_longer_one_is_cut_to() -> None:
    """Names are chosen by whoever writes manifests: two objects in one file would be one object."""
    path = path_of(CATALOGUE, Key("VirtualMachine", "default", "x" * 253))
    name = path.rpartition("/")[2].removesuffix(".yaml")
    assert len(name) < 253
    assert name_of({"metadata": {"name": name}}) is None
