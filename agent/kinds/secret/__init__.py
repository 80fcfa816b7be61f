"""Secret: data that is not shown."""

from agent.kinds.record import KindRecord
from agent.kinds.secret.validation import CHECKS, CLOUD_INIT, USER_DATA

__all__ = ["CLOUD_INIT", "RECORD", "USER_DATA"]

RECORD = KindRecord(checks=CHECKS)
