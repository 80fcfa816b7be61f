"""VirtualMachine: one libvirt domain."""

from agent.core.nodes import HOME
from agent.kinds.record import KindRecord, Machines
from agent.kinds.virtual_machine.addresses import addressing
from agent.kinds.virtual_machine.changes import differences
from agent.kinds.virtual_machine.decide import Planner
from agent.kinds.virtual_machine.defaults import awaits_class, complete
from agent.kinds.virtual_machine.farewell import farewell
from agent.kinds.virtual_machine.intent import by_itself
from agent.kinds.virtual_machine.phase import ON
from agent.kinds.virtual_machine.remembered import (
    domain,
    has_domain,
    is_saved,
    remembered_tenant,
    running,
)
from agent.kinds.virtual_machine.schedule import scheduling
from agent.kinds.virtual_machine.validation import CHECKS

__all__ = ["RECORD"]

GOES = "goes to node {}"
RECORD = KindRecord(
    decide=lambda rules: scheduling(addressing(Planner(rules).decide)),
    checks=CHECKS,
    complete=complete,
    completed=lambda manifest: not awaits_class(manifest),
    farewell=farewell,
    differences=differences,
    hindrances=frozenset(
        (
            "BlockDevicesReady",
            "VirtualMachineIPAddressReady",
            "VirtualMachineClassReady",
            "ProvisioningReady",
            "NetworkReady",
            "SizingPolicyMatched",
            "Schedulable",
            "PodNotStarted",
        )
    ),
    promise=lambda status: GOES.format(status[HOME]) if HOME in status else "",
    machines=Machines(ON, by_itself, running, has_domain, is_saved, domain, remembered_tenant),
)
