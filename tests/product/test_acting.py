"""When decisions become deeds, and whose end an end is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.core.host import HostError
from agent.gitrepo.repository import RepositoryError
from tests.memory_repository import MemoryRepository
from tests.rig import STATUS, Rig, disk, machine


class Unwritable(MemoryRepository):
    """Its status branch cannot be written while it is `shut`."""

    shut = True

    def commit(
        self,
        ref: str,
        expected: str | None,
        changes: Mapping[str, bytes | None],
        message: str,
        **how: Any,
    ) -> str:
        if self.shut and ref == STATUS:
            raise RepositoryError("Refused", "the server says no")
        return super().commit(ref, expected, changes, message, **how)


def test_nothing_is_done_for_an_object_that_the_status_branch_does_not_know(
    tmp_path: Path,
) -> None:
    repository = Unwritable()
    rig = Rig(tmp_path, repository=repository)
    rig.push({"vm.yaml": [disk(), machine()]})
    for _ in range(20):
        rig.step()
        rig.now += 10
    assert "the server says no" in rig.agent.reconciler.summary().git_error
    assert rig.verbs() == []
    repository.shut = False
    rig.settle()
    assert rig.running()


def test_the_end_of_what_was_done_for_a_namesake_says_nothing_of_the_new_object(rig: Rig) -> None:
    """A machine is deleted while its domain is being defined, and another one takes its name."""
    first: list[str] = []

    def meanwhile(verb: str, phase: str) -> None:
        if verb != "define" or phase != "before" or first:
            return
        first.append(rig.vm()["metadata"]["uid"])
        for files in ({"vm.yaml": None}, {"vm.yaml": machine()}):
            rig.push(files)
            rig.agent.reconciler.look_at_git()
            for _ in range(4):
                rig.step()
        raise HostError("HypervisorError", "the first one's domain could not be defined")

    rig.push({"disk.yaml": disk()})
    rig.settle()
    rig.host.on_effect = meanwhile
    rig.push({"vm.yaml": machine()})
    rig.agent.reconciler.look_at_git()
    for _ in range(12):  # and no time goes by: the new one has nothing to wait for
        rig.step()
    assert rig.vm()["metadata"]["uid"] != first[0]
    assert rig.running()
    assert rig.vm()["status"]["phase"] == "Running"
