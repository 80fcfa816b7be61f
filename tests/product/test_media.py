"""A guest never configures itself from half a medium, whenever the agent died while it wrote one."""

from __future__ import annotations

import base64
import random

import pytest

from tests.memory_host import Killed
from tests.rig import Rig, disk, machine

MIB = 1 << 20
SEEDED = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "cloud"}}


def cloud(size: int) -> dict[str, object]:
    text = base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cloud"},
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "stringData": {"userData": f"#cloud-config\n#{text}"},
    }


@pytest.mark.parametrize(("size", "part"), [(100, 0), (100, MIB // 2), (1_010_000, MIB)])
def test_one_that_was_uploaded_in_part_is_made_anew(rig: Rig, size: int, part: int) -> None:
    wanted = {"vm.yaml": [disk(), machine(provisioning=SEEDED), cloud(size)]}
    volumes = rig.host.pools.setdefault("gitvirt", {})
    whole = b""

    def die(verb: str, phase: str) -> None:
        nonlocal whole
        if verb == "upload_volume" and phase == "after":
            (seed,) = [each for name, each in volumes.items() if "_seed_" in name]
            whole, seed.content = seed.content, seed.content[:part]
            raise Killed

    rig.host.on_effect = die
    rig.push(wanted)
    with pytest.raises(Killed):
        rig.settle()
    rig.host.on_effect = lambda _verb, _phase: None
    rig.start()
    rig.settle()
    assert rig.running()
    (seed,) = [each for name, each in volumes.items() if "_seed_" in name]
    assert len(whole) > part
    assert seed.content == whole
