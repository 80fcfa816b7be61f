"""Each kind has an example, and all of them hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.assembly import assemble
from agent.core.manifests import read_file
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.kinds.registry import CHECKS
from agent.kinds.virtual_disk.spec import disk_spec
from agent.kinds.virtual_image.spec import image_spec
from agent.kinds.virtual_machine.spec import machine_spec

FILES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))
CATALOGUE = Catalogue.load()
DESIRED = assemble(
    "0" * 40, [(f.name, read_file(CATALOGUE, CHECKS, f.read_bytes())) for f in FILES]
)


def test_every_example_is_valid_and_applied() -> None:
    assert DESIRED.problems == ()
    assert DESIRED.ignored == ()
    assert DESIRED.complete
    assert {DESIRED.paths[key] for key in DESIRED.manifests} == {file.name for file in FILES}


def test_each_kind_has_one_that_people_may_declare() -> None:
    declared = {name for name, kind in CATALOGUE.kinds.items() if not kind.lock}
    assert {key.kind for key in DESIRED.manifests} == declared


def test_the_first_machine_has_all_that_it_refers_to() -> None:
    vm = DESIRED.manifests[Key("VirtualMachine", "default", "linux-vm")]
    assert vm.spec["cpu"] == {"cores": 1, "coreFraction": "10%"}
    assert vm.spec["memory"] == {"size": "1Gi"}
    (device,) = machine_spec(vm.spec)["blockDeviceRefs"]
    disk = DESIRED.manifests[Key(device["kind"], "default", device["name"])]
    source = disk_spec(disk.spec)["dataSource"]["objectRef"]
    image = DESIRED.manifests[Key(source["kind"], "default", source["name"])]
    assert (
        image_spec(image.spec)["dataSource"]["http"]["url"] == "http://127.0.0.1:8000/guest.qcow2"
    )


@pytest.mark.parametrize("name", ["linux-vm", "linux-vm-root", "guest"])
def test_the_quickstart_uses_nothing_that_is_left_to_later(name: str) -> None:
    (manifest,) = (manifest for key, manifest in DESIRED.manifests.items() if key.name == name)
    assert manifest.notes == ()
