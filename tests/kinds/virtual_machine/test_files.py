"""A disk stays on the file that it lies on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.kinds.virtual_machine.elements.disks import Disk, Disks
from agent.kinds.virtual_machine.files import keep, writable

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
