"""ResourceQuota: what the machines of a namespace may take together."""

from agent.kinds.record import KindRecord
from agent.kinds.resource_quota.decide import decide

RECORD = KindRecord(decide=lambda _: decide)
