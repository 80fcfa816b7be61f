"""One state of the status branch, and of the agent's ref, as commands read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.cli.command import CommandError, warn
from agent.core import ledger
from agent.core.entries import PROBLEMS_FILE, Entry, problems, whole
from agent.core.model import Key, Problem
from agent.core.schema import Catalogue, Kind
from agent.gitrepo.repository import Repository
from agent.reconcile.beats import DEFAULT_FLEET, lease_ref, silence
from agent.settings import Settings


@dataclass
class Reader:
    """Reads a repository's status branch again and again; files that stay are read once."""

    repository: Repository
    settings: Settings
    catalogue: Catalogue
    _known: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)

    def now(self, refs: Mapping[str, str] | None = None) -> Snapshot:
        """The tip of the status branch; `refs` are what a fetch just brought. CommandError if there
        is no such branch.
        """
        refs = self.repository.fetch() if refs is None else refs
        tip = refs.get(self.settings.status_ref)
        if tip is None:
            raise CommandError(
                f"{self.repository.address} has no branch {self.settings.status_branch!r} yet: "
                "start the agent on it (`gitvirt run`), or name another with --status-branch"
            )
        data = self.repository.read_path(tip, ledger.FLEET_FILE)
        agent = (ledger.load(data) if data is not None else None) or {}
        lease = lease_ref(str(agent.get("fleet") or DEFAULT_FLEET))
        return Snapshot(self, tip, agent, refs.get(lease))

    def value(self, blob: str, path: str) -> Mapping[str, Any] | None:
        if blob not in self._known:
            value = ledger.load(self.repository.read(blob))
            self._known[blob] = whole(value)
        if self._known[blob] is None:
            warn(f"{path} on the status branch holds no object that can be read; it is left out")
        return self._known[blob]


@dataclass(frozen=True)
class Snapshot:
    reader: Reader
    commit: str
    agent: Mapping[str, Any]
    """agent.yaml; empty if there is none."""
    beat: str | None
    """The commit of the agent's last sign of life."""

    def entries(self, kind: Kind, namespace: str | None = None) -> Iterator[Entry]:
        """Objects of a kind, of one namespace or of all, sorted by namespace and name."""
        root = "namespaces" if kind.namespaced else "cluster"
        if kind.namespaced and namespace is not None:
            root = f"{root}/{namespace}/{kind.plural}"
        elif not kind.namespaced:
            root = f"{root}/{kind.plural}"
        wanted = 0 if root.endswith(f"/{kind.plural}") else 2
        for file in self.reader.repository.files(self.commit, root):
            parts = file.path.split("/")
            if file.kind != "file" or len(parts) != wanted + 1 or not parts[-1].endswith(".yaml"):
                continue
            if wanted and parts[-2] != kind.plural:
                continue
            entry = self._entry(kind, f"{root}/{file.path}", file.blob)
            if entry is not None:
                yield entry

    def find(self, kind: Kind, namespace: str, name: str) -> Entry | None:
        key = Key(kind.name, namespace if kind.namespaced else "", name)
        path = ledger.path_of(self.reader.catalogue, key)
        root = path.rpartition("/")[0]
        for file in self.reader.repository.files(self.commit, root):
            if f"{root}/{file.path}" == path and file.kind == "file":
                return self._entry(kind, path, file.blob)
        return None

    def problems(self) -> list[Problem]:
        """problems.yaml: the manifests that do not hold."""
        data = self.reader.repository.read_path(self.commit, PROBLEMS_FILE)
        return problems(data) if data is not None else []

    def last_seen(self) -> float | None:
        """When the agent gave its last sign of life, in seconds since the epoch."""
        if self.beat is None:
            return None
        return float(self.reader.repository.commit_info(self.beat).time)

    def silence(self, now: float) -> str:
        """What is to be said of an agent that was not seen lately; empty if it was."""
        return silence(self.last_seen(), now)

    def warn_of_silence(self, now: float) -> None:
        silence = self.silence(now)
        if silence:
            warn(silence)

    def _entry(self, kind: Kind, path: str, blob: str) -> Entry | None:
        value = self.reader.value(blob, path)
        return None if value is None else Entry(kind, path, blob, value)
