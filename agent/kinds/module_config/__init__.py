"""ModuleConfig: settings of the fleet."""

from agent.kinds.module_config.validation import CHECKS
from agent.kinds.record import KindRecord

RECORD = KindRecord(checks=CHECKS)
