"""The status of a VM, as a function of what is wanted, seen and under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agent.core.changes import Change, redacted
from agent.core.facts import Decision
from agent.core.host import GuestInfo, RawDomain
from agent.core.identity import domain_name
from agent.core.known import Fact
from agent.core.ledger import MOVE
from agent.core.model import Condition, Json, Object
from agent.core.nodes import HOME
from agent.core.status import conditions, still, timestamp, transitions
from agent.kinds.local import NOT_READY, Place, unknown
from agent.kinds.virtual_machine import delivery, engine, network_status, power, space
from agent.kinds.virtual_machine.addresses import Told
from agent.kinds.virtual_machine.block_devices import DEVICES, block_devices
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.dependencies import Dependencies
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.migration.told import node, state
from agent.kinds.virtual_machine.phase import SAVED
from agent.kinds.virtual_machine.resources import resources
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine.wanted import LEGACY
from agent.kinds.virtual_machine_class import FULL

LIVE = ("Running", "Stopping", "Pause", "Migrating")
RESTART = "AwaitingRestartToApplyConfiguration"
WAITING = "Changes of the specification take effect at the next restart."
MUTE = (
    "Its QEMU process leaves libvirt without an answer, so that nobody can tell what it runs: "
    "nothing is done about it until it answers or ends (`virsh destroy` ends it)."
)


@dataclass(frozen=True)
class Report:
    case: Situation
    intent: Intent
    phase: str
    guest: GuestInfo | None
    migratable: Condition
    moving: Sequence[Condition]

    @property
    def vm(self) -> Object:
        return self.case.vm

    @property
    def at(self) -> Place:
        return self.case.at

    @property
    def needs(self) -> Dependencies:
        return self.case.needs

    @property
    def raw(self) -> RawDomain | None:
        return self.case.seen.raw

    @property
    def seen_active(self) -> DomainFacts | None:
        return self.case.seen.active if self.on else None

    @property
    def pending(self) -> tuple[Change, ...]:
        return self.intent.pending

    @property
    def previous(self) -> Mapping[str, Json]:
        return self.case.previous

    @property
    def waiting(self) -> bool:
        """True while the VM gets somewhere by itself."""
        if self.case.kept:
            return False
        return self.phase in ("Starting", "Stopping", "Terminating") or (
            self.phase == "Pending" and self.needs.waiting
        )

    @property
    def on(self) -> bool:
        """True while an instance runs. One that only starts up may fail, again and again, and is
        shown once it has come up.
        """
        return self.raw is not None and self.raw.active and not self.raw.starting

    @property
    def _runs(self) -> bool:
        """True while a guest runs, whatever is to become of it."""
        return self.raw is not None and self.raw.state == "running"

    @property
    def plugging(self) -> Condition | None:
        """What keeps the running instance from having the interfaces that it is to have."""
        return network_status.plugging(self.case, self.pending)

    def status(self) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "nodeName": node(self.case) if self.on else "",
            MOVE: state(self.case),
            "ipAddress": self._address.address,
            "virtualMachineIPAddressName": self._address.name,
            "virtualMachinePods": self._instances(),
            "guestOSInfo": self._guest_os(),
            "resources": self._resources(),
            "restartAwaitingChanges": [change.listed() for change in self.pending]
            if self.phase in LIVE
            else [],
            "runningSpec": self._running_spec(),
            DEVICES: block_devices(self.case, self.seen_active),
            "networks": network_status.interfaces(self.case, self.seen_active, self.guest),
            "versions": {
                "libvirt": self.at.node.libvirt_version,
                "qemu": engine.version(self.case),
            },
            "stats": {"phasesTransitions": transitions(self.previous, self.phase, self.case.now)},
            "conditions": self._conditions(),
        }

    def _running_spec(self) -> dict[str, Json]:
        """What the instance was made from, while changes wait for its restart."""
        running = self.case.seen.running
        if not self.pending or running is None or self.phase not in LIVE:
            return {}
        return redacted(self.case.rules, running.spec)

    def _instances(self) -> list[dict[str, Json]]:
        if self.raw is None:
            return []
        return [{"active": self.on, "name": domain_name(self.vm.key)}]

    def _guest_os(self) -> dict[str, Json]:
        if not self.on:
            return {}
        if self.guest is not None:
            return dict(self.guest.os)
        known: dict[str, Json] = (
            self.previous.get("guestOSInfo", {}) if self.case.seen.agent else {}
        )
        return known

    @cached_property
    def _address(self) -> Told:
        running = self.case.seen.running if self.on else None
        cables, facts, seen = self.case.cabling, self.seen_active, self._seen_address()
        mac = cables.main_mac((running or self.intent.memory).spec)
        link = facts.interfaces.links.get(mac) if facts is not None else None
        up = cables.uplink if link == cables.uplink.link else None
        return delivery.told(self.needs.address, up, running, self.guest, seen)

    def _seen_address(self) -> str:
        """The one that the running guest says it has, as far as is known."""
        if not self.on:
            return ""
        if self.guest is None:
            known: str = self.previous.get("ipAddress", "")
            return known
        return network_status.main_address(self.case, self.guest)

    def _resources(self) -> dict[str, Json]:
        """Of the running instance; of the spec while there is none."""
        spec = self.vm.spec
        facts = self.seen_active
        if self.on and facts is not None and facts.metadata is not None and facts.metadata.spec:
            spec = facts.metadata.spec
        shown = machine_spec(spec)
        return resources(shown["cpu"], shown["memory"]["size"])

    # -- conditions --------------------------------------------------------------------------

    def _conditions(self) -> list[Condition]:
        if self.case.deleted:  # what it would need is nobody's business any more
            return [self._running(), *self._kept()]
        its_address = self._address.condition
        needs = tuple(
            its_address if condition.type == its_address.type else condition
            for condition in self.needs.conditions
        )
        if self._older_medium():
            needs = tuple(
                _OLDER if condition.type == "ProvisioningReady" else condition
                for condition in needs
            )
        if (of_networks := self.plugging or network_status.outdated(self.case)) is not None:
            needs = (*(each for each in needs if each.type != of_networks.type), of_networks)
        return [
            *needs,
            self._running(),
            *self._maintenance(),
            *self.moving,
            *self._configuration(),
            *self._schedulable(),
            *self._agent_ready(),
            *self._drift(),
            *self._limits(),
        ]

    def _maintenance(self) -> list[Condition]:
        if power.maintained(self.intent.memory) is None:
            return []
        message = "It stays off until its disks have the data of a snapshot."
        return [Condition("Maintenance", "True", "RestoreInProgress", message)]

    def _kept(self) -> list[Condition]:
        """Why a deletion waits."""
        kept = self.case.kept
        return [Condition("Terminating", "True", "CleanupPending", kept)] if kept else []

    def _older_medium(self) -> bool:
        """True if the Secret has changed since the instance was started: no change of the VM
        itself.
        """
        medium, facts = self.needs.medium, self.seen_active
        if medium is None or not medium.known or facts is None or self.phase not in LIVE:
            return False
        if any(change.path.startswith("provisioning") for change in self.pending):
            return False
        return any(
            disk.serial == medium.serial and medium.digest not in disk.path
            for disk in facts.disks.disks
        )

    def _running(self) -> Condition:
        if self.phase in ("Running", "Migrating") or (self.phase == "Terminating" and self._runs):
            return Condition("Running", "True", "Running")
        if self.phase == "Pause" and self.raw is not None:
            name = domain_name(self.vm.key)
            message = f"The guest is paused ({self.raw.reason}): `virsh resume {name}` goes on."
            if self.raw.starved:
                message = space.sentence(self.case)
            return Condition("Running", "False", "GuestNotRunning", message)
        if self.phase == "Pending" and self.needs.shortage:
            return Condition("Running", "False", "PodNotStarted", self.needs.shortage)
        if self.case.job.failed:
            return Condition("Running", "False", "PodNotStarted", self.case.job.error)
        due = power.due_again(self.intent.memory, self.case.job.starts, self.case.now)
        if self.phase == "Starting" and due > self.case.now:
            minutes = power.CRASH_WINDOW / 60  # pragma: no mutate: as a minute has seconds
            message = (
                f"It has ended again and again within {minutes:.0f} minutes "
                f"without anybody asking for it: it is started again at {timestamp(due)}."
            )
            return Condition("Running", "False", "PodNotStarted", message)
        if self.case.saved and not self.on:
            return Condition("Running", "False", SAVED, _SAVED)
        if self.raw is not None and self.raw.reason == "crashed" and not self.raw.active:
            message = "The last instance ended in a crash."
            return Condition("Running", "False", "InternalVirtualMachineError", message)
        if self.phase == "Starting" and self.intent.memory.power.by == power.BY_END:
            how = ended(self.raw)
            message = f"{how}, started again." if how else ""
            return Condition("Running", "False", "NotRunning", message)
        return Condition("Running", "False", "NotRunning")

    def _configuration(self) -> list[Condition]:
        if self.phase not in LIVE or not self.pending:
            return []
        paths = ", ".join(change.path for change in self.pending)
        message = f"{WAITING} Changed: {paths}."
        if not self.needs.ready:
            message += " A restart now would have to wait: see the other conditions."
        return [
            Condition("ConfigurationApplied", "False", "ConfigurationNotApplied", message),
            Condition(RESTART, "True", "ChangesPendingRestart", message),
        ]

    def _schedulable(self) -> list[Condition]:
        """Whether a next instance would fit; one that is Pending says so in condition Running."""
        shortage = self.needs.shortage or self.case.leaves
        if not shortage or self.phase == "Pending":
            return []
        return [Condition("Schedulable", "False", "Unschedulable", shortage)]

    def _drift(self) -> list[Condition]:
        """What people changed by hand on the host."""
        message = " ".join(self.intent.drift.sentences())
        return [Condition("DriftDetected", "True", "DriftDetected", message)] if message else []

    def _agent_ready(self) -> list[Condition]:
        if self.phase not in LIVE:
            return []
        if self.case.seen.agent:
            return [Condition("AgentReady", "True", "AgentReady"), self.migratable]
        message = (
            "The guest has not opened the agent's channel: is qemu-guest-agent "
            "installed and started in it?"
        )
        return [Condition("AgentReady", "False", "AgentNotReady", message), self.migratable]

    def _limits(self) -> list[Condition]:
        limits, spec = [], machine_spec(self.vm.spec)
        if self.at.node.virt_type != "kvm":
            message = (
                f"Node {self.at.name} has no hardware virtualization: the guest runs "
                "under software emulation, which is slow."
            )
            limits.append(
                Condition("HardwareVirtualization", "False", "SoftwareEmulation", message)
            )
        if not self.at.node.cpu_tuning and spec["cpu"]["coreFraction"] != FULL:
            message = (
                f"Node {self.at.name} has no CPU tuning (a user's session has none): "
                "spec.cpu.coreFraction is not enforced."
            )
            limits.append(
                Condition("CoreFractionEnforced", "False", "CPUTuningNotAvailable", message)
            )
        virtio = spec["enableParavirtualization"]
        if spec["osType"] == LEGACY and virtio and not self.case.seen.agent:
            limits.append(_DRIVERS)  # the agent's channel is a virtio device: who opens it has some
        return limits


def ended(raw: RawDomain | None) -> str:
    """How an instance ended that nobody asked to end; empty while one runs."""
    if raw is None or raw.active:
        return ""
    how = _ENDS.get(raw.reason, "Lost with its host")
    if raw.reason == "shutdown":
        how = "QEMU ended by a signal" if raw.stopped_by == "host" else "Powered off by its guest"
    return how


_SAVED = "Its state is saved on the host: a start goes on from it."
_ENDS = {"destroyed": "Ended by hand", "crashed": "Crashed", "failed": "Start failed"}
_OLDER = Condition(
    "ProvisioningReady",
    "True",
    "ProvisioningReadyWithWarnings",
    "The Secret has changed since the start: its new content is used from the next start on.",
)
_DRIVERS = Condition(
    "ParavirtualizationSupported",
    "Unknown",
    "DriversNeededInGuest",
    "Disks and network are virtio devices, which guests of osType Legacy see only with drivers "
    "installed in them: set spec.enableParavirtualization to false for IDE disks and RTL8139.",
)
_OF_ITS_NODE = frozenset(("AgentReady", "Running"))
"""Conditions that nobody can tell of as long as the node is away."""


def unreachable(vm: Object, previous: Mapping[str, Json], why: str = "") -> Decision:
    """The node cannot be seen: what was known stays, and nothing is done. `why` says so where there
    are other nodes.
    """
    if previous.get("phase") and not why:
        return Decision()
    if previous.get("phase"):
        return Decision(status=unknown(previous, why, _OF_ITS_NODE), ok=False)
    told = [Condition("Running", "False", "NotRunning", why or NOT_READY)]
    phase = "Terminating" if vm.deleted else "Pending"
    return Decision(status={"phase": phase, "conditions": told}, waiting=not why, ok=False)


def unplaced(why: str) -> Decision:
    """No node takes it, as far as is known; without a `why` nobody has been asked yet."""
    if not why:
        return Decision(waiting=True)
    told = [Condition("Running", "False", "PodNotStarted", why)]
    return Decision(status={"phase": "Pending", "conditions": told}, ok=False)


def torn(vm: Object, previous: Mapping[str, Json], home: str, why: str, reason: str) -> Decision:
    """Other nodes or hosts have its domain, too: nothing is done to any, and it is remembered."""
    known = conditions(previous)
    others = tuple(condition for condition in known if condition.type not in _OF_ITS_NODE)
    loud = Condition("Running", "Unknown", reason, why)
    phase = "Terminating" if vm.deleted else previous.get("phase", "Pending")
    status = {**previous, HOME: home, "phase": phase, "conditions": (loud, *others)}
    return Decision(status=status, ok=False)


def unread(vm: Object, previous: Mapping[str, Json], publish: Mapping[Fact, Any]) -> Decision:
    """The domain cannot be read: what was known stays, and nothing is done."""
    condition = Condition("Running", "Unknown", "NotResponding", MUTE)
    phase = "Terminating" if vm.deleted else previous.get("phase", "Pending")
    status = still({**previous, "phase": phase}, condition)
    return Decision(status=status, publish=publish, ok=False)


def conflict(vm: Object, message: str, *, gone: bool) -> Decision:
    """A domain that is not ours stands where this VM's would be: nothing is done to it."""
    condition = Condition("Running", "False", "DomainNotOwned", message)
    phase = "Terminating" if vm.deleted else "Pending"
    return Decision(status={"phase": phase, "conditions": [condition]}, gone=gone, ok=False)
