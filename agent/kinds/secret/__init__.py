"""Secret: data that is not shown."""

from agent.kinds.record import KindRecord
from agent.kinds.secret.validation import CHECKS

RECORD = KindRecord(checks=CHECKS)
