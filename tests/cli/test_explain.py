from __future__ import annotations

import pytest

from agent.cli.explain import explained
from agent.core.schema import Catalogue, Kind
from tests.cli.conftest import Gitvirt

CATALOGUE = Catalogue.load()


def test_a_kind_and_its_fields(gitvirt: Gitvirt) -> None:
    """Without any repository."""
    result = gitvirt("explain", "vm")
    assert (result.code, result.err) == (0, "")
    assert result.lines[:3] == [
        "GROUP:      virtualization.deckhouse.io",
        "KIND:       VirtualMachine",
        "VERSION:    v1alpha2",
    ]
    assert "  spec\t<Object> -required-" in result.lines


def test_a_field_says_all_that_one_has_to_know() -> None:
    def of(kind: str, path: str) -> list[str]:
        return list(explained(CATALOGUE.find(kind), path.split("."), recursive=False))

    policy = of("vm", "spec.runPolicy")
    assert "FIELD: runPolicy <string>" in policy
    assert "    AlwaysOnUnlessStoppedManually" in policy
    assert 'DEFAULT:    "AlwaysOnUnlessStoppedManually"' in policy
    assert "APPLIES:    at once, also to a machine that runs" in policy
    cores = of("vm", "spec.cpu.cores")
    assert "FIELD: cores <integer> -required-" in cores
    assert "ALLOWED:    a whole number from 1 to 248" in cores
    assert (
        "APPLIES:    at the next restart of the machine, because a guest has the cores, and the share of them, that it was started with"
        in cores
    )
    devices = of("vm", "spec.blockDeviceRefs")
    assert "FIELD: blockDeviceRefs <[]Object> -required-" in devices
    assert "  bootOrder\t<integer>" in devices
    assert any(line.startswith("HERE:") for line in of("vm", "spec.gpus"))
    assert "CHANGES:    only until the object is ready" in of("vd", "spec.dataSource.http.url")
    assert "FIELD: data <map[string]string>" in of("secret", "data")
    assert "VERSION:    v1alpha2, v1alpha3" in of("vmclass", "spec")


def test_recursively_it_is_a_tree(gitvirt: Gitvirt) -> None:
    lines = gitvirt("explain", "vm.spec.cpu", "--recursive").lines
    assert lines[-2:] == ["  cores\t<integer> -required-", "  coreFraction\t<string>"]
    assert "      blockDeviceRefs" not in lines
    nested = gitvirt("explain", "vd", "--recursive").lines
    assert "      http\t<Object>" in nested
    assert "        url\t<string> -required-" in nested


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("vm.spec.cpus", "VirtualMachine has no field spec.cpus: did you mean spec.cpu?"),
        ("vm.spec.cpu.xyzzy", "known are cores, coreFraction"),
        ("vm.spec.cpu.cores.more", "there are none below spec.cpu.cores"),
        ("vmm.spec", "there is no kind"),
    ],
)
def test_what_is_not_there_says_what_was_meant(gitvirt: Gitvirt, field: str, said: str) -> None:
    result = gitvirt("explain", field)
    assert (result.code, result.out) == (1, "")
    assert said in result.err


@pytest.mark.parametrize("kind", CATALOGUE.kinds.values(), ids=lambda kind: kind.name)
def test_every_field_of_every_kind_can_be_explained(kind: Kind) -> None:
    paths = [path for path, _ in kind.fields() if path[0] not in ("metadata", "status")]
    assert paths
    for path in paths:
        lines = list(explained(kind, path, recursive=False))
        assert lines[lines.index("DESCRIPTION:") + 1].strip()
