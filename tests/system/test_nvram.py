"""What the firmware of a domain remembers, read and written through libvirt."""

from __future__ import annotations

from agent.core.migrating import Nvram
from tests.hypervisor.rigs import Rig

NAME = "default.efi"


def test_what_firmware_remembers_is_read_and_replaced_and_nothing_else_is_touched(rig: Rig) -> None:
    folder = rig.library / "qemu" / "nvram"
    other = folder / f"{NAME}2_VARS.fd"
    other.write_bytes(b"another one's")
    assert rig.host.read_nvram(NAME) == ()
    before = Nvram(f"{NAME}_VARS.fd", bytes(range(256)) * 2112, "0600", "0", "0")
    rig.host.write_nvram(NAME, [before])
    assert (folder / before.file).read_bytes() == before.content
    assert rig.host.read_nvram(NAME) == (before,)
    after = Nvram(before.file, b"less", "0640", "1", "2")
    rig.host.write_nvram(NAME, [after])
    assert rig.host.read_nvram(NAME) == (after,)
    status = (folder / after.file).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1, 2, 0o640)
    rig.host.write_nvram(NAME, [])
    assert sorted(each.name for each in folder.iterdir()) == [other.name]
    assert rig.host.free_space("gitvirt-nvram") == 0
