"""What was pushed and what happened: the base of the state machine. Between two heals it notes, for each VM, what would justify an end
or a start of an instance.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from agent.core.host import RawDomain
from agent.core.ledger import is_record
from agent.core.metadata import NAMESPACE
from tests.memory_host import Volume
from tests.plans import foreseen
from tests.product.property.fields import Document
from tests.product.property.foresight import Deeds, Moment, differences
from tests.product.property.host import POOL, POOL_PATH, GuardedHost
from tests.product.property.manifests import (
    DEFAULT,
    DISKS,
    KEPT,
    URLS,
    VMS,
    a_disk,
    image,
    secret,
    vm_class,
    with_spec,
)
from tests.product.property.surroundings import digest
from tests.product.property.world import World
from tests.rig import GIB, MAIN, OPERATIONS, disk, machine, vm_key

DAY = 86400.0
RETENTION = 7 * DAY
FOREIGN = (
    "<domain type='qemu'><name>{}</name><uuid>{}</uuid><memory>1048576</memory>{}<devices>"
    '<disk type="file"><source file="{}"/></disk></devices></domain>'
)
DB = "11111111-1111-4111-8111-111111111111"
OTHER_VM = "22222222-2222-4222-8222-222222222222"
STRANGERS = {
    DB: ("db", ""),
    OTHER_VM: (
        "other.vm",
        f"<metadata><g:vm xmlns:g='{NAMESPACE}' fleet='other' namespace='other' name='vm' uid='u'/></metadata>",
    ),
}
STRANGE_VOLUMES = {
    "backup.qcow2": Volume(f"{POOL_PATH}/backup.qcow2", 10, content=b"mine"),
    "other_disk_default_one_00000000-0000-4000-8000-000000000000.qcow2": Volume(
        f"{POOL_PATH}/o", 10
    ),
    "default_disk_default_one_notauid.qcow2": Volume(f"{POOL_PATH}/p", 10, content=b"hand-made"),
    "default_image_mine.qcow2": Volume(f"{POOL_PATH}/q", 10, content=b"hand-made"),
}
"""They lie in the fleet's own pool, with names that look like its own."""


DATA = b"what was there before"


def apart(name: str) -> Document:
    """A node that is for its own machine."""
    taint = {"key": "own", "effect": "NoSchedule"}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}}


@dataclass
class Own:
    """A machine on a node of its own, where its disk has always been."""

    host: GuardedHost
    wanted: Document | None = None
    """Its manifest; None while there is none."""

    @property
    def disk(self) -> str:
        return f"disk-{self.host.name}"

    @property
    def volume(self) -> str:
        number = int(self.host.name.rpartition("-")[2])
        return f"default_disk_default_{self.disk}_00000000-0000-4000-8000-{number:012}.qcow2"


