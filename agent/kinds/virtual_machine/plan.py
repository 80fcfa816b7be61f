"""Decide about one VM: what its domain should be, what is to be done now, what waits for a
restart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from agent.core.actions import (
    Action,
    DefineDomain,
    DeleteVolume,
    DestroyDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    UndefineDomain,
    WriteSeed,
)
from agent.core.changes import Change, Disposition, applied, diff, sealed
from agent.core.facts import Decision, Fact, View
from agent.core.host import RawDomain
from agent.core.identity import (
    POOL,
    console_log,
    domain_name,
    domain_uuid,
    mac_address,
    next_instance,
)
from agent.core.jobs import IDLE, Job, held
from agent.core.ledger import is_redacted
from agent.core.metadata import DomainMetadata, Recorded, to_xml
from agent.core.model import Object
from agent.core.quantity import to_bytes
from agent.core.schema import Kind
from agent.kinds.local import Place, place
from agent.kinds.virtual_machine import operations, power
from agent.kinds.virtual_machine.definition import (
    DomainFacts,
    differing,
    expect,
    parse,
    read,
    render,
)
from agent.kinds.virtual_machine.dependencies import Dependencies, dependencies
from agent.kinds.virtual_machine.elements.channels import agent_connected
from agent.kinds.virtual_machine.elements.firmware import BIOS
from agent.kinds.virtual_machine.phase import phase as phase_of
from agent.kinds.virtual_machine.power import Running
from agent.kinds.virtual_machine.report import Report, conflict, unreachable
from agent.kinds.virtual_machine.wanted import Device, Wanted

MIB = 1024 * 1024
GOOD = ("Running", "Stopped", "Migrating")


@lru_cache(maxsize=256)  # the few that are decided again and again; all would take much memory
def _read(xml: str) -> tuple[DomainFacts, bool]:
    """What a definition says, and whether the guest agent has opened its channel."""
    root = parse(xml)
    return read(root), agent_connected(root)


@dataclass(frozen=True)
class Seen:
    """What the host shows of a VM. `raw` is None while there is no domain."""

    raw: RawDomain | None
    defined: DomainFacts | None
    """The definition that the next start uses."""
    active: DomainFacts | None
    """The definition that runs."""
    agent: bool = False
    """True if the running guest's agent has opened its channel."""

    @property
    def memory(self) -> DomainMetadata | None:
        return self.defined.metadata if self.defined else None


@dataclass
class Next:
    """The decision as it grows."""

    memory: DomainMetadata | None = None
    facts: DomainFacts | None = None
    pending: tuple[Change, ...] = ()
    drift: tuple[str, ...] = ()
    wake: float | None = None
    waiting: bool = False

    def at(self, when: float) -> None:
        self.wake = when if self.wake is None else min(self.wake, when)


class Planner:
    """Decides about VirtualMachines. Holds nothing but the rules of the kind's fields."""

    def __init__(self, rules: Kind) -> None:
        self._rules = rules

    def decide(self, vm: Object, view: View) -> Decision:
        at = place(view)
        if at is None:
            return unreachable(vm, view.previous(vm.key))
        uuid = domain_uuid(view.setting("fleet"), vm.key)
        taken = view.read("domain-name", (at.name, domain_name(vm.key)))
        raw: RawDomain | None = view.read("domain", (at.name, uuid))
        seen = _seen(raw)
        foreign = _foreign(vm, seen, taken, uuid, view)
        if foreign:
            return conflict(vm, foreign, gone=bool(vm.deleted))
        if vm.deleted and seen.raw is None:
            return self._leave(vm, at, view)
        return _Case(self._rules, vm, view, at, uuid, seen).decide()

    def _leave(self, vm: Object, at: Place, view: View) -> Decision:
        """The domain is gone; what only it used goes too."""
        names = view.read("volumes-of", vm.uid) or ()
        actions = tuple(DeleteVolume(at.name, POOL, name) for name in names)
        job: Job = view.read("job", vm.key) or IDLE
        wait = held(job, vm.generation, view.now)
        return Decision(
            status={"phase": "Terminating"},
            actions=() if job.busy or wait else actions,
            wake=job.retry_at if wait and job.retry else None,
            waiting=bool(actions),
            gone=not actions,
        )


def _seen(raw: RawDomain | None) -> Seen:
    if raw is None:
        return Seen(None, None, None)
    defined = _read(raw.inactive_xml)[0] if raw.inactive_xml else None
    active, agent = _read(raw.active_xml) if raw.active_xml else (None, False)
    return Seen(raw, defined, active, agent)


