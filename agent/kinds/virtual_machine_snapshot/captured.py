"""What a machine consists of at one moment: its disks, and the commits in which its manifests
stand. Git keeps them; what is secret stays there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.core.domain_xml import parse
from agent.core.facts import View
from agent.core.identity import domain_uuid
from agent.core.known import ATTACHMENTS, DOMAIN, DOMAIN_AT
from agent.core.metadata import DomainMetadata, from_domain
from agent.core.model import Json, Key, Object
from agent.kinds.virtual_disk import users

DISK = "VirtualDisk"
API = "virtualization.deckhouse.io/v1alpha2"


def running(vm: Object, view: View) -> DomainMetadata | None:
    """What the running instance was started with; None while none runs."""
    uuid = domain_uuid(view.fleet, vm.key)
    for node in view.read(DOMAIN_AT, uuid) or ():
        raw = view.read(DOMAIN, (node, uuid))
        if raw is not None and raw.active and raw.active_xml:
            return from_domain(parse(raw.active_xml))
    return None


def disks_of(vm: Object, view: View) -> tuple[Key, ...]:
    """The disks that the instance has, or that the next one will have; those that were attached
    meanwhile among them.
    """
    instance = running(vm, view)
    listed = list(_disks(vm, instance.spec if instance else vm.spec))
    for each in view.previous(vm.key).get("blockDeviceRefs", ()):
        key = Key(DISK, vm.key.namespace, each["name"])
        if each["kind"] == DISK and each.get("attached") and vm.key in users(key, view):
            listed.append(key)
    return tuple(dict.fromkeys(listed))


def resources(vm: Object, of: tuple[Key, ...], view: View) -> list[Mapping[str, Json]]:
    """What a restore needs of Git, as `<commit>:<path>`. A running instance may be older than the
    machine's manifest.
    """
    instance = running(vm, view)
    spec = instance.spec if instance else vm.spec
    named = [*((API, key) for key in of), *((API, key) for key in _attachments(vm, view))]
    named += [("v1", key) for key in _secrets(vm, spec)]
    objects = ((version, view.object(key)) for version, key in named)
    return [
        _resource(API, vm.key, instance.source if instance else vm.source),
        *(_resource(version, obj.key, obj.source) for version, obj in objects if obj is not None),
    ]


def _disks(vm: Object, spec: Mapping[str, Any]) -> Iterator[Key]:
    """Those that a spec of the machine lists."""
    for ref in spec.get("blockDeviceRefs") or ():
        if ref["kind"] == DISK:
            yield Key(DISK, vm.key.namespace, ref["name"])


def _secrets(vm: Object, spec: Mapping[str, Any]) -> Iterator[Key]:
    for name in ("userDataRef", "sysprepRef"):
        if ref := (spec.get("provisioning") or {}).get(name):
            yield Key("Secret", vm.key.namespace, ref["name"])


def _attachments(vm: Object, view: View) -> Iterator[Key]:
    yield from view.read(ATTACHMENTS, vm.key) or ()


def _resource(version: str, key: Key, source: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": key.kind, "name": key.name, "source": source}
