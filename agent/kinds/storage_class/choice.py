"""The class of one object, and what it means for it."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.facts import View
from agent.core.identity import POOL
from agent.core.known import DEFAULTS
from agent.core.model import Condition, Key
from agent.kinds.storage_class.decide import ClassData

READY = "StorageClassReady"
_MISSING = (
    "StorageClass {} is not there: create it, or name another one in "
    "spec.persistentVolumeClaim.storageClassName."
)
_FIXED = (
    "StorageClass {} does not let disks grow: put back the size, or set its allowVolumeExpansion "
    "to true."
)
_UNUSABLE = "StorageClass {} cannot be used: {}"


@dataclass(frozen=True)
class Storage:
    """What the class of an object says. Without any class all is as it is in the pool gitvirt."""

    name: str = ""
    pool: str = POOL
    """libvirt's name for the pool; empty where nobody can tell which one is meant."""
    problem: str = ""
    """Why nothing can be made there, in a sentence."""
    waits: bool = False
    """True if a disk is made when the first machine refers to it, and not before."""
    fixed: str = ""
    """Why disks may not become larger, in a sentence; empty where they may."""


def storage(name: str, view: View) -> Storage:
    """The class of that name; an empty name is that of no class."""
    if not name:
        return Storage()
    key = Key("StorageClass", "", name)
    named, data = view.object(key), view.export(ClassData, key)
    if named is None or named.deleted or data is None:
        return Storage(name, "", _MISSING.format(name))
    problem = _UNUSABLE.format(name, data.problem) if data.problem else ""
    fixed = "" if data.grows else _FIXED.format(name)
    return Storage(name, data.pool, problem, waits=data.waits, fixed=fixed)


def default_class(view: View) -> str:
    """The class of what names none: of several that are marked the newest, as in Kubernetes. Empty
    if there is none.
    """
    marked = view.read(DEFAULTS, Key("StorageClass", "", ""))
    return marked[-1].name if marked else ""


def ready(its_class: Storage, reason: str) -> list[Condition]:
    """The condition, of an object that names a class; `reason` is given where it cannot be used."""
    if not its_class.name:
        return []
    if its_class.problem:
        return [Condition(READY, "False", reason, its_class.problem)]
    return [Condition(READY, "True", READY)]
