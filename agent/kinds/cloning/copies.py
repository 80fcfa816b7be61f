"""What becomes of each object that belongs to a machine, where another one is made like it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.core.facts import View
from agent.core.model import Json, Key
from agent.core.proposals import Draft
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.cloning.names import Naming, idle, new_name
from agent.kinds.exports import SnapshotData
from agent.kinds.virtual_disk import disk_spec

MACHINE, DISK = "VirtualMachine", "VirtualDisk"
ATTACHMENT = "VirtualMachineBlockDeviceAttachment"
SNAPSHOT = "VirtualDiskSnapshot"
SECRET = "Secret"  # noqa: S105  # the name of a kind
COPIED = frozenset((MACHINE, DISK, ATTACHMENT))
APART = frozenset(("VirtualMachineIPAddress", "VirtualMachineMACAddress"))
"""What no two machines can have."""
BEST_EFFORT = "BestEffort"


@dataclass(frozen=True)
class Captured:
    """What a machine consisted of at one moment."""

    namespace: str
    resources: Iterable[Mapping[str, Any]]
    """As the status of a VirtualMachineSnapshot lists them: each with its source."""
    parts: Mapping[str, str]
    """The VirtualDiskSnapshot of each disk, by the disk's name."""
    lasting: bool = False
    """True of a snapshot that was taken for itself: what has changed since matters."""


@dataclass(frozen=True)
class Copy:
    """One object of the machine. `key` is that of its copy, or its own where there is none."""

    key: Key
    message: str
    version: str
    draft: Draft | None = None
    problem: bool = False
    missing: bool = False
    """True of a problem without which the others can be copied."""

    def listed(self, state: str) -> dict[str, Json]:
        """An entry of `status.resources`."""
        return {
            "apiVersion": self.version,
            "kind": self.key.kind,
            "name": self.key.name,
            "status": "Failed" if self.problem else state,
            "message": self.message,
        }


def copies(captured: Captured, how: Naming, view: View) -> tuple[Copy, ...]:
    """The machine's first."""
    every = [_copy(captured, each, how, view) for each in captured.resources]
    times = Counter(each.key for each in every if each.draft is not None)
    return tuple(_twice(each) if times[each.key] > 1 else each for each in every)


def hindrance(every: Iterable[Copy], how: Naming) -> str:
    """Why nothing is made, in sentences; empty if something is."""
    every = list(every)
    strict = how["mode"] != BEST_EFFORT
    wrong = [each for each in every if each.problem and (strict or not each.missing)]
    told = [f"{each.key}: {each.message}" for each in wrong]
    origins = [each.draft.origin if each.draft else each.key for each in every]
    return " ".join((*told, *(idle(how, origins) if strict else ())))


def _copy(captured: Captured, each: Mapping[str, Any], how: Naming, view: View) -> Copy:
    origin, version = Key(each["kind"], captured.namespace, each["name"]), each["apiVersion"]
    if origin.kind not in COPIED:
        return _shared(captured, origin, each, view)
    key = origin._replace(name=new_name(origin, how))
    obj = view.object(origin)
    # of a snapshot that was found again, nobody knows what the manifests said
    source = each["source"] or (obj.source if obj is not None else "")
    known = obj.manifest if obj is not None and obj.source == source else None
    draft = Draft(key, origin, source, known)
    copy = Copy(key, f"It is made like {origin.name}.", version, draft)
    if view.object(key) is not None:
        why = "has no other name" if key == origin else "is there already"
        message = f"It {why}: choose another one in nameReplacement or customization."
        return replace(copy, message=message, problem=True)
    if origin.kind == MACHINE:
        message = (
            f"It is made like {origin.name}, without its labels, annotations and addresses; the "
            "guest gets a uid and MAC addresses of its own."
        )
        if known is None:
            commit = source[:12]
            message += f" It is as it was at commit {commit}: later changes are not in it."
        return replace(copy, message=message)
    return _disk(captured, copy, draft, view) if origin.kind == DISK else copy


def _disk(captured: Captured, copy: Copy, draft: Draft, view: View) -> Copy:
    """One that begins with what the snapshot has."""
    name = captured.parts.get(draft.origin.name)
    if name is None:
        message = "It is not in the snapshot."
        return replace(copy, message=message, problem=True, missing=True)
    part = Key(SNAPSHOT, captured.namespace, name)
    source = {"type": "ObjectRef", "objectRef": {"kind": SNAPSHOT, "name": name}}
    sets: list[tuple[tuple[str, ...], Json]] = [(("dataSource",), source)]
    data = view.export(SnapshotData, part)
    if data is not None:
        size = max(data.size, _asked(draft))
        sets.append((("persistentVolumeClaim", "size"), format_bytes(size)))
    elif captured.lasting:
        message = f"{part} is not ready: there is nothing to make it from."
        return replace(copy, message=message, problem=True)
    message = f"It is made from {part.name}, with what {draft.origin.name} held."
    return replace(copy, message=message, draft=replace(draft, sets=tuple(sets)))


def _asked(draft: Draft) -> int:
    """Bytes that the origin's manifest asks for, as far as it is known."""
    if draft.known is None:
        return 0
    size = disk_spec(draft.known.spec).get("persistentVolumeClaim", {}).get("size")
    return 0 if size is None else to_bytes(size)


def _shared(captured: Captured, key: Key, each: Mapping[str, Any], view: View) -> Copy:
    """What copies refer to as their origins do."""
    obj, version = view.object(key), each["apiVersion"]
    if obj is None or obj.deleted:
        message = "It is not there any more: put its manifest back."
        return Copy(key, message, version, problem=True, missing=True)
    was = each["source"]
    if captured.lasting and key.kind == SECRET and was and obj.source != was:
        message = "It has changed since the snapshot, and is referred to as it is."
        return Copy(key, message, version, problem=True, missing=True)
    return Copy(key, "It is referred to as it is, and not copied.", version)


def _twice(copy: Copy) -> Copy:
    message = "It would be made twice: choose other names."
    return replace(copy, message=message, problem=True)


def drafts(every: Iterable[Copy]) -> Iterator[Draft]:
    """Of all that can be made."""
    return (each.draft for each in every if each.draft is not None and not each.problem)
