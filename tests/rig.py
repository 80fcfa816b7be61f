"""An agent over an in-memory host and repository, with a clock of its own and no threads: everything in a fixed order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from agent.assemble import Agent, Setup
from agent.core.domain_xml import parse
from agent.core.identity import domain_uuid
from agent.core.ledger import load
from agent.core.links import Link
from agent.core.metadata import DomainMetadata, from_domain
from agent.core.migrating import Manner, Peer
from agent.core.model import Key
from agent.gitrepo.repository import Repository
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from agent.places import Pools
from agent.reconcile.git import Branches
from agent.reconcile.news import Lanes, NodeLanes
from agent.reconcile.summary import Summary
from tests.memory_host import MemoryHost
from tests.memory_repository import MemoryRepository

MAIN = "refs/heads/main"
STATUS = "refs/heads/status"
OPERATIONS = "refs/heads/operations"
START = 1_700_000_000.0
GIB = 1024**3


def manifest(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def disk(name: str = "root", size: str = "1Gi") -> dict[str, Any]:
    return manifest("VirtualDisk", name, {"persistentVolumeClaim": {"size": size}})


def machine(
    name: str = "vm",
    *,
    disks: tuple[str, ...] = ("root",),
    metadata: Mapping[str, Any] = {},
    **spec: Any,
) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "virtualMachineClassName": "host",
        "cpu": {"cores": 1},
        "memory": {"size": "256Mi"},
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": each} for each in disks],
    }
    return manifest("VirtualMachine", name, {**whole, **spec}, **metadata)


def settings(*cidrs: str) -> dict[str, Any]:
    """The fleet's settings, with these ranges of addresses."""
    return {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {"name": "virtualization"},
        "spec": {"version": 1, "settings": {"virtualMachineCIDRs": list(cidrs)}},
    }


def static(address: str, name: str = "custom", **metadata: Any) -> dict[str, Any]:
    spec = {"type": "Static", "staticIP": address}
    return manifest("VirtualMachineIPAddress", name, spec, **metadata)


def operation(name: str, vm: str, kind: str, **spec: Any) -> dict[str, Any]:
    return manifest(
        "VirtualMachineOperation", name, {"virtualMachineName": vm, "type": kind, **spec}
    )


def vm_key(name: str = "vm", namespace: str = "default") -> Key:
    return Key("VirtualMachine", namespace, name)


