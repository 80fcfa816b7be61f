"""What can be done to a host, one class a verb: here, and nowhere else, stands what an action of
`core.actions` does, what it relies on, what is read again, and how a plan takes it for done.
`execute` and `plans.simulate` carry them out; neither knows any by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.actions import (
    Action,
    AttachDevice,
    BeginDiskCopy,
    CopyVolume,
    CreateVolume,
    DefineDomain,
    DeleteConsoleLog,
    DeleteSeed,
    DestroyDomain,
    DetachDevice,
    DiscardUpload,
    DropSnapshot,
    EndDiskCopy,
    EraseVolume,
    GrowDisk,
    ImportImage,
    ResizeVolume,
    ResumeDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    TakeSnapshot,
    ThawGuest,
    UndefineDomain,
    WriteSeed,
)
from agent.core.locking import TryLock
from agent.core.moves import (
    AbortMigration,
    CarryDomain,
    DiscardLanding,
    LandDomain,
    LeaveSource,
    MigrateDomain,
    ResumeSource,
)
from agent.core.network_actions import HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.reconcile.news import NodeLanes, Submit
from agent.reconcile.verbs import (
    cold,
    content,
    copying,
    device,
    domain,
    locking,
    migration,
    moving,
    network,
    snapshot,
    volume,
)
from agent.reconcile.verbs.verb import A, Verb

VERBS: Mapping[type[Action], Verb[Any]] = {
    ImportImage: content.Import(),
    WriteSeed: content.Write(),
    CreateVolume: volume.Create(),
    CopyVolume: copying.Copy(),
    ResizeVolume: volume.Resize(),
    GrowDisk: volume.Grow(),
    DeleteSeed: volume.Delete(),
    DeleteConsoleLog: volume.Delete(),
    EraseVolume: volume.Erase(),
    DiscardUpload: volume.Discard(),
    TakeSnapshot: snapshot.Take(),
    DropSnapshot: snapshot.Drop(),
    ThawGuest: snapshot.Thaw(),
    DefineDomain: domain.Define(),
    UndefineDomain: domain.Undefine(),
    SetLiveMetadata: domain.WriteLiveMetadata(),
    AttachDevice: device.Attach(),
    DetachDevice: device.Detach(),
    BeginDiskCopy: moving.Begin(),
    EndDiskCopy: moving.End(),
    StartDomain: domain.Start(),
    ShutdownDomain: domain.Shutdown(),
    DestroyDomain: domain.Destroy(),
    ResumeDomain: domain.Resume(),
    MakeNetwork: network.Make(),
    StartNetwork: network.Start(),
    HoldAddress: network.Hold(),
    ReleaseAddress: network.Release(),
    MigrateDomain: migration.Migrate(),
    CarryDomain: cold.Carry(),
    AbortMigration: migration.Abort(),
    LandDomain: migration.Land(),
    LeaveSource: migration.Leave(),
    DiscardLanding: migration.Discard(),
    ResumeSource: migration.GoOn(),
    TryLock: locking.Try(),
}


def verb_of(action: A) -> Verb[A]:
    return VERBS[type(action)]


def lane(actions: Iterable[Action], lanes: NodeLanes) -> Submit:
    """Where a sequence is carried out: what waits long for others takes no worker from the rest."""
    verbs = [verb_of(action) for action in actions]
    if any(verb.moves for verb in verbs):
        return lanes.moves
    if any(verb.long for verb in verbs):
        return lanes.imports
    if all(verb.networks for verb in verbs):
        return lanes.networks
    return lanes.volumes if all(verb.queues for verb in verbs) else lanes.actions
