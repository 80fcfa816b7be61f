"""Whole objects as the status branch has them, and repositories that hold some."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.core import ledger
from agent.core.model import Key, Manifest, Object
from agent.core.schema import Catalogue
from agent.gitrepo.local import LocalRepository
from tests.gitrepo.git import bare, put

CATALOGUE = Catalogue.load()
CREATED = "2026-01-01T00:00:00Z"
CREATED_AT = 1_767_225_600.0


def condition(kind: str, status: str = "True", message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": kind,
        "message": message,
        "lastTransitionTime": CREATED,
        "observedGeneration": 1,
    }


def whole(
    kind: str,
    name: str,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    *,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    created: str = CREATED,
) -> dict[str, Any]:
    """One object, with the schema's defaults."""
    described = CATALOGUE.kinds[kind]
    key = Key(kind, namespace if described.namespaced else "", name)
    content = CATALOGUE.defaulted(described, {"spec": dict(spec or {})})
    obj = Object(
        manifest=Manifest(key, labels or {}, {}, content),
        uid="8b0a1a52-5d4c-4c0e-8f8b-3f4bd2a3d8a1",
        generation=1,
        created=created,
        source="0123456789abcdef0123456789abcdef01234567:vms/linux-vm.yaml",
    )
    return ledger.document(CATALOGUE, ledger.Record(obj, status or {}))


MACHINE = {
    "virtualMachineClassName": "host",
    "cpu": {"cores": 1, "coreFraction": "100%"},
    "memory": {"size": "1Gi"},
    "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
}


def machine(
    name: str = "linux-vm",
    phase: str = "Running",
    *,
    spec: Mapping[str, Any] | None = None,
    conditions: tuple[Mapping[str, Any], ...] = (
        condition("AgentReady"),
        condition("Migratable"),
        condition("Running"),
    ),
    **more: Any,
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "conditions": list(conditions)}
    if phase == "Running":
        status |= {"nodeName": "host-a", "ipAddress": "10.66.10.12"}
    status |= more.pop("status", {})
    return whole("VirtualMachine", name, {**MACHINE, **(spec or {})}, status, **more)


def path(value: Mapping[str, Any]) -> str:
    metadata = value["metadata"]
    return ledger.path_of(
        CATALOGUE, Key(value["kind"], metadata.get("namespace", ""), metadata["name"])
    )


class Fleet:
    """A bare repository with a `main`, and an agent played by the test."""

    def __init__(self, folder: Path) -> None:
        self.root = bare(folder)
        self.main = put(self.root, {"README": "manifests\n"})
        self.now = 0.0

    def write(
        self,
        *objects: Mapping[str, Any],
        gone: tuple[Mapping[str, Any], ...] = (),
        message: str = "agent",
        files: Mapping[str, Any] | None = None,
        at: float = 0.0,
    ) -> str:
        """A commit of the agent on the status branch."""
        changes: dict[str, bytes | None] = {path(each): ledger.dump(each) for each in objects}
        changes |= {path(each): None for each in gone}
        changes |= {name: ledger.dump(value) for name, value in (files or {}).items()}
        with LocalRepository(self.root, lambda: at or self.now) as repository:
            tip = repository.fetch().get("refs/heads/status")
            return repository.commit("refs/heads/status", tip, changes, message)

    def beat(self, at: float, ref: str = "refs/gitvirt/agent") -> None:
        """A sign of the agent's life."""
        with LocalRepository(self.root, lambda: at) as repository:
            tip = repository.fetch().get(ref)
            repository.commit(ref, tip, {"beat": b""}, "beat", parentless=True)

    def agent(self, **more: Any) -> None:
        """agent.yaml, as of an agent that has applied `main`."""
        applied = {"revision": self.main, "since": CREATED}
        content = {
            "fleet": "default",
            "version": "0.1.0",
            "branch": "main",
            "path": ".",
            "attempted": applied,
            "applied": applied,
            "node": {"name": "host-a", "ready": True, "message": ""},
        }
        self.write(files={"agent.yaml": {**content, **more}})

    def operations(self) -> dict[str, dict[str, Any]]:
        """What the operations branch asks for."""
        with LocalRepository(self.root) as repository:
            tip = repository.fetch().get("refs/heads/operations")
            if tip is None:
                return {}
            read = ((file.path, repository.read(file.blob)) for file in repository.files(tip))
            return {name: ledger.load(data) or {} for name, data in read}
