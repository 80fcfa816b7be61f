"""What a verb does to a host, what is seen of that afterwards, and what a plan takes for done are one and the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from pathlib import Path
from threading import Semaphore

import pytest
from lxml import etree

from agent.core import actions, locking, moves, network_actions
from agent.core.actions import (
    Action,
    AttachDevice,
    BeginDiskCopy,
    CopyVolume,
    CreateVolume,
    DefineDomain,
    DeleteConsoleLog,
    DeleteSeed,
    DeleteVolume,
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
    SnapshotSource,
    StartDomain,
    TakeSnapshot,
    ThawGuest,
    UndefineDomain,
    WriteSeed,
)
from agent.core.backup import Mark
from agent.core.facts import Engine
from agent.core.host import HostError, RawDomain, RawVolume, Reading, version
from agent.core.identity import POOL, unfinished
from agent.core.image_sources import HttpSource
from agent.core.locking import TryLock
from agent.core.metadata import DomainMetadata, Power, to_xml
from agent.core.model import Key
from agent.core.moves import BetweenNodes
from agent.core.network import Held, NatNetwork, NetworkReading
from agent.core.network_actions import HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.images.pipeline import Prepared
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket, by_itself
from agent.reconcile.plans.simulate import simulated
from agent.reconcile.sources import http
from agent.reconcile.supply import Source
from agent.reconcile.verbs import VERBS, site
from agent.reconcile.verbs.site import Sharing
from agent.reconcile.verbs.verb import Done, OutdatedError
from agent.reconcile.world import DomainRead, FullRead, World
from tests.memory_host import NODE, MemoryHost, Volume

HERE = NODE.name
VM, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
KEY = Key("VirtualMachine", "default", "vm")
SERIAL = "0123456789abcdef0123456789abcdef"
USED, SEED, NEW = "used.qcow2", "seed.iso", "new.qcow2"
PATH = f"/var/lib/libvirt/{POOL}"


def metadata(instance: str) -> str:
    power = Power(on=True, by="policy", at=0, instance=instance)
    return to_xml(DomainMetadata("default", "default", "vm", "u", "", 1, "", instance, power))


def definition(
    uuid: str = VM, name: str = "default.vm", file: str = USED, instance: str = "one"
) -> str:
    return (
        f"<domain><name>{name}</name><uuid>{uuid}</uuid><metadata>{metadata(instance)}</metadata>"
        f'<devices><disk type="file"><driver name="qemu" type="qcow2"/><source file="{PATH}/{file}"/></disk>'
        "</devices></domain>"
    )


def off(host: MemoryHost) -> None:
    host.define(definition())


def on(host: MemoryHost) -> None:
    off(host)
    host.start(VM)
    host.define(definition(instance="two"))


def starved(host: MemoryHost) -> None:
    on(host)
    host.pause(VM, "ioerror")


def paused(host: MemoryHost) -> None:
    on(host)
    host.pause(VM)


def half_on(host: MemoryHost) -> None:
    off(host)
    raw = host.read_domain(VM)
    assert raw is not None
    host._put(replace(raw, state="paused", reason="starting-up", active_xml=raw.inactive_xml))


def transient(host: MemoryHost) -> None:
    on(host)
    raw = host.read_domain(VM)
    assert raw is not None
    host._put(replace(raw, inactive_xml=""))


def beside(host: MemoryHost) -> None:
    off(host)
    host.define(definition(OTHER, "other"))


def rebooted(host: MemoryHost) -> None:
    on(host)
    host.guest_reboot(VM)


def with_seed(host: MemoryHost) -> None:
    off(host)
    host.pools[POOL][SEED] = Volume(f"{PATH}/{SEED}", 4, content=b"seed")


def with_used_seed(host: MemoryHost) -> None:
    host.define(definition(file=SEED))
    host.pools[POOL][SEED] = Volume(f"{PATH}/{SEED}", 4, content=b"seed")


def with_whole_seed(host: MemoryHost) -> None:
    host.pools[POOL][SEED] = Volume(f"{PATH}/{SEED}", 1 << 20, content=b"s" * (1 << 20))


def with_overlay(host: MemoryHost) -> None:
    host.pools[POOL]["top.qcow2"] = Volume(f"{PATH}/top.qcow2", 1, f"{PATH}/{USED}")


def with_writer(host: MemoryHost) -> None:
    host.define(definition().replace("</disk>", f"<serial>{SERIAL}</serial></disk>"))
    host.start(VM)


def with_half_copy(host: MemoryHost) -> None:
    for name in (NEW, unfinished(NEW)):
        host.pools[POOL][name] = Volume(f"{PATH}/{name}", 1 << 20, content=b"half")


def with_used_half_copy(host: MemoryHost) -> None:
    with_half_copy(host)
    host.define(definition(file=NEW))


def with_copy(host: MemoryHost) -> None:
    host.pools[POOL][NEW] = Volume(f"{PATH}/{NEW}", 1 << 20, content=b"written to since")


def with_half_source(host: MemoryHost) -> None:
    name = unfinished(USED)
    host.pools[POOL][name] = Volume(f"{PATH}/{name}", 512, allocated=512)


def frozen(host: MemoryHost) -> None:
    on(host)
    host._write_mark(VM, Mark("snap", 0.0, frozen=True, begun=False, consistent=False))


def take(uuid: str = "", instance: str = "") -> TakeSnapshot:
    disk = SnapshotSource(SERIAL, POOL, USED, 1 << 20, NEW, "qcow2")
    return TakeSnapshot(HERE, "snap", (disk,), required=False, uuid=uuid, if_instance=instance)


DISK = f'<disk type="file"><source file="{PATH}/{NEW}"/><target dev="sdr"/><serial>{SERIAL}</serial></disk>'


def attach(instance: str = "one", beside: tuple[tuple[str, str, str], ...] = ()) -> AttachDevice:
    return AttachDevice(HERE, VM, instance, "VirtualDisk data", SERIAL, DISK, beside)


def detach(instance: str = "one") -> DetachDevice:
    return DetachDevice(HERE, VM, instance, "VirtualDisk data", SERIAL)


def with_more(host: MemoryHost) -> None:
    on(host)
    host.attach_device(VM, DISK)


def copying(host: MemoryHost) -> None:
    host.define(definition().replace("</disk>", f"<serial>{SERIAL}</serial></disk>"))
    host.start(VM)
    host.pools[POOL][NEW] = Volume(f"{PATH}/{NEW}", 1 << 20, allocated=196_616, looks="qcow2")
    host.copy_disk(VM, SERIAL, GOAL)


def copied_to_nothing(host: MemoryHost) -> None:
    copying(host)
    host.end_disk_copy(VM, SERIAL, pivot=False)
    del host.pools[POOL][NEW]


def about_to_copy(host: MemoryHost) -> None:
    copying(host)
    host.end_disk_copy(VM, SERIAL, pivot=False)


GOAL = (
    f'<disk type="file"><driver name="qemu" type="qcow2"/><source file="{PATH}/{NEW}"/>'
    f"<serial>{SERIAL}</serial></disk>"
)


def begin(instance: str = "one", needed: int = 0) -> BeginDiskCopy:
    return BeginDiskCopy(HERE, VM, instance, SERIAL, POOL, NEW, GOAL, needed)


def end(path: str = f"{PATH}/{NEW}", instance: str = "one", *, pivot: bool = True) -> EndDiskCopy:
    return EndDiskCopy(HERE, VM, instance, SERIAL, path, pivot)


def net(fleet: str = "default", *addresses: str) -> NatNetwork:
    interfaces = tuple(map(IPv4Interface, addresses or ("10.66.10.1/24",)))
    return NatNetwork("gitvirt", fleet, "virbr-gitvirt", "52:00:00:00:00:01", interfaces)


WEB = Held("gitvirt", "52:00:00:00:00:0a", "10.66.10.5", "web.default.default.gitvirt")
DB = Held("gitvirt", "52:00:00:00:00:0b", "10.66.10.6", "db.default.default.gitvirt")


def networked(host: MemoryHost) -> None:
    host.make_network(net())


def connected(host: MemoryHost) -> None:
    networked(host)
    host.start_network("gitvirt")


def holding(host: MemoryHost) -> None:
    connected(host)
    host.hold_address(WEB)


def ready_to_start(host: MemoryHost) -> None:
    off(host)
    holding(host)


def not_connected(host: MemoryHost) -> None:
    off(host)
    networked(host)
    host.hold_address(WEB)


def with_more_to_serve(host: MemoryHost) -> None:
    connected(host)
    host.make_network(net("default", "10.66.10.1/24", "10.66.20.1/24"))


def nothing(_host: MemoryHost) -> None:
    pass


def over(host: MemoryHost, uuid: str = VM) -> str:
    return version(host.read_domain(uuid))


Stage = Callable[[MemoryHost], None]


@dataclass(frozen=True)
class Case:
    stage: Stage
    action: Callable[[MemoryHost], Action]
    fails: str = ""
    """The reason."""
    changes: bool = True

    def __repr__(self) -> str:
        return f"{self.action(prepared(self.stage)).verb}-{self.stage.__name__}-{self.fails}"


def prepared(stage: Stage) -> MemoryHost:
    host = MemoryHost()
    host.ensure_pool(POOL)
    host.pools[POOL][USED] = Volume(f"{PATH}/{USED}", 1 << 20, allocated=196_616)
    stage(host)
    host.verbs.clear()
    return host


def seed(user_data: bytes = b"#cloud-config\n") -> WriteSeed:
    return WriteSeed(HERE, POOL, SEED, "id", "vm", sysprep=False, files={"user-data": user_data})


def copy(source: str = USED) -> CopyVolume:
    return CopyVolume(HERE, POOL, NEW, POOL, source, 1 << 20)


def grow(instance: str, name: str = USED, capacity: int = 1 << 30) -> GrowDisk:
    return GrowDisk(HERE, VM, instance, POOL, name, capacity)


CASES = (
    Case(nothing, lambda host: DefineDomain(HERE, VM, over(host), definition())),
    Case(on, lambda host: DefineDomain(HERE, VM, over(host), definition(instance="three"))),
    Case(
        off, lambda _: DefineDomain(HERE, VM, "older", definition()), "DomainChanged", changes=False
    ),
    Case(off, lambda host: UndefineDomain(HERE, VM, over(host))),
    Case(nothing, lambda host: UndefineDomain(HERE, VM, over(host)), changes=False),
    Case(on, lambda host: UndefineDomain(HERE, VM, over(host)), "DomainRunning", changes=False),
    Case(on, lambda _: UndefineDomain(HERE, VM, "older"), "DomainChanged", changes=False),
    Case(on, lambda _: SetLiveMetadata(HERE, VM, metadata("changed"), "one")),
    Case(on, lambda _: SetLiveMetadata(HERE, VM, metadata("changed"), "two"), changes=False),
    Case(off, lambda _: SetLiveMetadata(HERE, VM, metadata("changed"), "one"), changes=False),
    Case(off, lambda _: StartDomain(HERE, VM)),
    Case(on, lambda _: StartDomain(HERE, VM), changes=False),
    Case(half_on, lambda _: StartDomain(HERE, VM)),
    Case(nothing, lambda _: StartDomain(HERE, VM), "DomainNotFound", changes=False),
    Case(beside, lambda host: StartDomain(HERE, VM, beside=((HERE, OTHER, over(host, OTHER)),))),
    Case(
        beside,
        lambda _: StartDomain(HERE, VM, beside=((HERE, OTHER, "older"),)),
        "DomainChanged",
        changes=False,
    ),
    Case(ready_to_start, lambda _: StartDomain(HERE, VM, holds=WEB)),
    Case(
        *(ready_to_start, lambda _: StartDomain(HERE, VM, holds=DB), "NetworkChanged"),
        changes=False,
    ),
    Case(
        *(not_connected, lambda _: StartDomain(HERE, VM, holds=WEB), "NetworkChanged"),
        changes=False,
    ),
    Case(off, lambda _: StartDomain(HERE, VM, holds=WEB), "NetworkChanged", changes=False),
    Case(on, lambda _: attach()),
    Case(on, lambda _: attach("two"), changes=False),
    Case(off, lambda _: attach(), changes=False),
    Case(with_more, lambda _: attach(), changes=False),
    Case(on, lambda _: attach(beside=((HERE, OTHER, "older"),)), "DomainChanged", changes=False),
    Case(with_more, lambda _: detach()),
    Case(with_more, lambda _: detach("two"), changes=False),
    Case(on, lambda _: detach(), changes=False),
    Case(about_to_copy, lambda _: begin()),
    Case(about_to_copy, lambda _: begin("two"), changes=False),
    Case(copying, lambda _: begin(), changes=False),
    Case(copied_to_nothing, lambda _: begin(), "VolumeNotFound", changes=False),
    Case(copying, lambda _: end()),
    Case(copying, lambda _: end(pivot=False)),
    Case(copying, lambda _: end("/theirs.qcow2"), changes=False),
    Case(copying, lambda _: end(instance="two"), changes=False),
    Case(about_to_copy, lambda _: end(), changes=False),
    Case(rebooted, lambda _: ShutdownDomain(HERE, VM, "one")),
    Case(on, lambda _: ShutdownDomain(HERE, VM, "two"), changes=False),
    Case(off, lambda _: ShutdownDomain(HERE, VM, "one"), changes=False),
    Case(rebooted, lambda _: DestroyDomain(HERE, VM, "one")),
    Case(transient, lambda _: DestroyDomain(HERE, VM, "one")),
    Case(on, lambda _: DestroyDomain(HERE, VM, "two"), changes=False),
    Case(starved, lambda _: ResumeDomain(HERE, VM, "one")),
    Case(paused, lambda _: ResumeDomain(HERE, VM, "one"), changes=False),
    Case(starved, lambda _: ResumeDomain(HERE, VM, "two"), changes=False),
    Case(nothing, lambda _: CreateVolume(HERE, POOL, NEW, 1 << 30, f"{PATH}/{USED}", "qcow2")),
    Case(nothing, lambda _: CreateVolume(HERE, POOL, USED, 1 << 30), changes=False),
    Case(off, lambda _: copy()),
    Case(on, lambda _: copy(), "VolumeInUse", changes=False),
    Case(with_copy, lambda _: copy(), changes=False),
    Case(with_half_copy, lambda _: copy()),
    Case(with_used_half_copy, lambda _: copy(), "VolumeInUse", changes=False),
    Case(nothing, lambda _: copy("missing"), "VolumeNotFound", changes=False),
    Case(with_half_source, lambda _: copy(), "VolumeNotFound", changes=False),
    Case(nothing, lambda _: ResizeVolume(HERE, POOL, USED, 1 << 30)),
    Case(nothing, lambda _: ResizeVolume(HERE, POOL, USED, 1), changes=False),
    Case(nothing, lambda _: ResizeVolume(HERE, POOL, NEW, 1), "VolumeNotFound", changes=False),
    Case(on, lambda _: grow("one")),
    Case(on, lambda _: grow("two"), changes=False),
    Case(on, lambda _: grow("one", capacity=1), changes=False),
    Case(off, lambda _: grow("one"), changes=False),
    Case(on, lambda _: grow("one", NEW), "VolumeNotFound", changes=False),
    Case(with_seed, lambda _: DeleteSeed(HERE, POOL, SEED, VM)),
    Case(with_used_seed, lambda _: DeleteSeed(HERE, POOL, SEED, VM), "VolumeInUse", changes=False),
    Case(with_seed, lambda _: DeleteConsoleLog(HERE, POOL, SEED, VM)),
    Case(nothing, lambda _: DeleteConsoleLog(HERE, POOL, SEED, VM), changes=False),
    Case(nothing, lambda _: EraseVolume(HERE, POOL, USED)),
    Case(nothing, lambda _: DiscardUpload(HERE, POOL, USED)),
    Case(nothing, lambda _: DiscardUpload(HERE, POOL, NEW), changes=False),
    Case(off, lambda _: DiscardUpload(HERE, POOL, USED), "VolumeInUse", changes=False),
    Case(off, lambda _: EraseVolume(HERE, POOL, USED), "VolumeInUse", changes=False),
    Case(with_overlay, lambda _: EraseVolume(HERE, POOL, USED), "VolumeInUse", changes=False),
    Case(on, lambda _: take(VM, "one")),
    Case(on, lambda _: take(VM, "two"), "InstanceChanged", changes=False),
    Case(off, lambda _: take(VM, "one"), "InstanceChanged", changes=False),
    Case(nothing, lambda _: take()),
    Case(with_writer, lambda _: take(), "DiskInUse", changes=False),
    Case(with_half_copy, lambda _: DropSnapshot(HERE, "snap", ((POOL, NEW),))),
    Case(with_copy, lambda _: DropSnapshot(HERE, "snap", ((POOL, NEW),)), changes=False),
    Case(
        with_used_half_copy,
        lambda _: DropSnapshot(HERE, "snap", ((POOL, NEW),)),
        "VolumeInUse",
        changes=False,
    ),
    Case(frozen, lambda _: ThawGuest(HERE, VM, "one")),
    Case(frozen, lambda _: ThawGuest(HERE, VM, "two"), changes=False),
    Case(on, lambda _: ThawGuest(HERE, VM, "one"), changes=False),
    Case(nothing, lambda _: MakeNetwork(HERE, net())),
    Case(networked, lambda _: MakeNetwork(HERE, net()), changes=False),
    Case(networked, lambda _: MakeNetwork(HERE, net("green")), "NetworkForeign", changes=False),
    Case(networked, lambda _: MakeNetwork(HERE, net("default", "10.66.30.1/24"))),
    Case(holding, lambda _: MakeNetwork(HERE, net("default", "10.66.30.1/24"))),
    Case(networked, lambda _: StartNetwork(HERE, "gitvirt")),
    Case(connected, lambda _: StartNetwork(HERE, "gitvirt"), changes=False),
    Case(with_more_to_serve, lambda _: StartNetwork(HERE, "gitvirt")),
    Case(nothing, lambda _: StartNetwork(HERE, "gitvirt"), "NetworkNotFound", changes=False),
    Case(networked, lambda _: HoldAddress(HERE, WEB)),
    Case(holding, lambda _: HoldAddress(HERE, DB)),
    Case(holding, lambda _: HoldAddress(HERE, WEB), changes=False),
    Case(holding, lambda _: HoldAddress(HERE, replace(WEB, address="10.66.10.9"))),
    Case(
        *(holding, lambda _: HoldAddress(HERE, replace(DB, address=WEB.address)), "AddressTaken"),
        changes=False,
    ),
    Case(
        *(holding, lambda _: HoldAddress(HERE, replace(DB, mac=WEB.mac)), "AddressTaken"),
        changes=False,
    ),
    Case(nothing, lambda _: HoldAddress(HERE, WEB), "NetworkNotFound", changes=False),
    Case(holding, lambda _: ReleaseAddress(HERE, WEB)),
    Case(holding, lambda _: ReleaseAddress(HERE, DB), changes=False),
    Case(nothing, lambda _: ReleaseAddress(HERE, WEB), changes=False),
    Case(nothing, lambda _: seed()),
    Case(with_seed, lambda _: seed()),
    Case(with_whole_seed, lambda _: seed(), changes=False),
    Case(nothing, lambda _: TryLock(HERE, HERE, POOL, "tried"), changes=False),
)


def leaves(kind: type[Action]) -> set[type[Action]]:
    """Actions that can be asked for: those that no other one is made from."""
    below = kind.__subclasses__()
    return {kind} if not below else {leaf for each in below for leaf in leaves(each)}


def test_each_action_has_its_verb_and_a_case_here() -> None:
    asked_for = {each.__name__ for each in leaves(Action)}
    assert {each.__name__ for each in VERBS} == asked_for
    tried = {case.action(prepared(case.stage)).verb for case in CASES}
    between = {each.__name__ for each in leaves(BetweenNodes)}  # tests/reconcile/test_migration.py
    assert tried | {ImportImage.__name__} | between == asked_for
    assert {each.__module__ for each in leaves(Action)} == {
        actions.__name__,
        moves.__name__,
        network_actions.__name__,
        locking.__name__,
    }


@dataclass
class Known:
    """What is known of a host."""

    host: MemoryHost
    engine: Engine = field(default_factory=lambda: Engine({}, {}))

    def __post_init__(self) -> None:
        self.world = World(self.engine, "default")
        self.world.observe(FullRead(0, self.host.read(frozenset({POOL}))))

    def observe(self, done: Done | Outcome) -> None:
        for seen in done.seen:
            self.world.observe(seen)

    @property
    def domains(self) -> dict[str, RawDomain]:
        known = self.world.domains(self.host.name)
        return {key: comparable(raw) for key, raw in known.items()}

    @property
    def volumes(self) -> dict[tuple[str, str], RawVolume]:
        """A plan does not know how large an empty overlay is."""
        known = self.world.volumes(self.host.name)
        return {key: replace(each, physical=each.physical > 0) for key, each in known.items()}

    @property
    def networks(self) -> dict[str, NetworkReading]:
        known = self.world.networks.known(self.host.name)
        return {
            name: replace(each, network=replace(each.network, uuid=""))
            for name, each in known.items()
        }

    @property
    def everything(self) -> tuple[object, ...]:
        return self.domains, self.volumes, self.networks


def comparable(raw: RawDomain) -> RawDomain:
    """Without what a host writes otherwise than it was given, and what it lists below a running disk."""
    texts = []
    for xml in (raw.inactive_xml, raw.active_xml):
        if xml:
            root = etree.fromstring(xml, etree.XMLParser(remove_blank_text=True))
            for layer in root.findall("devices/disk/backingStore"):
                layer.getparent().remove(layer)  # type: ignore[union-attr]
            xml = etree.tostring(root, method="c14n").decode()
        texts.append(xml)
    return replace(raw, inactive_xml=texts[0], active_xml=texts[1])


def executor(
    folder: Path,
    *hosts: MemoryHost,
    sharing: Sharing = by_itself,
    may_act: Callable[[], bool] = lambda: True,
) -> Executor:
    return Executor(
        hosts={host.name: host for host in hosts},
        source=Source(folder, 0, Reach(), lambda _news: None),
        number=itertools.count(1).__next__,
        stopping=lambda: False,
        may_act=may_act,
        sharing=sharing,
    )


def ticket(*wanted: Action) -> Ticket:
    return Ticket(KEY, 1, wanted)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_what_is_done_is_seen_and_a_plan_takes_just_that_for_done(
    case: Case, tmp_path: Path
) -> None:
    host = prepared(case.stage)
    action, before = case.action(host), Known(host)
    seen, planned, reason, outdated = Known(host), Known(host), "", False
    try:
        planned.observe(simulated(action, planned.engine, planned.world))
    except HostError as error:
        reason, outdated = error.reason, isinstance(error, OutdatedError)
    outcome = executor(tmp_path, host).run(ticket(action))
    seen.observe(outcome)
    if isinstance(action, ResumeDomain):  # an event tells
        seen.world.observe(DomainRead(9, HERE, VM, host.read_domain(VM)))
    real = Known(host)
    assert (outcome.reason, reason) == (case.fails, case.fails)
    assert outcome.outdated == outdated
    assert outcome.done == ([] if case.fails else [action.verb])
    assert seen.everything == real.everything
    assert planned.everything == real.everything
    assert (before.everything != real.everything) == case.changes


def imported(tmp_path: Path, patch: pytest.MonkeyPatch) -> ImportImage:
    def fetched(*_: object, **__: object) -> Prepared:
        path = tmp_path / "data"
        path.write_bytes(b"data")
        return Prepared(path, "raw", 4, 4, "d" * 64)

    patch.setattr(http, "fetch", fetched)
    return ImportImage(HERE, POOL, HttpSource("https://images.test/a"), "default_image_")


def test_imported_data_is_where_its_result_says_on_the_host_and_in_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = prepared(nothing)
    action, planned = imported(tmp_path, monkeypatch), Known(host)
    outcome = executor(tmp_path, host).run(ticket(action))
    done = simulated(action, planned.engine, planned.world)
    assert done.result.keys() == outcome.result.keys()
    assert done.result["source"] == outcome.result["source"] == action.source.mark
    for each in (outcome, done):
        (seen,) = each.seen
        volume = getattr(seen, "volume", None)
        assert isinstance(volume, RawVolume)
        assert (
            volume.name == f"{action.volume_prefix}{each.result['digest']}.{each.result['format']}"
        )
        assert volume.physical == each.result["storedBytes"]
    assert host.pools[POOL][f"default_image_{'d' * 64}.raw"].content == b"data"
    assert list(tmp_path.iterdir()) == []


# -- in the same breath ---------------------------------------------------------------------------


@dataclass
class LookedAt(MemoryHost):
    """Writes down when it is read and when something is done to it."""

    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.on_effect = lambda verb, phase: self.log.append("done") if phase == "after" else None

    def read_domain(self, uuid: str) -> RawDomain | None:
        self.log.append("looked")
        return super().read_domain(uuid)

    def read(self, pools: frozenset[str]) -> Reading:
        self.log.append("looked")
        return super().read(pools)

    def read_bases(self) -> dict[str, str]:
        self.log.append("looked")
        return dict(super().read_bases())


@pytest.mark.parametrize(
    ("stage", "action"),
    [
        (beside, StartDomain(HERE, VM, beside=((HERE, OTHER, "older"),))),
        (with_seed, DeleteSeed(HERE, POOL, SEED, VM)),
        (nothing, EraseVolume(HERE, POOL, USED)),
        (nothing, DiscardUpload(HERE, POOL, USED)),
        (nothing, CreateVolume(HERE, POOL, NEW, 1)),
        (nothing, ResizeVolume(HERE, POOL, USED, 1 << 30)),
        (nothing, seed()),
        (nothing, ImportImage(HERE, POOL, HttpSource("https://images.test/a"), "default_image_")),
    ],
    ids=lambda each: each.verb if isinstance(each, Action) else "",
)
def test_nothing_is_waited_for_between_the_last_look_and_the_deed(
    stage: Stage, action: Action, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(tmp_path, monkeypatch)
    host = LookedAt()
    host.pools = prepared(stage).pools
    stage(host)
    if isinstance(action, StartDomain):
        action = replace(action, beside=((HERE, OTHER, over(host, OTHER)),))
    host.log.clear()
    log = host.log

    class Waiting(site.Locks):
        def of(self, key: object, at_once: int = 1) -> _Noted:  # type: ignore[override]
            return _Noted(log)

    monkeypatch.setattr("agent.reconcile.execute.Locks", Waiting)

    def may_act() -> bool:
        log.append("allowed")
        return True

    executor(tmp_path, host, may_act=may_act).run(ticket(action))
    assert "done" in log
    deeds = len(log) - 1 - log[::-1].index("done")
    waited = max(at for at, each in enumerate(log) if each == "waited")
    held = log[waited + 1 : deeds]
    assert "allowed" in held
    if isinstance(action, (StartDomain, DeleteVolume, DiscardUpload, EraseVolume)):
        assert "looked" in held
        assert log.index("looked") > waited
    assert "let go" not in held


@dataclass
class _Noted:
    log: list[str]

    def __enter__(self) -> None:
        self.log.append("waited")

    def __exit__(self, *_: object) -> None:
        self.log.append("let go")


def test_a_verb_that_had_to_wait_is_not_begun_once_another_agent_may_act(tmp_path: Path) -> None:
    host, allowed = prepared(off), [True]
    on_hosts = executor(tmp_path, host, may_act=lambda: allowed[0])
    real = on_hosts._locks.of

    @contextmanager
    def late(*wanted: object) -> Iterator[None]:
        with real(*wanted):  # type: ignore[arg-type]
            allowed[0] = False
            yield

    on_hosts._locks.of = late  # type: ignore[method-assign, assignment]
    outcome = on_hosts.run(ticket(StartDomain(HERE, VM)))
    assert outcome.reason == "LeaseLost"
    assert host.verbs == []


def test_a_volume_is_not_erased_while_its_content_is_written(tmp_path: Path) -> None:
    asked: list[set[object]] = []
    for action in (seed(), EraseVolume(HERE, POOL, SEED)):
        on_host, keys = executor(tmp_path, prepared(nothing)), set[object]()
        real = on_host._locks.of

        def noted(
            key: Hashable,
            at_once: int = 1,
            *,
            keys: set[object] = keys,
            real: Callable[[Hashable, int], Semaphore] = real,
        ) -> Semaphore:
            keys.add(key)
            return real(key, at_once)

        on_host._locks.of = noted  # type: ignore[method-assign]
        assert on_host.run(ticket(action)).done == [action.verb]
        asked.append(keys)
    assert len(asked[0] & asked[1]) == 1


# -- nodes ----------------------------------------------------------------------------------------


def node(name: str, pools: dict[str, dict[str, Volume]]) -> MemoryHost:
    host = MemoryHost(replace(NODE, name=name))
    host.pools = pools
    return host


def test_a_node_that_nobody_knows_is_an_outcome(tmp_path: Path) -> None:
    host = prepared(off)
    wanted = [
        replace(case.action(prepared(case.stage)), node="elsewhere")
        for case in CASES
        if not case.fails
    ]
    for action in wanted:
        outcome = executor(tmp_path, host).run(ticket(action))
        assert (outcome.failed, outcome.reason) == (action.verb, "NodeNotFound")
        assert "elsewhere" in outcome.message
        assert HERE in outcome.message
    assert host.verbs == []


def shared(_node: str, _pool: str) -> tuple[str, ...]:
    return ("a", "b")


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("action", [EraseVolume("a", POOL, USED), DeleteSeed("a", POOL, USED, VM)])
def test_a_volume_that_a_domain_of_another_node_refers_to_is_kept(
    action: EraseVolume | DeleteSeed, away: bool, tmp_path: Path
) -> None:
    pools = prepared(nothing).pools
    a, b = node("a", pools), node("b", pools)
    b.define(definition())
    b.reachable = not away
    outcome = executor(tmp_path, a, b, sharing=shared).run(ticket(action))
    assert outcome.reason == ("HostUnreachable" if away else "VolumeInUse")
    assert USED in pools[POOL]
    outcome = executor(tmp_path, a, b).run(ticket(action))  # no other one can have it
    assert outcome.done == [action.verb]


def test_image_data_that_a_domain_of_another_node_uses_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = replace(imported(tmp_path, monkeypatch), node="a")
    pools = prepared(nothing).pools
    name = f"default_image_{'d' * 64}.raw"
    pools[POOL][name] = Volume(f"{PATH}/{name}", 4, content=b"touched")
    a, b = node("a", pools), node("b", pools)
    b.define(definition(file=name))
    outcome = executor(tmp_path, a, b, sharing=shared).run(ticket(action))
    assert outcome.reason == "VolumeInUse"
    assert pools[POOL][name].content == b"touched"


def test_only_nodes_that_share_a_pool_wait_for_each_other() -> None:
    locks = site.Locks()

    def on_node(name: str, sharing: Sharing = by_itself) -> site.Site:
        nowhere: site.Supply = None  # type: ignore[assignment]
        return site.Site(name, {}, sharing, locks, nowhere, lambda: None)

    a, b = on_node("a"), on_node("b")
    with a.pool(POOL) as _, a.volume(POOL, "x"), b.pool(POOL), b.volume(POOL, "x"), a.pool("other"):
        assert len(locks._known) == 5
    assert len(locks._known) == 0
    with on_node("a", shared).pool(POOL):
        assert on_node("b", shared).pool(POOL) is on_node("a", shared).pool(POOL)


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.mistakes
def test_a_mistake_loses_nothing_of_what_was_done_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistake(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    host = prepared(off)
    monkeypatch.setattr(host, "start", mistake)
    created = CreateVolume(HERE, POOL, NEW, 1)
    outcome = executor(tmp_path, host).run(ticket(created, StartDomain(HERE, VM)))
    assert outcome.done == ["CreateVolume"]
    assert (outcome.failed, outcome.reason) == ("StartDomain", "InternalError")
    assert "ZeroDivisionError" in outcome.message
    assert "hunter2" not in outcome.message
    assert {type(each).__name__ for each in outcome.seen} == {"VolumeRead", "DomainRead"}
    assert caplog.records[-1].exc_info is not None
