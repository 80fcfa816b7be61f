"""What runs, as far as the ledger says it: the objects whose decisions bring a world about that is
as the ledger saw it last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from agent.core.acceptance import suspended
from agent.core.annotations import SUSPEND
from agent.core.changes import sealed
from agent.core.domain_xml import bare
from agent.core.host import RawDomain
from agent.core.identity import domain_name, domain_uuid, next_instance
from agent.core.ledger import Record
from agent.core.metadata import DomainMetadata, Power
from agent.core.model import Key, Manifest
from agent.core.nodes import HOME
from agent.core.overview import ENDED
from agent.core.placement.rules import rules
from agent.core.placement.tenants import Tenant
from agent.core.quantity import to_bytes
from agent.core.schema import Kind
from agent.core.status import conditions
from agent.kinds.virtual_machine.phase import ON, SAVED
from agent.kinds.virtual_machine.power import ALWAYS_OFF, ALWAYS_ON, BY_POLICY, MANUAL
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_operation import operation_spec

VM = "VirtualMachine"
OPERATION = "VirtualMachineOperation"
PROVISIONING: Final = "provisioning"


def running(
    records: Mapping[Key, Record], wanted: Mapping[Key, Manifest], rules: Kind
) -> dict[Key, Record]:
    """The objects as what runs was made from them: what waits for a restart, or for somebody to
    resume a suspended machine, taken back. Machines without a domain come later: what others run
    with is not theirs.
    """
    still = {key for key, record in records.items() if suspended(record.obj.manifest)}
    return {
        key: _pinned(_as_running(record, wanted.get(key), rules)) if has_domain(record) else record
        for key, record in records.items()
        if not _waits_for(record, still) and (key.kind != VM or has_domain(record))
    }


def remembered_tenant(record: Record) -> Tenant:
    """A machine as placement sees it, by what the ledger says of it alone."""
    obj, spec = record.obj, machine_spec(record.obj.spec)
    return Tenant(
        obj.key,
        obj.manifest.labels,
        to_bytes(spec["memory"]["size"]),
        rules=rules(obj.spec, obj.manifest.labels, obj.key.namespace),
        at=record.status.get(HOME) or record.status.get("nodeName", ""),
        on=record.status.get("phase") in ON,
    )


def has_domain(record: Record) -> bool:
    """True for a machine that is defined somewhere and not about to go."""
    defined = record.obj.key.kind == VM and bool(record.status.get("virtualMachinePods"))
    return defined and not record.obj.deleted


def is_saved(record: Record) -> bool:
    """True for a machine of which the state of an instance lies on a host."""
    return any(
        (condition.type, condition.reason) == ("Running", SAVED)
        for condition in conditions(record.status)
    )


def domain(record: Record, rules: Kind, fleet: str, now: float) -> RawDomain:
    """The domain of a machine that could not be defined now, and is: of its definition no more is
    known than what it remembers.
    """
    obj, on = record.obj, record.status.get("phase") in ON
    key, instance = obj.key, next_instance(obj.uid, "", now)
    memory = DomainMetadata(
        fleet=fleet,
        namespace=key.namespace,
        name=key.name,
        uid=obj.uid,
        created=obj.created,
        generation=obj.generation,
        source=obj.source,
        instance=instance,
        power=Power(on=on, by=BY_POLICY, at=int(now), instance=instance if on else ""),
        spec=sealed(rules, obj.spec, obj.uid),
        labels=dict(obj.manifest.labels),
        annotations=dict(obj.manifest.annotations),
    )
    name, uuid = domain_name(key), domain_uuid(fleet, key)
    xml = bare(name, uuid, memory)
    state, reason = ("running", "booted") if on else ("shutoff", "shutdown")
    return RawDomain(uuid, name, state, reason, xml, xml if on else "", remembered=True)


def _waits_for(record: Record, machines: set[Key]) -> bool:
    """True for an operation that has not ended, on one of these machines."""
    key = record.obj.key
    if key.kind != OPERATION or record.status.get("phase") in ENDED:
        return False
    name = operation_spec(record.obj.spec)["virtualMachineName"]
    return Key(VM, key.namespace, name) in machines


def _pinned(record: Record) -> Record:
    """A machine that nobody has suspended, with a policy by which it is on or off as it is now."""
    manifest, phase = record.obj.manifest, record.status.get("phase")
    policy = ALWAYS_ON if phase in ON else MANUAL if phase == "Stopped" else ALWAYS_OFF
    annotations = {name: text for name, text in manifest.annotations.items() if name != SUSPEND}
    content = {**manifest.content, "spec": {**manifest.spec, "runPolicy": policy}}
    manifest = replace(manifest, annotations=annotations, content=content)
    return replace(record, obj=replace(record.obj, manifest=manifest))


def _as_running(record: Record, wanted: Manifest | None, rules: Kind) -> Record:
    """The object with the spec that runs. Where what a guest was told at its first start is hidden,
    it is what is wanted, if that has the same type.
    """
    recorded = record.status.get("runningSpec")
    if record.obj.key.kind != VM or not recorded:
        return record
    spec = {**rules.defaulted({"spec": recorded})["spec"]}
    told = machine_spec(spec).get(PROVISIONING)
    new = machine_spec(wanted.spec).get(PROVISIONING) if wanted else None
    if told and new and told["type"] == new["type"]:
        spec[PROVISIONING] = new
    manifest = replace(record.obj.manifest, content={**record.obj.manifest.content, "spec": spec})
    return replace(record, obj=replace(record.obj, manifest=manifest))
