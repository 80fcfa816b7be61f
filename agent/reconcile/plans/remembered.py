"""What runs, as far as the ledger says it: the objects whose decisions bring a world about that is
as the ledger saw it last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lxml import etree

from agent.core.acceptance import suspended
from agent.core.annotations import SUSPEND
from agent.core.changes import SENSITIVE, sealed
from agent.core.host import RawDomain
from agent.core.identity import domain_name, domain_uuid, next_instance
from agent.core.ledger import Record
from agent.core.metadata import DomainMetadata, Power, to_xml
from agent.core.model import Json, Key, Manifest
from agent.core.schema import Kind
from agent.kinds.registry import OPERATION, VM
from agent.kinds.virtual_machine.phase import ON
from agent.kinds.virtual_machine.power import ALWAYS_OFF, ALWAYS_ON, BY_POLICY, MANUAL
from agent.kinds.virtual_machine_operation.plan import ENDED

PROVISIONING = "provisioning"


def running(records: Mapping[Key, Record], wanted: Mapping[Key, Manifest]) -> dict[Key, Record]:
    """The objects as what runs was made from them: what waits for a restart, or for somebody to
    resume a suspended machine, taken back. Machines without a domain come later: what others run
    with is not theirs.
    """
    still = {key for key, each in records.items() if suspended(each.obj.manifest)}
    return {
        key: _pinned(_as_running(each, wanted.get(key))) if has_domain(each) else each
        for key, each in records.items()
        if not _waits_for(each, still) and (key.kind != VM or has_domain(each))
    }


def has_domain(each: Record) -> bool:
    """True for a machine that is defined somewhere and not about to go."""
    defined = each.obj.key.kind == VM and bool(each.status.get("virtualMachinePods"))
    return defined and not each.obj.deleted


def domain(each: Record, rules: Kind, fleet: str, now: float) -> RawDomain:
    """The domain of a machine that could not be defined now, and is: of its definition no more is
    known than what it remembers.
    """
    obj, on = each.obj, each.status.get("phase") in ON
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
    root = etree.Element("domain")
    for tag, text in (("name", name), ("uuid", uuid)):
        etree.SubElement(root, tag).text = text
    etree.SubElement(root, "metadata").append(etree.fromstring(to_xml(memory)))
    xml = etree.tostring(root, encoding="unicode")
    state, reason = ("running", "booted") if on else ("shutoff", "shutdown")
    return RawDomain(uuid, name, state, reason, xml, xml if on else "")


def _waits_for(each: Record, machines: set[Key]) -> bool:
    """True for an operation that has not ended, on one of these machines."""
    key = each.obj.key
    if key.kind != OPERATION or each.status.get("phase") in ENDED:
        return False
    return Key(VM, key.namespace, each.obj.spec["virtualMachineName"]) in machines


def _pinned(each: Record) -> Record:
    """A machine that nobody has suspended, with a policy by which it is on or off as it is now."""
    manifest, phase = each.obj.manifest, each.status.get("phase")
    policy = ALWAYS_ON if phase in ON else MANUAL if phase == "Stopped" else ALWAYS_OFF
    annotations = {name: text for name, text in manifest.annotations.items() if name != SUSPEND}
    content = {**manifest.content, "spec": {**manifest.spec, "runPolicy": policy}}
    manifest = replace(manifest, annotations=annotations, content=content)
    return replace(each, obj=replace(each.obj, manifest=manifest))


def _as_running(each: Record, wanted: Manifest | None) -> Record:
    """The object with the spec that runs: what waits for a restart taken back."""
    waiting = each.status.get("restartAwaitingChanges", ())
    if each.obj.key.kind != VM or not waiting:
        return each
    spec = json.loads(json.dumps(each.obj.spec))
    items: dict[str, list[Mapping[str, Json]]] = {}
    for change in waiting:
        path = change["path"]
        parent, _, last = path.rpartition(".")
        value = change.get("currentValue")
        if last.isdigit():
            items.setdefault(parent, []).append(change)
        elif path == PROVISIONING and isinstance(value, str):
            spec[path] = _provisioned(value, wanted)
        elif value != SENSITIVE:
            _put_back(spec, path.split("."), value)
    for name, changes in items.items():
        spec[name] = _items_before(spec[name], changes)
    manifest = replace(each.obj.manifest, content={**each.obj.manifest.content, "spec": spec})
    return replace(each, obj=replace(each.obj, manifest=manifest))


def _provisioned(kind: str, wanted: Manifest | None) -> Mapping[str, Json]:
    """How a machine was told what to do at its first start, where only the type is known of it:
    what is wanted, if that has the same type, else something that needs nothing else.
    """
    new: Mapping[str, Json] = (wanted.spec if wanted else {}).get(PROVISIONING) or {}
    return new if new.get("type") == kind else {"type": "UserData", "userData": SENSITIVE}


def _items_before(new: list[Json], changes: Iterable[Mapping[str, Json]]) -> list[Json]:
    """A list as it was before some changes of its items."""
    added = [change["desiredValue"] for change in changes if "desiredValue" in change]
    old = [item for item in new if item not in added]
    removed = (change for change in changes if "currentValue" in change)
    for change in sorted(removed, key=lambda change: int(change["path"].rpartition(".")[2])):
        old.insert(int(change["path"].rpartition(".")[2]), change["currentValue"])
    return old


def _put_back(spec: dict[str, Json], path: list[str], value: Json) -> None:
    *parents, last = path
    for step in parents:
        spec = spec.setdefault(step, {})
    if value is None:
        spec.pop(last, None)
    else:
        spec[last] = value
