"""A disk stays on the file that it lies on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.identity import disk_volume, serial
from agent.core.model import Key
from agent.kinds.local import Place
from agent.kinds.virtual_machine.definition import DomainFacts, parse, read
from agent.kinds.virtual_machine.elements.disks import Disk, Disks
from agent.kinds.virtual_machine.files import keep, told, writable
from agent.kinds.virtual_machine.seen import Seen
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
NOTHING = read(parse("<domain/>"))


def facts(*disks: Disk) -> DomainFacts:
    return replace(NOTHING, disks=Disks(disks))


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
    shown = Seen(None, defined and facts(defined), active and facts(active))
    assert list(told(shown, "default", HOME)) == sentences
