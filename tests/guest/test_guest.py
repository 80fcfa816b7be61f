"""The small guest of examples/guest, booted by QEMU alone."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pycdlib
import pytest

from agent.kinds.virtual_machine.network_config import NETWORK_CONFIG, user_mode

GUEST = Path(__file__).parents[2] / "examples" / "guest"
PASSWORD = "guest-password"
CARD = "52:00:00:00:00:01"
DEADLINE = 60.0  # seconds without a byte from the guest: far above what the slowest machine needs


class Channel:
    """One end of a socket pair whose other end QEMU holds.

    A thread reads all the time: a guest whose console nobody reads comes to a stand.
    """

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.text = ""
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self.reader = Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        while data := self.ours.recv(65536):
            self.received.put(data)
        self.received.put(b"")

    def close(self) -> None:
        self.theirs.close()
        self.ours.shutdown(socket.SHUT_RDWR)
        self.reader.join()
        self.ours.close()

    def send(self, line: str) -> None:
        self.ours.sendall(line.encode() + b"\n")

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the pattern is there; what follows the match is kept for the next call."""
        match = self.seen(pattern)
        self.text = self.text[match.end() :]
        return match

    def seen(self, pattern: str) -> re.Match[str]:
        """Wait until the pattern is there, and keep everything for the next call."""
        while (match := re.search(pattern, self.text)) is None:
            try:
                data = self.received.get(timeout=DEADLINE)
            except Empty:
                data = b""
            assert data, f"no {pattern!r} came, but:\n{self.text}"
            self.text += data.decode(errors="replace")
        return match

    def ask(self, command: str) -> Any:
        """Call a method of the guest agent or of QMP; QMP's events in between are passed over."""
        self.send(json.dumps({"execute": command}))
        return json.loads(self.expect(r'\{"return":.*\}\s*\n').group())["return"]


@dataclass(frozen=True)
class Machine:
    process: subprocess.Popen[bytes]
    console: Channel
    agent: Channel
    monitor: Channel


@contextmanager
def boot(image: Path, seed: Path, *devices: str) -> Iterator[Machine]:
    with ExitStack() as stack:
        console, agent, monitor = (Channel() for _ in range(3))
        for channel in (console, agent, monitor):
            stack.callback(channel.close)
        arguments = [
            "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "128", "-smp", "2",
            "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config",
            "-device", "virtio-scsi-pci,id=scsi", "-device", "virtio-serial-pci", "-device", "pvpanic",
            "-drive", f"if=none,id=root,format=qcow2,snapshot=on,file={image}",
            "-device", "scsi-hd,drive=root,serial=root-1",
            "-drive", f"if=none,id=seed,format=raw,readonly=on,file={seed}",
            "-device", "scsi-cd,drive=seed",
            "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net",
            "-chardev", f"socket,id=console,fd={console.theirs.fileno()}", "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,fd={agent.theirs.fileno()}",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-chardev", f"socket,id=monitor,fd={monitor.theirs.fileno()}",
            "-mon", "chardev=monitor,mode=control",
            *devices,
        ]  # fmt: skip
        descriptors = [channel.theirs.fileno() for channel in (console, agent, monitor)]
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=descriptors)
        stack.callback(process.wait)
        stack.callback(process.kill)
        for channel in (console, agent, monitor):
            channel.theirs.close()
        monitor.expect("QMP")
        monitor.ask("qmp_capabilities")
        yield Machine(process, console, agent, monitor)


def write_seed(path: Path, user_data: bytes, **more: bytes) -> Path:
    """`more` are its other files: `network_config` is called network-config."""
    meta_data = b"instance-id: guest-test\nlocal-hostname: from-meta-data\n"
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, rock_ridge="1.09", vol_ident="cidata")
    others = {name.replace("_", "-"): content for name, content in more.items()}
    files = {"user-data": user_data, "meta-data": meta_data, **others}
    for name, content in files.items():
        plain = f"/{name.replace('-', '').upper()}.;1"
        iso.add_fp(io.BytesIO(content), len(content), plain, rr_name=name)
    iso.write(str(path))
    iso.close()
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("GITVIRT_GUEST_IMAGE"):
        return Path(given)
    output = tmp_path_factory.mktemp("guest") / "guest.qcow2"
    subprocess.run([str(GUEST / "build.sh"), str(output)], check=True)
    return output


