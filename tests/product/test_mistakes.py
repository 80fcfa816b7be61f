"""A mistake in the program itself is told where people look, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lxml import etree

from agent.core.host import GuestInfo
from agent.reconcile.sources import http
from tests.plans import branch
from tests.rig import OPERATIONS, Rig, condition, disk, machine, manifest, operation, vm_key

pytestmark = pytest.mark.mistakes


def mistake(*_: object, **__: object) -> Any:
    raise ZeroDivisionError


def once(real: Callable[..., Any]) -> Callable[..., Any]:
    """Raises at its first call."""
    calls: list[None] = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(None)
        return mistake() if len(calls) == 1 else real(*args, **options)

    return call


def test_one_in_an_action_stands_in_the_status_until_it_succeeds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.host, "create_volume", mistake)
    rig.push({"vm.yaml": [disk(), disk("other")]})
    rig.agent.reconciler.look_at_git()
    for _ in range(5):
        rig.step()
    found = rig.document("namespaces/default/virtualdisks/root.yaml")
    assert "ZeroDivisionError" in condition(found, "Ready")["message"]
    monkeypatch.undo()
    rig.settle()
    assert not rig.agent.reconciler.summary().wrong


@pytest.mark.parametrize("what", ["sync", "push", "withdraw"])
def test_one_beside_the_repository_is_told_and_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    git = rig.agent.git
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    monkeypatch.setattr(git, what, once(getattr(git, what)))
    rig.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    for _ in range(3):
        rig.now += 25 * 3600
        rig.step()
        rig.settle()
    assert list(rig.repo.files(rig.repo.fetch()[OPERATIONS])) == []


def test_one_in_reading_the_repository_is_an_error_of_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    monkeypatch.setattr(rig.agent.git, "sync", mistake)
    rig.agent.reconciler.look_at_git()
    for _ in range(2):
        rig.step()
    assert "ZeroDivisionError" in rig.agent.reconciler.summary().git_error


def test_one_after_the_ledger_was_read_does_not_lose_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    git = rig.start().git
    monkeypatch.setattr(git, "_desired", once(git._desired))
    rig.settle()
    rig.now += 5
    rig.settle()
    assert rig.agent.reconciler.records().keys() >= {vm_key()}


def test_one_in_reading_the_host_is_an_error_of_the_node(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig.host, "read", mistake)
    for _ in range(2):
        rig.step()
    assert "ZeroDivisionError" in rig.agent.reconciler.summary().node_error
    monkeypatch.undo()
    rig.now += 5
    for _ in range(2):
        rig.step()
    assert rig.agent.reconciler.summary().node_error == ""


def test_one_in_reading_a_domain_has_the_host_read_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    monkeypatch.setattr(rig.host, "read_domain", once(rig.host.read_domain))
    rig.host.pause(rig.uuid())
    rig.settle()
    rig.now += 5
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pause"


def node(rig: Rig) -> tuple[bool, str]:
    """Whether it is ready, and what is said of it."""
    said = rig.document("agent.yaml")["node"]
    return said["ready"], said["message"]


@pytest.mark.parametrize("what", ["read_domain", "free_space", "guest_info"])
def test_one_in_reading_a_part_of_the_host_is_told_with_the_node_until_it_succeeds(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    monkeypatch.setattr(rig.host, what, mistake)
    rig.host.edit(rig.uuid(), open_channel, live=True)
    rig.host.pause(rig.uuid(), "ioerror")
    for _ in range(5):
        rig.step()
        rig.now += 1
    ready, message = node(rig)
    assert ready
    assert "cannot be read: a mistake in gitvirt itself (ZeroDivisionError)" in message
    assert any(record.exc_info for record in caplog.records)
    monkeypatch.undo()
    rig.host.guests[rig.uuid()] = GuestInfo()
    for _ in range(5):  # no full read is due in so short a time
        rig.step()
        rig.now += 20
    assert node(rig) == (True, "")


def open_channel(root: etree._Element) -> None:
    """As if the guest's agent had started."""
    name = "org.qemu.guest_agent.0"
    (target,) = root.findall(f"devices/channel/target[@name='{name}']")
    target.set("state", "connected")


def test_one_in_a_download_stands_in_the_status(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"dataSource": {"type": "HTTP", "http": {"url": "http://127.0.0.1:9/image"}}}
    monkeypatch.setattr(http, "fetch", mistake)
    image = manifest("VirtualImage", "image", {"storage": "ContainerRegistry", **source})
    rig.push({"image.yaml": image})
    rig.agent.reconciler.look_at_git()
    for _ in range(5):
        rig.step()
    found = rig.document("namespaces/default/virtualimages/image.yaml")
    assert "ZeroDivisionError" in condition(found, "Ready")["message"]


def test_one_in_erasing_a_volume_stands_with_what_lies_in_the_trash(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"disk.yaml": [disk()], "other.yaml": [disk("other")]})
    rig.settle()
    rig.push({"disk.yaml": None})
    rig.settle()
    monkeypatch.setattr(rig.host, "read_bases", mistake)
    rig.now += 8 * 86400
    rig.settle()
    (path,) = (path for path in rig.documents() if path.startswith("trash/"))
    assert b"ZeroDivisionError" in rig.documents()[path]
    monkeypatch.undo()
    rig.now += 3600
    rig.settle()
    assert not any(path.startswith("trash/") for path in rig.documents())


def test_one_in_planning_a_branch_is_the_plan(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    branch(rig, "two-cores", {"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    monkeypatch.setattr(rig.agent.reconciler._plans, "_make", mistake)
    rig.settle()
    for _ in range(5):
        rig.now += rig.step()
    assert b"ZeroDivisionError" in rig.documents()["plans/two-cores.md"]


def test_one_in_looking_at_branches_has_them_looked_at_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    branches = rig.agent.reconciler._plans._branches
    monkeypatch.setattr(branches, "survey", once(branches.survey))
    branch(rig, "two-cores", {"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    rig.settle()
    for _ in range(5):
        rig.now += rig.step()
    assert b"restart: cpu.cores" in rig.documents()["plans/two-cores.md"]