@dataclass
class Rig:
    """Files are pushed with `push`; `settle` runs passes, with time going on, until nothing is left to do."""

    folder: Path
    host: MemoryHost = field(default_factory=MemoryHost)
    repository: Repository | None = None
    fleet: str = "default"
    branches: Branches = field(default_factory=Branches)
    now: float = START
    skew: float = 0.0
    """Seconds that this agent's clock is ahead."""
    status_interval: float = 0.0
    files: dict[str, Any] = field(default_factory=dict)
    others: tuple[MemoryHost, ...] = ()
    """More hosts of the fleet."""
    pools: Pools = field(default_factory=Pools)
    networks: Mapping[str, Link] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)

    def __post_init__(self) -> None:
        for host in self.hosts.values():
            host.clock = lambda: self.now
            host.peers = {f"memory+peer://{name}/": peer for name, peer in self.hosts.items()}
        self.repo = self.repository or MemoryRepository(lambda: self.now)
        self._tasks: deque[Callable[[], None]] = deque()
        self.deeds: set[Callable[[], None]] = set()
        """Those of the tasks that carry actions out."""
        self.downloads: deque[Callable[[], None]] | None = None
        """Where downloads wait for a test to carry them out, where a test says so."""
        self.slow: set[str] = set()
        """Nodes of which nothing comes to an end, until `quick` says so."""
        self._held: dict[str, deque[Callable[[], None]]] = {}
        """What waits for each of them."""
        self.agent = self.start()

    def start(self, instance: str = "agent") -> Agent:
        """A new agent, as after a kill: nothing is left of the old one but Git and the host."""
        self.drop()
        self.deeds.clear()
        for host in self.hosts.values():
            host._subscribers.clear()
        of = {
            node: NodeLanes(
                **{each.name: self._lane(each.name, node) for each in fields(NodeLanes)}
            )
            for node in self.hosts
        }
        lanes = Lanes(self._lane("git"), self._lane("plans"), of)
        setup = Setup(
            *(self.fleet, self.branches, self.folder, 30.0, self.status_interval, 10 * GIB),
            reach=Reach(ImageHosts.parse("127.0.0.1")),
            pools=self.pools,
            networks=self.networks,
            peers={name: Peer(f"memory+peer://{name}/") for name in self.hosts if self.others},
            manner=self.manner,
        )
        self.agent = Agent(
            setup,
            self.repo,
            self.hosts,
            instance,
            lambda: None,
            clock=lambda: self.now + self.skew,
            lanes=lanes,
            uptime=lambda: self.now,
        )
        return self.agent

    @property
    def hosts(self) -> dict[str, MemoryHost]:
        """All of them, by name."""
        return {each.name: each for each in (self.host, *self.others)}

    def _lane(self, name: str, node: str = "") -> Callable[[Callable[[], None]], None]:
        def submit(task: Callable[[], None]) -> None:
            if name in ("actions", "volumes", "imports", "moves"):
                self.deeds.add(task)
            held = self.downloads if name == "imports" else None
            if node in self.slow:
                held = self._held.setdefault(node, deque())
            (self._tasks if held is None else held).append(task)

        return submit

    def drop(self) -> None:
        """Nothing is carried out of what was started."""
        self._tasks.clear()
        self._held.clear()

    def quick(self, node: str) -> None:
        """A node that was slow is not any more."""
        self.slow.discard(node)
        self._tasks.extend(self._held.pop(node, ()))

    # -- Git ------------------------------------------------------------------------------------

    def push(self, files: Mapping[str, Any] | None = None, ref: str = MAIN) -> str:
        """Commit files: a dict or a list of dicts as YAML, a text or bytes as it is, None removes."""
        changes: dict[str, bytes | None] = {}
        for path, value in (files or {}).items():
            changes[path] = encoded(value)
        return self.repo.commit(ref, self.repo.fetch().get(ref), changes, "change")

    def documents(self) -> dict[str, Any]:
        """Every file of the status branch, by path."""
        tip = self.repo.fetch().get(f"refs/heads/{self.branches.status}")
        if tip is None:
            return {}
        return {file.path: self.repo.read(file.blob) for file in self.repo.files(tip)}

    def document(self, path: str) -> dict[str, Any]:
        found = load(self.documents()[path])
        assert found is not None
        return found

    def vm(self, name: str = "vm", namespace: str = "default") -> dict[str, Any]:
        return self.document(f"namespaces/{namespace}/virtualmachines/{name}.yaml")

    def vmop(self, name: str, namespace: str = "default") -> dict[str, Any]:
        return self.document(f"namespaces/{namespace}/virtualmachineoperations/{name}.yaml")

    # -- passes ---------------------------------------------------------------------------------

    def step(self) -> float:
        """One pass and everything that it started."""
        wait = self.agent.reconciler.run()
        while self._tasks:
            self._tasks.popleft()()
        return wait

    def settle(self, steps: int = 200) -> Summary:
        """Passes until nothing is left to do. Time goes on where only time helps."""
        self.agent.reconciler.look_at_git()
        for _ in range(steps):
            wait = self.step()
            again = self.agent.reconciler.run()
            summary = self.agent.reconciler.summary()
            if summary.settled and not self._tasks:
                return summary
            if not self._tasks and min(wait, again) > 0:
                self.now += min(wait, again)
        raise AssertionError(f"not settled: {self.agent.reconciler.summary()}")

    # -- the host -------------------------------------------------------------------------------

    def uuid(self, name: str = "vm", namespace: str = "default") -> str:
        return domain_uuid(self.fleet, vm_key(name, namespace))

    def memory(self, name: str = "vm", *, active: bool = False) -> DomainMetadata:
        raw = self.host.read_domain(self.uuid(name))
        assert raw is not None
        found = from_domain(parse(raw.active_xml if active else raw.inactive_xml))
        assert found is not None
        return found

    def running(self, name: str = "vm") -> bool:
        raw = self.host.read_domain(self.uuid(name))
        return raw is not None and raw.active

    def verbs(self) -> list[str]:
        """Verbs carried out since the last call, without those that only look."""
        found = []
        for host in self.hosts.values():
            found += [verb for verb, _ in host.verbs if verb != "ensure_pool"]
            host.verbs.clear()
        return found


class Unplanned(Rig):
    """One whose agent plans no branches, which takes a process each."""

    def _lane(self, name: str, node: str = "") -> Callable[[Callable[[], None]], None]:
        return (lambda _task: None) if name == "plans" else super()._lane(name, node)


def encoded(value: Any) -> bytes | None:
    match value:
        case None | bytes():
            return value
        case str():
            return value.encode()
        case list():
            return yaml.safe_dump_all(value, sort_keys=False).encode()
    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False).encode()


def condition(document: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition by type; empty if it is absent."""
    found = document["status"].get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})