def _foreign(vm: Object, seen: Seen, taken: str | None, uuid: str, view: View) -> str:
    """Why the domain of that name is not this VM's; empty if it is, or if there is none."""
    fleet = view.setting("fleet")
    if taken is not None and taken != uuid:
        return (
            f"The host has a domain {domain_name(vm.key)} that gitvirt did not make: "
            "rename or remove it, or give the VirtualMachine another name."
        )
    if seen.raw is None:
        return ""
    memory = seen.memory or (seen.active.metadata if seen.active else None)
    if memory is not None:
        return "" if memory.fleet == fleet else f"Its domain belongs to fleet {memory.fleet}."
    known = view.previous(vm.key).get(
        "virtualMachinePods"
    )  # written once this fleet has defined it
    return (
        ""
        if known
        else "The host has a domain with its UUID that carries no metadata of gitvirt's."
    )


def _sealed(rules: Kind, vm: Object, memory: DomainMetadata | None) -> dict[str, Any]:
    """The spec as metadata holds it. Where only a marker of a secret is left, what the domain
    remembers is meant.
    """
    spec = sealed(rules, vm.spec, vm.uid)
    if is_redacted(vm.spec) and memory is not None and "provisioning" in memory.spec:
        spec["provisioning"] = memory.spec["provisioning"]
    return spec