def password_hash() -> str:
    command = ["openssl", "passwd", "-6", "-salt", "saltsalt", PASSWORD]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_it_boots_takes_its_cloud_data_and_powers_off_by_the_acpi_button(
    image: Path, tmp_path: Path
) -> None:
    user_data = f"""#cloud-config
users:
- name: cloud
  passwd: '{password_hash()}'
  shell: /bin/bash
  sudo: ALL=(ALL) NOPASSWD:ALL
  lock_passwd: False
- name: locked
  passwd: '{password_hash()}'
runcmd:
  - [echo, "as a list:", it's]
  - echo "as text by $(id -un)"
final_message: "up after $UPTIME seconds"
"""
    data_disk = tmp_path / "data.raw"
    with data_disk.open("wb") as file:
        file.truncate(3 << 20)
    data = ["-drive", f"if=none,id=data,format=raw,readonly=on,file={data_disk}"]
    data += ["-device", "virtio-blk-pci,drive=data,serial=data-1"]
    data += ["-netdev", "user,id=more,restrict=on"]
    data += ["-device", f"virtio-net-pci,netdev=more,mac={CARD}"]
    network = user_mode(CARD, "10.66.10.2")[NETWORK_CONFIG]
    seed = write_seed(tmp_path / "seed.iso", user_data.encode(), network_config=network)
    with boot(image, seed, *data) as machine:
        console = machine.console
        console.expect(r"cloud data: /dev/sr0 instance-id=guest-test\b")
        console.expect(r"disk: sda \S+ rw serial=root-1\r")
        console.expect(r"disk: vda 3M ro serial=data-1\r")
        console.expect(r"gitvirt guest: 2 CPUs, \d+ MiB, up \d+\.\d s")
        # The network comes up beside the rest: its line stands anywhere.
        console.seen(r"network: eth0 10\.0\.2\.15\r")
        console.seen(r"network: eth1 10\.66\.10\.2\r")
        console.expect(r"as a list: it's\r")
        console.expect(r"as text by root\r")
        console.expect(r"up after \d+\.\d+ seconds\r")
        console.send("")
        console.expect(r"from-meta-data login: ")
        console.send("locked")
        console.expect("Password: ")
        console.send(PASSWORD)
        console.expect("Login incorrect")
        console.expect("login: ")
        console.send("cloud")
        console.expect("Password: ")
        console.send(PASSWORD)
        console.expect(r"\$ ")
        console.send("id -un; pwd")
        console.expect(r"cloud\r\n/home/cloud\r\n")
        console.send("ip route show dev eth1")
        console.expect(r"default via 10\.0\.2\.2 dev eth1 *\r\n10\.0\.2\.0/24 dev eth1 scope link")

        assert machine.agent.ask("guest-ping") == {}
        assert machine.agent.ask("guest-get-osinfo")["id"] == "gitvirt-guest"
        assert machine.agent.ask("guest-get-host-name") == {"host-name": "from-meta-data"}
        interfaces = machine.agent.ask("guest-network-get-interfaces")
        assert {"lo", "eth0"} <= {interface["name"] for interface in interfaces}

        machine.monitor.ask("system_powerdown")
        assert machine.process.wait(DEADLINE) == 0
        machine.monitor.expect(r'"reason": "guest-shutdown"')


def test_hostile_cloud_data_does_not_stop_the_boot_nor_open_a_way_in(
    image: Path, tmp_path: Path
) -> None:
    user_data = b"""#cloud-config
users: [ {name: root, passwd: ""}
- name: "a:0:0::/:/bin/sh"
  passwd: ""
  lock_passwd: false
- name: root
  passwd: ""
  lock_passwd: false
- {{{{{ &a *a !!python/object
hostname: "$(reboot)/../`x`"
runcmd: - - - [[[
  - "unclosed
  - exit 1
  - )(
  - echo still here
final_message: |
\x00\xff\xfe bytes
"""
    with boot(image, write_seed(tmp_path / "seed.iso", user_data)) as machine:
        machine.console.expect("gitvirt guest: 2 CPUs")
        machine.console.expect("still here")
        machine.console.send("")
        machine.console.expect("login: ")
        machine.console.send("root")
        machine.console.expect("Password: ")
        machine.console.send("")
        machine.console.expect("Login incorrect")


