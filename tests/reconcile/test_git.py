from __future__ import annotations

from pathlib import Path

from tests.rig import Rig, disk, machine


def test_an_agent_that_starts_before_the_first_push_goes_on_with_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.step()
    rig.step()
    assert "main" in rig.agent.reconciler.summary().git_error
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert rig.running()
