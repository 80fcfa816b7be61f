"""Whether the StorageClass that a manifest names is there. It decides about nothing yet: all
volumes lie in one pool.
"""

from __future__ import annotations

from agent.core.facts import View
from agent.core.identity import POOL
from agent.core.model import Condition, Key

READY = "StorageClassReady"


def storage_class(name: str | None, view: View, missing: str) -> list[Condition]:
    """The condition, of an object that names a class; `missing` is the reason where there is none
    of that name.
    """
    if not name:
        return []
    named = view.object(Key("StorageClass", "", name))
    if named is not None and not named.deleted:
        return [Condition(READY, "True", READY)]
    message = (
        f"StorageClass {name} is not there: create it, or name another one in "
        f"spec.persistentVolumeClaim.storageClassName. The data lies in the storage pool {POOL}."
    )
    return [Condition(READY, "False", missing, message)]