def test_a_crash_of_the_kernel_is_seen_by_the_host(image: Path, tmp_path: Path) -> None:
    user_data = b"#cloud-config\nruncmd:\n- echo c > /proc/sysrq-trigger\n"
    seed = write_seed(tmp_path / "seed.iso", user_data)
    with boot(image, seed) as machine:
        machine.monitor.expect(r'"event": "GUEST_PANICKED"')


READER_CASES = {
    "literal_block": (
        "runcmd:\n- |\n  for i in 1 2; do\n    # no comment\n    echo $i\n  done\n- echo last\n",
        "1\n2\nlast\n",
    ),
    "folded_block": ("runcmd:\n  - >-\n    echo a\n    b\n", "a b\n"),
    "quotes": (
        "runcmd:\n- 'echo ''single'''\n- \"echo \\\"double\\\"\"\n- echo plain # comment\n",
        "single\ndouble\nplain\n",
    ),
    "lists": (
        "runcmd:\n- [printf, '%s|', 'a b', \"c, d\", e]\n- - printf\n  - '%s|'\n  - f g\n",
        "a b|c, d|e|f g|",
    ),
    "words_are_not_evaluated": (
        "runcmd:\n- [echo, '$(id)', \"`id`\", it's]\n",
        "$(id) `id` it's\n",
    ),
    "a_failing_command_stops_only_itself": ("runcmd:\n- exit 1\n- if\n- echo next\n", "next\n"),
    "windows_line_ends": ("runcmd:\r\n- echo a\r\n", "a\n"),
    "other_sections": ("packages:\n- nginx\nrun_cmd:\n- echo no\nruncmd:\n- echo yes\n", "yes\n"),
}


@pytest.mark.parametrize("name", READER_CASES)
def test_commands_of_user_data(name: str, tmp_path: Path) -> None:
    document, printed = READER_CASES[name]
    run_reader("#cloud-config\n" + document, tmp_path)
    script = tmp_path / "runcmd"
    result = subprocess.run(
        ["busybox", "sh", str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert result.stdout == printed


def test_users_and_texts_of_user_data(tmp_path: Path) -> None:
    document = """#cloud-config
users:
  - default
  - name: one
    groups: [a, b]
    ssh_authorized_keys:
      - ssh-ed25519 AAAA one@home
      - 'ssh-ed25519 BBBB'  # at work
    passwd: "$6$a$b"
    lock_passwd: false
    shell: /bin/ash
  - {name: flow}
  - name: two
    ssh_authorized_keys:
    - "ssh-ed25519 CCCC"
hostname: 'web'  # of the shop
final_message: |
  first $UPTIME

  second
"""
    run_reader(document, tmp_path)
    users = [line.split("\t") for line in (tmp_path / "users").read_text().splitlines()]
    assert ["one", "$6$a$b", "false", "/bin/ash"] in users
    assert ["two", "-", "true", "-"] in users
    assert (tmp_path / "keys").read_text().splitlines() == [
        "one\tssh-ed25519 AAAA one@home",
        "one\tssh-ed25519 BBBB",
        "two\tssh-ed25519 CCCC",
    ]
    assert "flow" not in [user[0] for user in users]
    assert (tmp_path / "hostname").read_text() == "web\n"
    assert (tmp_path / "final_message").read_text() == "first $UPTIME\n\nsecond\n"


def run_reader(document: str, folder: Path) -> None:
    assert shutil.which("busybox") is not None
    reader = GUEST / "root" / "lib" / "cloud-config.awk"
    subprocess.run(
        ["busybox", "awk", "-f", str(reader)], input=document, text=True, cwd=folder, check=True
    )
