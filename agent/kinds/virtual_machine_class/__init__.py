"""VirtualMachineClass: the CPU that guests see, and the sizes that they may have."""

from agent.kinds.record import KindRecord
from agent.kinds.virtual_machine_class.builtin import BUILT_IN
from agent.kinds.virtual_machine_class.decide import decide, lacking
from agent.kinds.virtual_machine_class.rivals import rivals
from agent.kinds.virtual_machine_class.validation import CHECKS

RECORD = KindRecord(
    decide=lambda _: decide,
    checks=CHECKS,
    built_in=BUILT_IN,
    rivals=rivals,
    lacking=lacking,
)
