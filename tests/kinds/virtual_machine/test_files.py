"""A disk stays on the file that it lies on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.domain_text import DomainText
from agent.core.facts import Engine, View
from agent.core.identity import disk_volume, serial
from agent.core.known import FLEET, OVERLAYS
from agent.core.model import Condition, Key, Manifest, Object
from agent.kinds.local import Place
from agent.kinds.virtual_machine.definition import DomainFacts, read
from agent.kinds.virtual_machine.dependencies import Dependencies
from agent.kinds.virtual_machine.elements.disks import Disk, Disks
from agent.kinds.virtual_machine.files import (
    hindrance,
    keep,
    keeps_back,
    lying,
    told,
    writable,
)
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.spec import BlockDeviceRef
from agent.kinds.virtual_machine.wanted import Device
from tests.golden.case import NODE

WANTED = Disk("/pool/own", "qcow2", "serial", "disk", False, "scsi", 0, 0, 1)
THERE = replace(WANTED, path="/dev/moved", format="raw", type="block", unit=7, boot=0)


@pytest.mark.parametrize(
    ("wanted", "there", "stays"),
    [
        (WANTED, THERE, True),
        (WANTED, replace(THERE, path=""), False),  # on what cannot be written down
        (WANTED, replace(THERE, serial="another"), False),
        (replace(WANTED, readonly=True), THERE, False),  # an image is where its data is
        (replace(WANTED, serial="cloudinit"), replace(THERE, serial="cloudinit"), False),
        (replace(WANTED, serial="sysprep"), replace(THERE, serial="sysprep"), False),
    ],
)
def test_what_is_wanted_of_a_disk_never_moves_it(wanted: Disk, there: Disk, stays: bool) -> None:
    (found,) = keep(Disks((wanted,)), {there.serial: there}).disks
    lying = replace(wanted, path="/dev/moved", format="raw", type="block")
    assert found == (lying if stays else wanted)


def test_what_is_not_there_can_be_written_down() -> None:
    assert writable(None)


UID = "00000000-0000-4000-8000-000000000001"
HOME = Place(NODE, "/pool")
OWN = HOME.path(disk_volume("default", Key("VirtualDisk", "default", "root"), UID))
ROOT = replace(WANTED, path=OWN, serial=serial(UID))
NOTHING = read(DomainText("<domain/>"))


def facts(*disks: Disk) -> DomainFacts:
    return replace(NOTHING, disks=Disks(disks))


def shown(defined: Disk | None, active: Disk | None = None, bases: tuple[str, ...] = ()) -> Seen:
    """A domain as defined and as it runs, with the files below its running root disk."""
    return Seen(
        None,
        facts(defined) if defined else None,
        facts(active) if active else None,
        bases={ROOT.serial: bases},
    )


def lies(path: str) -> str:
    return f"Disk sda lies on {path} now, as after a snapshot; it is left there."


def will_lie(path: str) -> str:
    return f"Disk sda will lie on {path} from the next start on, as after a snapshot; it is left there."


ONE, TWO = (replace(ROOT, path=path) for path in ("/pool/one", "/pool/two"))
NETWORK = replace(ROOT, path="", type="network")


@pytest.mark.parametrize(
    ("defined", "active", "sentences"),
    [
        (None, None, []),
        (ROOT, None, []),
        (ROOT, ROOT, []),
        (ONE, None, [will_lie("/pool/one")]),
        (ONE, ONE, [lies("/pool/one")]),  # once is enough
        (ONE, ROOT, [will_lie("/pool/one")]),
        (ROOT, ONE, [lies("/pool/one")]),
        (ONE, TWO, [will_lie("/pool/one"), lies("/pool/two")]),
        (None, ONE, [lies("/pool/one")]),
        (ROOT, NETWORK, [lies("a source of type network")]),
        (replace(ONE, readonly=True), None, []),  # an image: nothing is written to it
        (replace(ONE, serial="by-hand"), None, []),  # not ours
        (replace(ROOT, path=f"/elsewhere{OWN}"), None, [will_lie(f"/elsewhere{OWN}")]),
        (replace(ROOT, serial=serial("another")), None, [will_lie(OWN)]),
    ],
)
def test_which_file_a_disk_lies_on_is_told_of_the_definition_and_of_what_runs(
    defined: Disk | None, active: Disk | None, sentences: list[str]
) -> None:
    assert list(told(shown(defined, active), "default", HOME)) == sentences


@pytest.mark.parametrize(
    ("defined", "active", "bases", "expected"),
    [
        (ROOT, None, (), OWN),
        (None, ONE, (), "/pool/one"),
        (ONE, ROOT, (), "/pool/one"),
        (ROOT, ONE, (OWN,), "/pool/one"),  # what was written since is on top
        (ROOT, ONE, ("/pool/two",), OWN),
        (ROOT, NETWORK, (OWN,), OWN),
    ],
)
def test_a_disk_lies_where_its_newest_data_is(
    defined: Disk | None, active: Disk | None, bases: tuple[str, ...], expected: str
) -> None:
    found = lying(shown(defined, active, bases))
    assert {number: disk.path for number, disk in found.items()} == {ROOT.serial: expected}


VM = Object(Manifest(Key("VirtualMachine", "default", "vm"), {}, {}, {}), "vm-uid", 1, "", "")
DATA_UID = UID.replace("1", "2")
DATA = replace(ROOT, path="/pool/data-one", serial=serial(DATA_UID), unit=1)


@pytest.mark.parametrize(
    ("defined", "active", "said"),
    [
        ((ROOT,), (), []),
        ((ONE, DATA), (), ["Disk sda lies on /pool/one,", "`virsh undefine default.vm --nvram`"]),
        ((ROOT, DATA), (), ["Disk sdb lies on /pool/data-one,", "`qemu-img commit /pool/data-one`"]),
        ((ROOT,), (ONE,), ["Disk sda lies on /pool/one,", f"blockcommit default.vm sda --base {OWN} "]),
    ],
)  # fmt: skip
def test_a_deletion_waits_for_one_disk_after_the_other(
    defined: tuple[Disk, ...], active: tuple[Disk, ...], said: list[str]
) -> None:
    below = {ROOT.serial: ("/pool/two", OWN)}
    seen = Seen(None, facts(*defined), facts(*active) if active else None, bases=below)
    found = keeps_back(VM, seen, "default", HOME)
    assert bool(found) is bool(said)
    assert all(each in found for each in said)


OPEN = Device(OWN, "qcow2", ROOT.serial)
IMAGE = replace(OPEN, readonly=True)


@pytest.mark.parametrize(
    ("device", "ready", "defined", "based", "said"),
    [
        (OPEN, True, ROOT, (), ""),
        (OPEN, True, ONE, (), ""),  # it stays there
        (OPEN, True, NETWORK, (), "its definition is left as it is"),
        (OPEN, False, NETWORK, (), "its definition is left as it is"),
        # what only its domain knows is not let go of
        (None, True, ROOT, (), ""),
        (None, True, ONE, (), "it is not taken out"),
        (None, False, ONE, (), ""),  # nothing is defined anyway
        # nobody starts from a disk that something newer is based on, unless it is known
        (OPEN, True, None, (), ""),
        (OPEN, True, None, ("new", "old"), "VirtualDisk root has a volume new based on it,"),
        (OPEN, False, None, ("new",), "VirtualDisk root has a volume new based on it,"),
        (OPEN, True, ROOT, ("new",), ""),
        (IMAGE, True, None, ("new",), ""),
    ],
)
def test_no_definition_is_made_that_would_lose_what_a_disk_holds(
    device: Device | None, ready: bool, defined: Disk | None, based: tuple[str, ...], said: str
) -> None:
    ref: BlockDeviceRef = {"kind": "VirtualDisk", "name": "root"}
    listed = ((ref, device, 1),) if device else ()
    there = Condition("BlockDevicesReady", "True", "BlockDevicesReady")
    other = replace(there, type="VirtualMachineClassReady")
    devices = (device,) if device else ()
    needs = Dependencies((there, other), ready, None, devices, (), waiting=True, listed=listed)
    engine = Engine({}, {})
    engine.put(OVERLAYS, (NODE.name, OWN), based or None)
    engine.put(FLEET, None, "default")
    found = hindrance(needs, shown(defined), HOME, View(engine, 0.0), ())
    if not said:
        assert found == needs
        return
    blocked, left = found.conditions
    assert (blocked.status, blocked.reason) == ("False", "BlockDevicesNotReady")
    assert said in blocked.message
    assert left == other
    assert (found.ready, found.waiting) == (False, False)
