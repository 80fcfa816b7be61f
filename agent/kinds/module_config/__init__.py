"""ModuleConfig: settings of the fleet."""

from agent.core.facts import View
from agent.core.model import Key
from agent.kinds.exports import AddressRanges
from agent.kinds.module_config.decide import decide
from agent.kinds.module_config.kept import in_use
from agent.kinds.module_config.validation import CHECKS
from agent.kinds.record import KindRecord

__all__ = ["RECORD", "SETTINGS", "address_ranges"]

SETTINGS = Key("ModuleConfig", "", "virtualization")

RECORD = KindRecord(decide=lambda _: decide, checks=CHECKS, holds=in_use)


def address_ranges(view: View) -> AddressRanges:
    """What machines' addresses are taken from; without any network where nobody has said."""
    return view.export(AddressRanges, SETTINGS) or AddressRanges()
