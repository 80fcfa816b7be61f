"""The kinds in the order in which a pass decides about them: later ones see what earlier ones
decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from agent.core.facts import Decide
from agent.core.ledger import Record
from agent.core.manifests import Checks
from agent.core.model import Json, Key, Manifest, Object
from agent.core.schema import Catalogue
from agent.kinds import (
    module_config,
    node,
    resource_quota,
    secret,
    storage_class,
    virtual_disk,
    virtual_disk_snapshot,
    virtual_image,
    virtual_machine,
    virtual_machine_block_device_attachment,
    virtual_machine_class,
    virtual_machine_ip_address,
    virtual_machine_ip_address_lease,
    virtual_machine_mac_address,
    virtual_machine_mac_address_lease,
    virtual_machine_operation,
    virtual_machine_snapshot,
    virtual_machine_snapshot_operation,
)
from agent.kinds.content import at
from agent.kinds.notes import noted
from agent.kinds.record import KindRecord
from agent.kinds.suspension import suspendable

RECORDS: Mapping[str, KindRecord] = {
    "Node": node.RECORD,
    "ResourceQuota": resource_quota.RECORD,
    "StorageClass": storage_class.RECORD,
    "ModuleConfig": module_config.RECORD,
    "Secret": secret.RECORD,
    "VirtualMachineClass": virtual_machine_class.RECORD,
    "ClusterVirtualImage": virtual_image.RECORD,
    "VirtualImage": virtual_image.RECORD,
    "VirtualDisk": virtual_disk.RECORD,
    "VirtualMachineBlockDeviceAttachment": virtual_machine_block_device_attachment.RECORD,
    "VirtualMachineIPAddressLease": virtual_machine_ip_address_lease.RECORD,
    "VirtualMachineIPAddress": virtual_machine_ip_address.RECORD,
    "VirtualMachineMACAddressLease": virtual_machine_mac_address_lease.RECORD,
    "VirtualMachineMACAddress": virtual_machine_mac_address.RECORD,
    "VirtualMachine": virtual_machine.RECORD,
    "VirtualDiskSnapshot": virtual_disk_snapshot.RECORD,
    "VirtualMachineSnapshot": virtual_machine_snapshot.RECORD,
    "VirtualMachineOperation": virtual_machine_operation.RECORD,
    "VirtualMachineSnapshotOperation": virtual_machine_snapshot_operation.RECORD,
}

ORDER = {name: position for position, name in enumerate(RECORDS)}
CHECKS: Checks = {name: record.checks for name, record in RECORDS.items()}
BUILT_INS = tuple(manifest for record in RECORDS.values() for manifest in record.built_in)
(OF_NODE,) = (record.of_node for record in RECORDS.values() if record.of_node)
(MACHINES,) = (record.machines for record in RECORDS.values() if record.machines)
IMPORTING = tuple(name for name, record in RECORDS.items() if record.needed)
"""Kinds of which an object may need image data."""


def decisions(catalogue: Catalogue) -> dict[str, Decide]:
    """How each kind decides."""
    return {
        name: suspendable(noted(record.decide(catalogue.kinds[name])))
        for name, record in RECORDS.items()
    }


def complete(
    manifest: Manifest, earlier: Mapping[str, Json], manifests: Mapping[Key, Manifest]
) -> Manifest:
    """The manifest with what comes from others; `earlier` is the spec as last accepted, if any."""
    return RECORDS[manifest.key.kind].complete(manifest, earlier, manifests)


def completed(manifest: Manifest) -> bool:
    """False while another manifest may complete it later, without a change of its own."""
    return RECORDS[manifest.key.kind].completed(manifest)


def farewell(entry: Record, staying: Set[Key]) -> str:
    """What becomes of an object that is deleted, and of its data."""
    return RECORDS[entry.obj.key.kind].farewell(entry, staying)


def lies(fleet: str, entry: Record) -> tuple[tuple[str, str], ...]:
    """Pool and name of each volume that an object's own data is in, whether it is there or not."""
    return tuple(RECORDS[entry.obj.key.kind].lies(fleet, entry))


def from_upload(obj: Object) -> bool:
    """True for an object that somebody uploads the data of."""
    return obj.key.kind in IMPORTING and at(obj.spec, "dataSource", "type") == "Upload"


def needed(fleet: str, records: Iterable[Record]) -> frozenset[str] | None:
    """Volumes whose data some object was made to have; None while that is not known of all."""
    names = set()
    for record in records:
        need = RECORDS[record.obj.key.kind].needed
        name = need(fleet, record) if need else ""
        if name is None:
            return None
        names.add(name)
    return frozenset(names - {""})


def outlived(requests: Iterable[Record], now: float) -> tuple[frozenset[Key], frozenset[Key]]:
    """Requests that ended so long ago that they go, and the others that ended."""
    of_kind: dict[str, list[Record]] = {}
    for entry in requests:
        of_kind.setdefault(entry.obj.key.kind, []).append(entry)
    decided = [
        record.outlived(of_kind.get(name, ()), now)
        for name, record in RECORDS.items()
        if record.outlived
    ]
    gone, kept = (frozenset().union(*keys) for keys in zip(*decided, strict=True))
    return gone, kept
