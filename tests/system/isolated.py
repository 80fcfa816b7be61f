"""The first process of a machine of one's own: libvirt's system daemon in namespaces, on directories of its own.

Started by `start` inside new mount, network, UTS and PID namespaces. When it ends, so does everything in them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

MACHINE = "gitvirt.test"
"""With a dot in it, or libvirt asks a name server for the rest, again and again."""
FOLDERS = {
    "lib": "/var/lib/libvirt",
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
"""Where each folder of the machine's root stands inside."""
BRIDGE = "br-lan"
"""A bridge of Linux that leads nowhere."""
SMALL = "small"
"""A storage pool of 8 MiB: a file system of its own beside libvirt's default pool."""
ACCOUNTS = {
    "passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin",
    "group": "libvirt-qemu:x:64055:",
}
"""QEMU's user, without whom the daemon does not start. Debian makes it with the system's own daemon."""


SHARED = "shared"
"""A folder below libvirt's own that several machines have in common."""


def start(root: Path, name: str, shared: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the machine `name`; its daemon listens at `root/run/libvirt-sock`. Kill it to end it. One of several has a folder
    in common with the others, and listens to them, too.
    """
    more = () if shared is None else (str(shared),)
    namespaces = ("--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
    with (root / "machine.log").open("wb") as log:
        return subprocess.Popen(
            ["unshare", *namespaces, sys.executable, __file__, str(root), name, *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def prepare(root: Path, uuid: str) -> None:
    """Write the machine's directories and libvirt's configuration."""
    for folder in FOLDERS:
        (root / folder).mkdir(mode=0o755)
    for file, account in ACCOUNTS.items():
        known = Path("/etc", file).read_text()
        name, _, _ = account.partition(":")
        there = any(line.startswith(f"{name}:") for line in known.splitlines())
        (root / file).write_text(known if there else f"{known.rstrip()}\n{account}\n")
    filters = Path("/etc/libvirt/nwfilter")
    if filters.is_dir():
        shutil.copytree(filters, root / "etc" / "nwfilter")
    (root / "etc" / "libvirtd.conf").write_text(
        f'host_uuid = "{uuid}"\nauth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n'
    )
    (root / "etc" / "qemu.conf").write_text(
        'security_driver = "none"\nremember_owner = 0\nnamespaces = []\ncgroup_controllers = []\n'
    )


def main(root: Path, name: str, shared: str = "") -> None:
    for folder, place in FOLDERS.items():
        Path(place).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", root / folder, place], check=True)
    for file in ACCOUNTS:
        subprocess.run(["mount", "--bind", root / file, f"/etc/{file}"], check=True)
    small = Path(FOLDERS["lib"], SMALL)
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0755", SMALL, small], check=True)
    if shared:
        common = Path(FOLDERS["lib"], SHARED)
        common.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", shared, common], check=True)
    _hide_kvm(root)
    subprocess.run(["hostname", name], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # what a host's interfaces are, libvirt reads there: these are of the network namespace
    subprocess.run(["mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys"], check=True)
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    listen = ["--listen"] if shared else []
    subprocess.Popen(["virtlogd", "--pid-file", root / "virtlogd.pid"])
    daemon = subprocess.Popen(["libvirtd", "--pid-file", root / "libvirtd.pid", *listen])
    while True:  # libvirt sees a QEMU process end only when it is reaped
        pid, _ = os.wait()
        if pid == daemon.pid and shared:  # as a service manager does
            daemon = subprocess.Popen(["libvirtd", "--pid-file", root / "libvirtd.pid", *listen])


def _hide_kvm(root: Path) -> None:
    """Emulate, wherever the tests run. A device that root may open and QEMU's user may not also
    makes libvirt ask QEMU for its capabilities again and again.
    """
    if Path("/dev/kvm").exists():
        nothing = root / "kvm"
        nothing.touch(mode=0)
        subprocess.run(["mount", "--bind", nothing, "/dev/kvm"], check=True)
        # to a QEMU of root's, too
        subprocess.run(["mount", "-o", "remount,bind,ro", "/dev/kvm"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