class Story(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gitvirt-")
        self.own: dict[str, Own] = {}
        """Machines on other nodes than the first, by name."""
        self.vms: dict[str, Document] = {}
        """The last manifests that hold."""
        self.bad: dict[str, str] = {}
        """Machines whose present manifest does not hold."""
        self.disks: dict[str, str] = {}
        self.images: set[str] = set()
        self.secrets: dict[str, str] = {}
        self.classes: dict[str, list[Document]] = {}
        self.operations: dict[str, Document] = {}
        self.asked = 0
        self.asked_at: dict[str, float] = {}
        self.uids: dict[tuple[str, str], str] = {}
        self.tips: list[str] = []
        self.strange: dict[str, RawDomain | None] = {}
        self.volumes: dict[str, bytes] = {}
        """What is on every disk that was ever made, and not erased yet."""
        self.declared: set[str] = set()
        """Volumes whose disk is declared since the last heal without a break."""
        self.gone_at: dict[str, float] = {}
        """When each disk's manifest was last removed."""
        self.snapshots: dict[str, str] = {}
        """Plurals of the snapshots that are wanted, by name."""
        self.snapped = 0
        self.moments: dict[str, bytes] = {}
        """What is in each volume of a snapshot that is ready."""
        self.untracked: set[str] = set()
        """Volumes that no ledger may know any more, since it was lost or is an old one."""
        self.tainted: set[tuple[str, int]] = set()
        """Instances that somebody has changed by hand, or whose definition somebody had changed."""
        self.known: set[tuple[str, int]] = set()
        """Instances that were there at an earlier heal."""
        self.edited: set[str] = set()
        """Machines whose definition somebody has changed, and nobody has put back."""
        self.forgetful = False
        """True once a domain's metadata was thrown away: with the ledger gone too, nothing would know what was done."""
        self.planning = False
        """True while each push is held against its plans."""

    def teardown(self) -> None:
        self.folder.cleanup()

    # -- the beginning ----------------------------------------------------------------------------

    def set_up(self, machines: Mapping[str, Document], nodes: int) -> None:
        self.world = World(Path(self.folder.name), nodes)
        self.host, self.repo, self.rig = self.world.host, self.world.repo, self.world.rig
        self.host.may_delete = self.may_delete
        self.own = {f"own-{host.name}": Own(host) for host in self.world.hosts[1:]}
        self.open_window()
        for uuid, (name, metadata) in STRANGERS.items():
            self.host.define(FOREIGN.format(name, uuid, metadata, "/elsewhere"))
        self.host.pools[POOL] = dict(STRANGE_VOLUMES)
        self.host.start(DB)
        self.strange = {uuid: self.host.read_domain(uuid) for uuid in STRANGERS}
        self.host.turns.clear()
        self.push({"kept.yaml": KEPT})
        self.push({f"node-{name}.yaml": apart(each.host.name) for name, each in self.own.items()})
        self.images, self.secrets = set(URLS), dict.fromkeys(("init", "answers"), "first text")
        self.classes = {"sized": [], "featured": [], "nowhere": []}
        self.push({f"image-{name}.yaml": image(name) for name in URLS})
        self.push({f"class-{name}.yaml": vm_class(name, []) for name in self.classes})
        self.push({f"secret-{name}.yaml": secret(name, "first text") for name in self.secrets})
        self.disks = dict.fromkeys(DISKS, "1Gi")
        self.push({f"disk-{name}.yaml": a_disk(name, "1Gi") for name in DISKS})
        for name, document in machines.items():
            self.declare_machine(name, document)
        for name, own in self.own.items():
            own.host.pools[POOL] = {
                own.volume: Volume(f"{POOL_PATH}/{own.volume}", GIB, content=DATA)
            }
            own.host.may_delete = lambda name: "its disk is declared" if "_disk_" in name else ""
            self.push({f"disk-{name}.yaml": disk(own.disk)})
            self.declare_own(name, cpu={"cores": 1})

    # -- the window -------------------------------------------------------------------------------

    def open_window(self) -> None:
        every = (*VMS, *self.own)
        self.turned = {host.name: len(host.turns) for host in self.world.hosts}
        self.events: dict[str, Counter[str]] = {name: Counter() for name in every}
        self.before = {name: self.instance(name) for name in every}
        self.versions: dict[str, list[Document | None]] = {
            name: [self.wanted(name)] for name in every
        }
        self.ledger_fault = False
        self.there = {name for name in every if self.defined(name)}
        """Machines that a domain remembers."""
        self.due: set[str] = set()
        """Machines that were to run and could not."""
        for name in self.vms:
            path = f"namespaces/default/virtualmachines/{name}.yaml"
            if path in self.rig.documents() and self.rig.vm(name)["status"]["phase"] == "Pending":
                self.due.add(name)
        for op, document in self.operations.items():
            if self.rig.vmop(op)["status"]["phase"] == "Pending":  # it waits for a disk
                self.note(document["spec"]["virtualMachineName"], document["spec"]["type"])

    def note(self, name: str, event: str) -> None:
        self.events[name][event] += 1

    # -- Git --------------------------------------------------------------------------------------

    def push(self, files: Mapping[str, Any], ref: str = MAIN) -> None:
        if not self.planning:
            self.world.push(files, ref)
            return
        plans = {live: foreseen(self.rig, files, ref, live=live) for live in (False, True)}
        before, verbs, turns = self.moment(), len(self.host.verbs), len(self.host.turns)
        self.world.push(files, ref)
        self.world.settle()
        deeds = Deeds(
            before,
            self.moment(),
            tuple(self.host.verbs[verbs:]),
            tuple(self.host.turns[turns:]),
            {self.uuid(name): vm_key(name) for name in VMS},
        )
        for live, report in plans.items():
            wrong = differences(report, deeds, live=live)
            assert not wrong, (live, wrong)

    def moment(self) -> Moment:
        paths = [path for path in self.rig.documents() if is_record(path)]
        return Moment.of(self.rig.document(path) for path in paths)

    def declare_machine(self, name: str, document: Document) -> None:
        self.vms[name] = document
        self.bad.pop(name, None)
        self.push({f"vm-{name}.yaml": document})
        self.versions[name].append(document)

    def ask_for(self, document: Document) -> None:
        op = document["metadata"]["name"]
        self.operations[op] = document
        self.push({f"{op}.yaml": document}, OPERATIONS)
        self.asked_at[op] = self.world.now
        self.note(document["spec"]["virtualMachineName"], document["spec"]["type"])

    def declare_own(self, name: str, **fields: Any) -> None:
        own = self.own[name]
        bears = [{"key": "own", "operator": "Exists"}]
        whole = own.wanted or machine(name, disks=(own.disk,), runPolicy=DEFAULT, tolerations=bears)
        own.wanted = with_spec(whole, {**whole["spec"], **fields})
        self.push({f"vm-{name}.yaml": own.wanted})
        self.versions[name].append(own.wanted)

    def remove_own(self, name: str) -> None:
        self.own[name].wanted = None
        self.push({f"vm-{name}.yaml": None})
        self.versions[name].append(None)

    def wanted(self, name: str) -> Document | None:
        """The last manifest that holds; None while there is none."""
        return self.own[name].wanted if name in self.own else self.vms.get(name)

    # -- the hosts --------------------------------------------------------------------------------

    def host_of(self, name: str) -> GuardedHost:
        """Where a machine is, or would be."""
        return self.own[name].host if name in self.own else self.host

    def uuid(self, name: str) -> str:
        return self.rig.uuid(name)

    def instance(self, name: str) -> str:
        return self.host_of(name).instance(self.uuid(name))

    def run(self, name: str) -> tuple[str, int]:
        """Which instance runs, or would be the next one."""
        return name, self.host_of(name).runs[self.uuid(name)]

    def on(self, name: str) -> bool:
        raw = self.raw(name)
        return raw is not None and raw.active

    def up(self, name: str) -> bool:
        """True if its guest runs, or is paused."""
        raw = self.raw(name)
        return raw is not None and raw.active and not raw.starting

    def raw(self, name: str) -> RawDomain | None:
        return self.host_of(name)._domains.get(self.uuid(name))

    def defined(self, name: str) -> bool:
        return self.raw(name) is not None

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        with self.world.by_hand():
            yield

    # -- volumes ----------------------------------------------------------------------------------

    def volume_of(self, ref: Mapping[str, Any]) -> str:
        """The volume of a device."""
        if ref["kind"] != "VirtualDisk":
            url = URLS[ref["name"]]
            return f"default_image_{digest(url)}.{url.rsplit('.', 1)[-1]}"
        return self.disk_volume(ref["name"])

    def disk_volume(self, name: str) -> str:
        path = f"namespaces/default/virtualdisks/{name}.yaml"
        return f"default_disk_default_{name}_{self.rig.document(path)['metadata']['uid']}.qcow2"

    def may_delete(self, name: str) -> str:
        """Why the agent must not delete a volume; empty if it may."""
        if name in STRANGE_VOLUMES:
            return "it is foreign"
        if "_disk_" not in name:
            return ""
        disk, uid = name.removesuffix(".qcow2").split("_")[3:]
        if name in self.declared:
            return "its disk is declared"
        gone = self.gone_at.get(disk)
        if gone is None or self.world.now < gone + RETENTION - 1:
            return "it can still come back"
        entry = f"trash/namespaces/default/virtualdisks/{disk}.{uid}.yaml"
        if not self.ledger_fault and self.rig.document(entry)["status"]["phase"] != "Erasing":
            return "the status branch does not say so"
        self.volumes.pop(name, None)
        self.tips.clear()  # an older ledger would call the disk lost: it cannot know of the erasure
        return ""