class _Case:
    """One decision about one VM that has a node. Made for a single call."""

    def __init__(
        self, rules: Kind, vm: Object, view: View, at: Place, uuid: str, seen: Seen
    ) -> None:
        self.rules, self.vm, self.view, self.at, self.uuid, self.seen = (
            rules,
            vm,
            view,
            at,
            uuid,
            seen,
        )
        self.now = view.now
        self.fleet: str = view.setting("fleet")
        self.job: Job = view.read("job", vm.key) or IDLE
        self.policy: str = vm.spec["runPolicy"]
        self.needs: Dependencies = dependencies(vm, view)
        self.sealed = _sealed(rules, vm, seen.memory)
        active = seen.active.metadata if seen.active else None
        self.running = (
            Running(active.instance if active else "", seen.raw) if seen.raw is not None else None
        )
        self.next = Next()
        self.stays_off = False
        """True while an operation waits for the domain to be there: it may well be to stop it."""

    def decide(self) -> Decision:
        progress = self._remember()
        self._define()
        actions = self._actions()
        report = Report(
            vm=self.vm,
            at=self.at,
            needs=self.needs,
            seen_active=self.seen.active,
            agent=self.seen.agent,
            raw=self.seen.raw,
            memory=self.next.memory,
            running=self.running,
            job=self.job,
            pending=self.next.pending,
            guest=self.view.read("guest", (self.at.name, self.uuid)),
            previous=self.view.previous(self.vm.key),
            phase=self._phase(),
            now=self.now,
        )
        busy = bool(self.job.busy)
        wake = self.next.wake
        if held(self.job, self.vm.generation, self.now):
            actions = ()
            if self.job.retry:
                self.next.waiting = True
                wake = self.job.retry_at if wake is None else min(wake, self.job.retry_at)
        return Decision(
            status=report.status(),
            actions=() if busy else actions,
            publish=self._publish(progress),
            changes=self.next.pending,
            wake=wake,
            waiting=busy or bool(actions) or self.next.waiting or report.waiting,
            ok=report.phase in GOOD and self.needs.ready,
        )

    def _phase(self) -> str:
        if self.vm.deleted:
            return "Terminating"
        memory, running = self.next.memory, self.running
        if self.seen.raw is None:
            memory = running = None
            if self.next.memory is not None and not self.next.memory.power.on:
                stopped = self.view.previous(self.vm.key).get("phase") == "Stopped"
                return "Stopped" if stopped else "Pending"
        return phase_of(
            memory, running, self.job, self.vm.generation, self.now, ready=self.needs.ready
        )

    # -- what is to be remembered ------------------------------------------------------------

    def _remember(self) -> dict[str, Any]:
        """Bring the domain's metadata up to date; returns the progress of operations."""
        asked = operations.open_operations(self.vm.key, self.view)
        memory = self._memory()
        if self.running is None:
            self.next.memory = memory
            outcome = operations.without_domain(asked, self.policy, self._phase())
            self.stays_off = any(each.phase == "Pending" for each in outcome.progress.values())
            return dict(outcome.progress)
        memory = power.observed(
            memory, self.running, self.policy, deleted=bool(self.vm.deleted), now=self.now
        )
        self.next.memory = memory
        outcome = operations.take(
            asked,
            memory,
            self.running,
            written=self.seen.memory,
            policy=self.policy,
            phase=self._phase(),
            ready=self.needs.ready,
            deleted=bool(self.vm.deleted),
            now=self.now,
        )
        self.next.memory = outcome.memory
        if outcome.wake is not None:
            self.next.at(outcome.wake)
        return dict(outcome.progress)

    def _memory(self) -> DomainMetadata:
        """What the domain remembers, or what a new one starts with."""
        remembered = self.seen.memory
        if remembered is None and self.seen.active is not None:
            remembered = (
                self.seen.active.metadata
            )  # a transient domain, or a definition edited by hand
        if remembered is not None and remembered.uid == self.vm.uid:
            return remembered
        instance = next_instance(self.vm.uid, "", self.now)
        previous = self.view.previous(self.vm.key)
        was_stopped = previous.get("phase") == "Stopped"
        return DomainMetadata(
            fleet=self.fleet,
            namespace=self.vm.key.namespace,
            name=self.vm.key.name,
            uid=self.vm.uid,
            created=self.vm.created,
            generation=self.vm.generation,
            source=self.vm.source,
            instance=instance,
            power=power.first(self.policy, instance, self.now, was_stopped=was_stopped),
            spec=self.sealed,
        )

    # -- what the definition should be --------------------------------------------------------

    def _define(self) -> None:
        memory = self.next.memory
        assert memory is not None  # noqa: S101  # set by _remember
        if self.vm.deleted:
            self._keep(memory)
            return
        base = self.seen.active.metadata if self.seen.active else None
        if base is not None:
            self.next.pending = tuple(
                change
                for change in diff(self.rules, base.spec, self.sealed)
                if change.disposition is Disposition.RESTART
            )
        if base is not None and base.spec.get("bootloader", BIOS) != BIOS:
            memory = replace(memory, nvram=base.spec["bootloader"])
        memory = replace(
            memory,
            labels=dict(self.vm.manifest.labels),
            annotations=dict(self.vm.manifest.annotations),
            generation=self.vm.generation,
            source=self.vm.source,
            spec=self._startable(memory),
        )
        if self.running is not None and self.needs.ready:
            automatic = self.vm.spec["disruptions"]["restartApprovalMode"] == "Automatic"
            memory = power.restart_by_itself(
                memory,
                self.running,
                automatic=automatic,
                pending=bool(self.next.pending),
                now=self.now,
            )
        self.next.memory = memory
        if not self.needs.ready:
            self._keep(memory)
            return
        self.next.facts = self._expected(memory)
        if (
            self.seen.defined is not None
            and self.seen.memory is not None
            and self.seen.memory.spec == self.sealed
        ):
            self.next.drift = tuple(differing(self.seen.defined, self.next.facts))

    def _keep(self, memory: DomainMetadata) -> None:
        """Nothing but the metadata of the present definition may change."""
        if self.seen.defined is not None:
            self.next.facts = replace(self.seen.defined, metadata=memory)

    def _startable(self, memory: DomainMetadata) -> Any:
        """The newest spec that could start: all of it, or what needs no start where something is
        missing.
        """
        if self.needs.ready or self.seen.defined is None:
            return self.sealed
        waiting = [
            change
            for change in diff(self.rules, memory.spec, self.sealed)
            if change.disposition is Disposition.RESTART
        ]
        return applied(memory.spec, self.sealed, waiting)

    def _expected(self, memory: DomainMetadata) -> DomainFacts:
        assert self.needs.cpu is not None  # noqa: S101  # ready
        devices = self.needs.devices
        medium = self._medium()
        if medium is not None:
            devices = (*devices, medium)
        present = self.seen.defined
        machine = present.firmware.machine if present and present.firmware.machine else ""
        return expect(
            Wanted(
                name=domain_name(self.vm.key),
                uuid=self.uuid,
                metadata=memory,
                spec=self.vm.spec,
                node=self.at.node,
                cpu=self.needs.cpu,
                devices=devices,
                mac=mac_address(self.fleet, self.vm.key),
                console_log=self.at.path(console_log(self.fleet, self.vm.uid)),
                machine=machine or self.at.node.machine,
            )
        )

    def _medium(self) -> Device | None:
        """The device of the medium that the guest configures itself from."""
        medium = self.needs.medium
        if medium is None:
            return None
        path = self.at.path(medium.volume(self.fleet, self.vm.uid)) if medium.known else ""
        if (
            not path and self.seen.defined
        ):  # its content cannot be read again: the present one stays
            disks = self.seen.defined.disks.disks
            path = next((disk.path for disk in disks if disk.serial == medium.serial), "")
        if not path:
            return None
        return Device(path, "raw", medium.serial, cdrom=medium.sysprep)

    # -- what is to be done ------------------------------------------------------------------

    def _actions(self) -> tuple[Action, ...]:
        memory, facts = self.next.memory, self.next.facts
        assert memory is not None  # noqa: S101  # set by _remember
        if facts is None:
            return ()  # nothing is there yet, and what it needs is not ready
        actions: list[Action] = []
        if facts != self.seen.defined:
            actions += self._media()
            why = ", ".join(self.next.drift) or "metadata"
            actions.append(DefineDomain(self.at.name, self.uuid, render(facts), why))
        if self.running is None:
            if memory.power.on and not self.stays_off:
                actions.append(self._start())
            return tuple(actions)
        if self.running.on:
            actions += self._live(memory)
            actions += self._end(memory)
        elif self.vm.deleted:
            # made by libvirt's log daemon, so that the pool may not know it yet
            log = DeleteVolume(self.at.name, POOL, console_log(self.fleet, self.vm.uid))
            return (log, UndefineDomain(self.at.name, self.uuid))
        elif power.start_due(memory, self.running) and self.needs.ready:
            self._due_start(actions)
        if not actions:
            actions += self._sweep(facts)
        return tuple(actions)

    def _start(self) -> StartDomain:
        memory, wanted = self.next.memory, self.vm.spec["bootloader"]
        made_for = memory.nvram if memory is not None else ""
        return StartDomain(
            self.at.name,
            self.uuid,
            to_bytes(self.vm.spec["memory"]["size"]),
            reset_nvram=wanted != BIOS and made_for not in ("", wanted),
        )

    def _due_start(self, actions: list[Action]) -> None:
        """Start, but not over and over a guest that keeps ending at once."""
        starts = self.job.starts
        quick = [start for start in starts if start > self.now - power.CRASH_WINDOW]
        due = starts[-1] + power.crash_delay(len(quick)) if quick else self.now
        if due > self.now:
            self.next.at(due)
            self.next.waiting = True
            return
        actions.append(self._start())

    def _media(self) -> list[Action]:
        """Store the medium of a definition that is about to be written, unless it is there whole."""
        medium = self.needs.medium
        if medium is None or not medium.known or self.vm.deleted or not self.needs.ready:
            return []
        name = medium.volume(self.fleet, self.vm.uid)
        volume = self.view.read("volume", (self.at.name, POOL, name))
        if volume is not None and volume.physical >= MIB and volume.physical % MIB == 0:
            return []
        vm = self.vm
        write = WriteSeed(
            self.at.name, POOL, name, vm.uid, vm.key.name, medium.sysprep, medium.files
        )
        return [write]

    def _live(self, memory: DomainMetadata) -> list[Action]:
        """Write what changed without a restart into the running instance's metadata."""
        active = self.seen.active.metadata if self.seen.active else None
        if active is None or self.vm.deleted:
            return []
        merged = replace(
            active,
            labels=memory.labels,
            annotations=memory.annotations,
            spec=applied(active.spec, self.sealed, self.next.pending),
        )
        if merged == active:
            return []
        return [SetLiveMetadata(self.at.name, self.uuid, to_xml(merged), active.instance)]

    def _end(self, memory: DomainMetadata) -> list[Action]:
        assert self.running is not None  # noqa: S101  # asked only then
        why = power.ending(memory, self.running)
        if why is None:
            return []
        force = isinstance(why, Recorded) and why.force
        grace = 0 if force else self.vm.spec["terminationGracePeriodSeconds"]
        deadline = why.at + grace
        if self.now >= deadline:
            actions: list[Action] = [DestroyDomain(self.at.name, self.uuid, self.running.instance)]
            if memory.power.on and self.needs.ready:
                actions.append(self._start())
            return actions
        self.next.at(deadline)
        self.next.waiting = True
        pressed = self.job.done.get("ShutdownDomain", 0.0)
        if pressed >= why.at and self.now < pressed + power.PRESS_EVERY:
            self.next.at(pressed + power.PRESS_EVERY)
            return []
        return [ShutdownDomain(self.at.name, self.uuid, self.running.instance)]

    def _sweep(self, facts: DomainFacts) -> list[Action]:
        """Delete seed media that no definition uses any more."""
        used = {disk.path for disk in facts.disks.disks}
        if self.seen.active:
            used |= {disk.path for disk in self.seen.active.disks.disks}
        names = self.view.read("volumes-of", self.vm.uid) or ()
        seeds = [name for name in names if name.endswith(".iso") and self.at.path(name) not in used]
        return [DeleteVolume(self.at.name, POOL, name) for name in seeds]

    # -- what others may know -----------------------------------------------------------------

    def _publish(self, progress: dict[str, Any]) -> dict[Fact, Any]:
        facts: dict[Fact, Any] = {("operation", uid): state for uid, state in progress.items()}
        if self._holds():
            for disk in self.needs.claims:
                facts["attached", (disk, self.vm.key)] = True
        return facts

    def _holds(self) -> bool:
        """True while an instance runs or is about to."""
        memory = self.next.memory
        if self.running is not None and self.running.on:
            return True
        if memory is None or self.vm.deleted or not self.needs.ready:
            return False
        return memory.power.on if self.running is None else power.start_due(memory, self.running)
