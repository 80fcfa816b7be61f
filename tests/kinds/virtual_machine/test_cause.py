"""Why something is done to a machine, as logs say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.actions import (
    Action,
    AttachDevice,
    DefineDomain,
    DetachDevice,
    EndDiskCopy,
    GrowDisk,
    ResumeDomain,
    ShutdownDomain,
    StartDomain,
)
from agent.core.changes import Change, Disposition
from agent.core.drift import DEFINITION, INSTANCE, Drift, Edit
from agent.core.jobs import Job
from agent.core.known import OBJECT, OPERATIONS, Fact
from agent.core.metadata import DomainMetadata, Recorded
from agent.core.model import Key
from agent.kinds.virtual_machine.cause import GONE, cause
from agent.kinds.virtual_machine.intent import Intent
from tests.kinds.deciding import made as accepted
from tests.kinds.deciding import view_of
from tests.kinds.virtual_machine.test_deeds import DELETED, HELD, KEY, VM, situation
from tests.kinds.virtual_machine.test_power import NOW

START = StartDomain("node-1", "uuid")
AGAIN = StartDomain("node-1", "uuid", again=True)
DEFINE = DefineDomain("node-1", "uuid", "", "<domain/>")
RESUME = ResumeDomain("node-1", "uuid", "one")
PIVOT = EndDiskCopy("node-1", "uuid", "one", "serial", "/pool/there", pivot=True)
PRESS = ShutdownDomain("node-1", "uuid", "one")
ATTACH = AttachDevice("node-1", "uuid", "one", "VirtualDisk data", "serial", "<disk/>")
DETACH = DetachDevice("node-1", "uuid", "one", "VirtualDisk data", "serial")
GROW = GrowDisk("node-1", "uuid", "one", "gitvirt", "data.qcow2", 1)
OFF = {"state": "shutoff", "reason": "shutdown"}
CORES = Change("replace", "cpu.cores", 1, 2, Disposition.RESTART)
EDITED = Drift((Edit(DEFINITION, "cpu.cores", 1, 2, Disposition.IMMEDIATE),))
UNPLUGGED = Drift((Edit(INSTANCE, "Network lan", {"bridge": "br0"}, None, Disposition.IMMEDIATE),))
BOTH = Drift((*EDITED.edits, *UNPLUGGED.edits))
CARD = replace(ATTACH, what="Network lan", device="52:54:00:00:00:01")
OPERATION = Key("VirtualMachineOperation", "default", "nightly")
KNOWN: Mapping[Fact, Any] = {
    (OPERATIONS, KEY): (OPERATION,),
    (OBJECT, OPERATION): accepted(OPERATION, {"type": "Stop"}),
}
TO_REMEMBER = "to remember what has happened"


def under_way(kind: str, uid: str = "uid-nightly") -> DomainMetadata:
    return replace(HELD, operations=(Recorded(uid, kind, force=False, target="one", at=int(NOW)),))


@pytest.mark.parametrize(
    ("what", "memory", "drift", "actions", "why"),
    [
        ({}, HELD, Drift(), (), ""),
        ({"vm": DELETED}, HELD, Drift(), (), ""),
        ({"vm": DELETED}, HELD, Drift(), (PRESS, RESUME), GONE),
        ({}, under_way("Stop"), Drift(), (RESUME,), "there is space again"),
        ({}, HELD, Drift(), (PIVOT,), "a disk goes where its storage class says"),
        ({}, under_way("Stop"), Drift(), (PRESS,), "operation nightly (Stop)"),
        ({}, under_way("Stop", "lost"), Drift(), (PRESS,), "operation lost (Stop)"),
        ({"running": None}, under_way("Stop"), Drift(), (PRESS,), TO_REMEMBER),
        ({}, under_way("Automatic"), Drift(), (PRESS,), "automatic restart for cpu.cores: 1 → 2"),
        ({}, under_way("Reboot"), Drift(), (PRESS,), "its guest reboots, and changes wait for that"),
        ({"job": Job(failed="DefineDomain")}, under_way("Stop"), Drift(), (DEFINE,), "operation nightly (Stop)"),
        ({"job": Job(failed="DefineDomain"), **OFF}, HELD, EDITED, (DEFINE, AGAIN), "tried again"),
        ({"job": Job(failed="UndefineDomain"), **OFF}, HELD, EDITED, (DEFINE, AGAIN), "powered off by its guest"),
        (OFF, HELD, EDITED, (DEFINE, START), "changed by hand: cpu.cores 1 → 2"),
        (OFF, HELD, EDITED, (START,), TO_REMEMBER),
        (OFF, HELD, Drift(), (DEFINE,), TO_REMEMBER),
        ({}, HELD, Drift(), (DEFINE, ATTACH), "for what is attached to it"),
        ({"vm": replace(VM, generation=2)}, HELD, Drift(), (DEFINE, CARD), ""),
        ({}, HELD, UNPLUGGED, (CARD,), "changed by hand: Network lan removed"),
        ({}, HELD, UNPLUGGED, (DEFINE, ATTACH), "for what is attached to it"),
        ({}, HELD, BOTH, (DEFINE, CARD), "changed by hand: Network lan removed, cpu.cores 1 → 2"),
        ({}, HELD, Drift(), (DETACH, GROW), "for a disk that grows and for what is attached to it"),
        ({"vm": replace(VM, generation=2), **OFF}, HELD, Drift(), (DEFINE,), ""),
        ({"vm": replace(VM, source="a:b"), **OFF}, HELD, Drift(), (DEFINE,), ""),
    ],
)  # fmt: skip
def test_what_is_done_has_a_reason(
    what: dict[str, Any],
    memory: DomainMetadata,
    drift: Drift,
    actions: tuple[Action, ...],
    why: str,
) -> None:
    made = Intent(memory, pending=(CORES,), drift=drift)
    assert cause(situation(**what), made, actions, view_of(KNOWN)) == why


def test_what_has_no_domain_yet_is_wanted_by_its_manifest() -> None:
    case = situation(running=None)
    empty = replace(case, seen=replace(case.seen, raw=None, defined=None, active=None))
    assert cause(empty, Intent(HELD), (DEFINE,), view_of({})) == ""
