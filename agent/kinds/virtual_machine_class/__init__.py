"""VirtualMachineClass: the CPU that guests see, and the sizes that they may have."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_class.builtin import CLASSES
from agent.kinds.virtual_machine_class.cpu import GuestCpu
from agent.kinds.virtual_machine_class.decide import ClassData, decide, lacking
from agent.kinds.virtual_machine_class.rivals import rivals
from agent.kinds.virtual_machine_class.sizing import FULL, default_core_fraction, violations
from agent.kinds.virtual_machine_class.spec import class_spec
from agent.kinds.virtual_machine_class.validation import CHECKS, IS_DEFAULT, KIND, is_default

__all__ = [
    "FULL",
    "IS_DEFAULT",
    "KIND",
    "RECORD",
    "ClassData",
    "GuestCpu",
    "class_spec",
    "default_core_fraction",
    "is_default",
    "violations",
]

RECORD = KindRecord(
    decide=lambda _: decide,
    checks=CHECKS,
    built_in=CLASSES,
    rivals=rivals,
    lacking=lacking,
)
