"""Leases: an address is whose lease says so, for as long as its holder is there and for a while
after. IP and MAC addresses differ in their names alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

from agent.core.documents import Path
from agent.core.facts import Decide, Decision, View
from agent.core.known import CLAIM, OBJECT, RELEASED, STATUS, WRITTEN, Fact
from agent.core.manifests import Check
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.status import seconds

MACHINE = "gitvirt.io/virtual-machine"
"""Annotation of a lease: the VM that its address was made for, which takes it back."""
VM = "VirtualMachine"
BOUND, RELEASE = "Bound", "Released"


@dataclass(frozen=True)
class Sort:
    """How addresses of one sort, and their leases, are called."""

    kind: str
    """Of the objects that reserve one."""
    lease: str
    ref: str
    """The field of a lease that says who holds it."""
    label: str
    """The label of a lease that says its holder's uid."""
    prefix: str
    between: str
    """What stands between the numbers of an address."""
    retention: float = 0.0
    """Seconds for which a released lease stays with its namespace."""

    def lease_of(self, address: str) -> Key:
        """The lease that stands for an address."""
        name = address.lower().replace(self.between, "-")
        return Key(self.lease, "", f"{self.prefix}-{name}")

    def held(self, holder: Object, address: str, machine: str) -> Manifest:
        """The lease of an address as its holder has it; `machine` names the VM that the address was
        made for, if it was.
        """
        key = holder.key
        ref = {"name": key.name, "namespace": key.namespace}
        annotations = {MACHINE: machine} if machine else {}
        labels = {self.label: holder.uid}
        return Manifest(self.lease_of(address), labels, annotations, {"spec": {self.ref: ref}})

    def address_of(self, lease: Key) -> str:
        """The address that a lease stands for."""
        return lease.name.removeprefix(f"{self.prefix}-").replace("-", self.between)


IP = Sort(
    "VirtualMachineIPAddress",
    "VirtualMachineIPAddressLease",
    "virtualMachineIPAddressRef",
    "virtualization.deckhouse.io/virtual-machine-ip-address-uid",
    "ip",
    ".",
    600.0,
)
MAC = Sort(
    "VirtualMachineMACAddress",
    "VirtualMachineMACAddressLease",
    "virtualMachineMACAddressRef",
    "virtualization.deckhouse.io/virtual-machine-mac-address-uid",
    "mac",
    ":",
)


class Standing(Enum):
    """Whose a lease is, as somebody sees it who wants it."""

    OWN = "the asker's own, or nobody's: then it only has to be made"
    RELEASED = "nobody's any more, in the asker's namespace"
    ELSEWHERE = "nobody's any more, in another namespace"
    TAKEN = "somebody else's"


def standing(sort: Sort, asker: Object, address: str, view: View) -> Standing:
    """That nobody's lease becomes the asker's own is no news for it: it says so itself."""
    key = sort.lease_of(address)
    if view.part(CLAIM, key, partial(_is_anothers, asker.key)):
        return Standing.TAKEN
    if not view.part(OBJECT, key, partial(_is_not_held_by, asker.uid, sort.label)):
        return Standing.OWN
    lease = view.object(key)
    assert lease is not None  # noqa: S101  # somebody has it
    its_holder = holder(sort, lease)
    if its_holder.name and _holds(sort, lease, view):
        return Standing.TAKEN
    same = its_holder.namespace == asker.key.namespace
    return Standing.RELEASED if same else Standing.ELSEWHERE


def is_written(sort: Sort, address: str, view: View) -> bool:
    """True if the status branch shows a lease as it is."""
    key = sort.lease_of(address)
    written = view.read(WRITTEN, key)
    return written is not None and view.part(OBJECT, key, _generation) == written


def deciding(sort: Sort) -> Decide:
    """How leases of a sort decide."""

    def decide(lease: Object, view: View) -> Decision:
        its_holder = holder(sort, lease)
        if its_holder.name and _holds(sort, lease, view):
            return _HELD
        taker = view.read(CLAIM, lease.key)
        asker = view.object(taker) if taker is not None else None
        if asker is not None and asker.key.namespace == its_holder.namespace:
            address = str(view.previous(asker.key).get("address", ""))
            machine = lease.manifest.annotations.get(MACHINE, "")
            becomes = sort.held(asker, address, machine if asker.owner else "")
            taken = becomes if becomes.key == lease.key else None
            return Decision(becomes=taken, publish=_free(sort, lease))
        return _released(sort, lease, view)

    return decide


def declared(sort: Sort) -> Check:
    """Nobody declares a lease."""

    def check(_: Mapping[str, Json]) -> Iterator[tuple[Path, str]]:
        yield (
            ("kind",),
            f"cannot be declared: leases are made for a {sort.kind}, which says what address it is",
        )

    return check


def _released(sort: Sort, lease: Object, view: View) -> Decision:
    """It stays with the namespace for a while, and with the VM that it was made for."""
    ref = lease.spec[sort.ref]
    assert isinstance(ref, Mapping)  # noqa: S101  # the schema says so
    until = _since(view.previous(lease.key), view.now) + sort.retention
    told = Condition(BOUND, "False", RELEASE)
    free = {**lease.manifest.content, "spec": {sort.ref: {**ref, "name": ""}}}
    manifest = Manifest(lease.key, {}, lease.manifest.annotations, free)
    return Decision(
        status={"phase": RELEASE, "conditions": [told]},
        becomes=manifest,
        publish=_free(sort, lease),
        wake=until,
        gone=view.now >= until,
    )


def _free(sort: Sort, lease: Object) -> dict[Fact, Key]:
    """That the machine which an address was made for finds it."""
    machine = lease.manifest.annotations.get(MACHINE)
    vm = holder(sort, lease)._replace(kind=VM, name=machine or "")
    return RELEASED.states(vm, lease.key) if machine else {}


def _since(previous: Mapping[str, Json], now: float) -> float:
    """When it was released."""
    known = (each for each in previous.get("conditions", ()) if each["type"] == BOUND)
    return next((seconds(each["lastTransitionTime"]) for each in known if _is_off(each)), now)


def _is_off(condition: Mapping[str, Json]) -> bool:
    return bool(condition["status"] == "False")


def holder(sort: Sort, lease: Object) -> Key:
    """Whoever holds a lease; without a name where it was released."""
    ref = lease.spec[sort.ref]
    assert isinstance(ref, Mapping)  # noqa: S101  # the schema says so
    return Key(sort.kind, ref["namespace"], ref["name"])


def _holds(sort: Sort, lease: Object, view: View) -> bool:
    """True if the holder that a lease names is there, is the one that took it, and goes by it."""
    key = holder(sort, lease)
    uid = view.part(OBJECT, key, _uid)
    if uid is None or lease.manifest.labels.get(sort.label) != uid:
        return False
    address = view.part(STATUS, key, address_in)
    return not address or sort.lease_of(address) == lease.key


_HELD = Decision(status={"phase": BOUND, "conditions": [Condition(BOUND, "True", BOUND)]})


def address_in(status: Mapping[str, Json] | None) -> str:
    """The address that a status tells of; empty where it tells of none."""
    return str(status.get("address", "")) if status is not None else ""


def _is_anothers(asker: Key, claim: Key | None) -> bool:
    return claim is not None and claim != asker


def _is_not_held_by(uid: str, label: str, lease: Object | None) -> bool:
    """True of a lease that is there for somebody else, or was."""
    return lease is not None and lease.manifest.labels.get(label) != uid


def _generation(obj: Object | None) -> int | None:
    return obj.generation if obj is not None else None


def _uid(obj: Object | None) -> str | None:
    return obj.uid if obj is not None else None
