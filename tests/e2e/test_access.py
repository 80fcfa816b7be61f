"""People reach a guest: its console in a terminal, its ports, its screen, and itself by ssh and scp."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import MakeStand
from tests.e2e.stand import PATIENCE, Stand, find
from tests.gitrepo.sshd import SshServer, make_key
from tests.images.server import serve
from tests.rig import manifest, settings

NAME = "linux-vm"
USER_DATA = """#cloud-config
users:
  - name: cloud
    lock_passwd: false
    passwd: "$6$gitvirtexample$aljglhQyJw/9IUF.OOFA/tz9YDOgQUyU7f0xBjrfuq6gBQK6cGf9xw7CwpFYDE5HK4B6ix0I5Xc0fuXiqywUQ0"
    ssh_authorized_keys:
      - {key}
"""


AGAIN = 10.0
"""Seconds after which somebody types once more what got lost."""


class Person:
    """A command in a terminal of its own, and who sits before it."""

    def __init__(self, stand: Stand, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        self.modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        self._text = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "agent", *arguments],
            env=stand.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def expect(self, pattern: str) -> str:
        found = self._look_for(pattern, PATIENCE)
        assert found is not None, f"no {pattern!r} came, but:\n{self._text}"
        return found

    def answer(self, keys: str, pattern: str) -> None:
        """Type something until it is heard: busybox throws away what is typed while it sets up the
        terminal to read it.
        """
        for _ in range(int(PATIENCE / AGAIN)):
            self.type(keys)
            if self._look_for(pattern, AGAIN) is not None:
                return
        raise AssertionError(f"no {pattern!r} came, but:\n{self._text}")

    def _look_for(self, pattern: str, seconds: float) -> str | None:
        end = time.monotonic() + seconds
        while (match := re.search(pattern, self._text)) is None:
            ready, _, _ = select.select((self.ours,), (), (), max(0.0, end - time.monotonic()))
            if not ready:
                return None
            self._text += os.read(self.ours, 4096).decode(errors="replace")
        self._text = self._text[match.end() :]
        return match.group()

    def end(self) -> int:
        """The exit code, once it has ended; what it still says is read meanwhile."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self._text
            if select.select((self.ours,), (), (), 0.05)[0]:
                self._text += os.read(self.ours, 4096).decode(errors="replace")
        return self.process.returncode

    @property
    def sane(self) -> bool:
        return termios.tcgetattr(self._theirs) == self.modes

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self._theirs)


@contextlib.contextmanager
def person(stand: Stand, *arguments: str) -> Iterator[Person]:
    made = Person(stand, *arguments)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("person") / "key")


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand, guest: bytes, key: Path) -> Iterator[Stand]:
    with make_stand("access") as stand:
        stand.images.routes["/guest.qcow2"] = serve(guest)
        stand.start()
        image = {"type": "HTTP", "http": {"url": stand.images.url("/guest.qcow2")}}
        base = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "guest"}}
        public = key.with_suffix(".pub").read_text().strip()
        spec = {
            "virtualMachineClassName": "host",
            "provisioning": {"type": "UserData", "userData": USER_DATA.format(key=public)},
            "cpu": {"cores": 1},
            "memory": {"size": "128Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": "root"}],
        }
        stand.push(
            {
                "config.yaml": settings("10.66.10.0/24"),
                "vm.yaml": [
                    manifest(
                        "VirtualImage",
                        "guest",
                        {"storage": "ContainerRegistry", "dataSource": image},
                    ),
                    manifest("VirtualDisk", "root", {"dataSource": base}),
                    manifest("VirtualMachine", NAME, spec),
                    manifest(
                        "VirtualMachine",
                        "off",
                        {
                            **spec,
                            "runPolicy": "AlwaysOff",
                            "blockDeviceRefs": [{"kind": "VirtualImage", "name": "guest"}],
                        },
                    ),
                ],
            }
        )
        stand.wait_for(lambda: stand.phase("VirtualMachine", NAME), "the machine")
        yield stand


def run(
    stand: Stand, *arguments: str, data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        env=stand.environment,
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        timeout=PATIENCE,
    )


def ssh(stand: Stand, key: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return run(
        stand, "ssh", "-i", str(key), "-o", "BatchMode=yes", "-o", "IdentityAgent=none", *arguments
    )


@pytest.mark.promise("S102", "S109", "S110")
def test_ssh_waits_for_the_boot_and_runs_one_command(stand: Stand, key: Path) -> None:
    done = ssh(stand, key, f"cloud@{NAME}", "--local-ssh", "--command", "nproc")
    assert (done.stdout, done.returncode) == (b"1\n", 0), done.stderr
    assert ssh(stand, key, f"cloud@{NAME}.default", "--", "exit 7").returncode == 7
    refused = ssh(stand, key, f"nobody@{NAME}", "-c", "nproc")
    assert refused.returncode == 255
    assert b"Permission denied" in refused.stderr


def test_a_guest_in_a_session_has_the_address_that_is_reserved_for_it(
    stand: Stand, key: Path
) -> None:
    status = stand.status("VirtualMachine", NAME)
    address = status["ipAddress"]
    assert address.startswith("10.66.10.")
    where = "jsonpath={.status.virtualMachineIPAddressName}"
    name = stand.gitvirt("get", "vm", NAME, "-o", where)
    assert re.fullmatch(r"linux-vm-[a-z0-9]{5}", name)
    (row,) = stand.gitvirt("get", "vmip", name).splitlines()[1:]
    assert row.split()[:-1] == [name, address, "Attached", NAME]
    (row,) = stand.gitvirt("get", "vmipl", f"ip-{address.replace('.', '-')}").splitlines()[1:]
    assert row.split()[1:-1] == [f'{{"name":"{name}","namespace":"default"}}', "Bound"]
    done = ssh(stand, key, f"cloud@{NAME}", "-c", "ip -4 address show dev eth0; ip route")
    assert f"inet {address}/32 ".encode() in done.stdout
    assert b"default via 10.0.2.2 dev eth0" in done.stdout

    def confirmed() -> bool:
        said = find(stand.status("VirtualMachine", NAME), "VirtualMachineIPAddressReady", "True")
        return said is not None and not said.get("message")

    stand.wait_for(confirmed, "the guest's agent says that it has the address")


def test_the_host_key_is_kept_and_another_one_refused(
    stand: Stand, key: Path, tmp_path: Path
) -> None:
    known = stand.folder / "data" / "known_hosts"
    assert ssh(stand, key, f"cloud@{NAME}", "-c", "true").returncode == 0
    (line,) = known.read_text().splitlines()
    uid = stand.object("VirtualMachine", NAME)["metadata"]["uid"]

    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    known.write_text(f"{NAME}.default.{uid[:8]} {other}")
    refused = ssh(stand, key, f"cloud@{NAME}", "-c", "true")
    assert refused.returncode == 255
    assert b"HOST IDENTIFICATION HAS CHANGED" in refused.stderr
    known.write_text(f"{line}\n")


def test_files_are_copied_both_ways(stand: Stand, key: Path, tmp_path: Path) -> None:
    here, back = tmp_path / "-odd name", tmp_path / "back"
    here.write_bytes(os.urandom(300_000))
    options = ("scp", "-i", str(key), "-o", "BatchMode=yes", "-o", "IdentityAgent=none")
    sent = run(stand, *options, "--", str(here), f"cloud@{NAME}:there")
    assert sent.returncode == 0, sent.stderr
    fetched = run(stand, *options, f"cloud@{NAME}.default:there", str(back))
    assert fetched.returncode == 0, fetched.stderr
    assert back.read_bytes() == here.read_bytes()
    absent = run(stand, *options, f"{NAME}:absent", str(back), "-l", "cloud")
    assert absent.returncode == 1
    assert b"No such file" in absent.stderr


def test_a_configuration_for_ssh_leads_to_the_machine_from_anywhere(
    stand: Stand, key: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_bytes(run(stand, "ssh-config", NAME).stdout)
    words = ["ssh", "-F", str(config), "-i", str(key), "-o", "BatchMode=yes", "-o", "User=cloud"]
    environment = {k: v for k, v in stand.environment.items() if k != "GITVIRT_REPO"}
    done = subprocess.run(
        [*words, f"{NAME}.default", "hostname"], env=environment, capture_output=True, cwd=tmp_path
    )
    assert (done.stdout, done.returncode) == (f"{NAME}\n".encode(), 0), done.stderr


@contextlib.contextmanager
def forwarded(stand: Stand, *arguments: str) -> Iterator[list[int]]:
    """Ports of this machine, as the command names them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "port-forward", NAME, *arguments],
        env=stand.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ports = []
        for _ in arguments:
            line = process.stdout.readline() if process.stdout else ""
            match = re.fullmatch(
                r"Forwarding from 127\.0\.0\.1:(\d+) to linux-vm:\d+ \(\w+\)\n", line
            )
            assert match, line + (process.stderr.read() if process.stderr else "")
            ports.append(int(match[1]))
        yield ports
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_ports_are_forwarded_and_leave_nothing_behind(stand: Stand, key: Path) -> None:
    web = "httpd -p 8080 -h /etc"
    assert ssh(stand, key, f"cloud@{NAME}", "-c", web).returncode == 0
    with forwarded(stand, "0:8080", "0:7007", "udp/0:9") as (port, closed, _):
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as one:
                one.sendall(b"GET /os-release HTTP/1.0\r\n\r\n")
                said = b"".join(iter(lambda: one.recv(4096), b""))
            assert b'NAME="gitvirt guest"' in said
        with socket.create_connection(("127.0.0.1", closed)) as one:
            assert one.recv(10) == b""  # nobody listens there: what is made is closed
    assert "HOST_FORWARD" not in stand.monitor(NAME, "info usernet")


def test_one_port_on_standard_streams(stand: Stand) -> None:
    done = run(stand, "port-forward", "--stdio", NAME, "22", data=b"not ssh\r\n")
    assert done.stdout.startswith(b"SSH-2.0-dropbear")
    assert done.returncode == 0
    closed = run(stand, "port-forward", "--stdio", "--banner", NAME, "7007", "--timeout", "2s")
    assert closed.returncode == 1
    assert b"port 7007 of linux-vm does not answer" in closed.stderr
    stand.domain(NAME).suspend()
    paused = run(stand, "port-forward", "--stdio", "--banner", NAME, "22", "--timeout", "2s")
    stand.domain(NAME).resume()
    assert paused.returncode == 1
    assert b"linux-vm is paused, and port 22 does not answer" in paused.stderr


def test_a_picture_of_the_screen(stand: Stand, tmp_path: Path) -> None:
    file = tmp_path / "screen.png"
    done = run(stand, "screenshot", NAME, str(file))
    assert (done.returncode, done.stdout) == (0, f"{file}\n".encode()), done.stderr
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert run(stand, "screenshot", NAME, "-").stdout.startswith(b"\x89PNG\r\n\x1a\n")
    nowhere = run(stand, "screenshot", NAME, str(tmp_path / "no" / "file"))
    assert nowhere.returncode == 1
    assert b"cannot be written: No such file or directory" in nowhere.stderr


@pytest.mark.promise("S108")
def test_vnc_says_where_the_screen_is_and_shows_it_to_viewers(stand: Stand) -> None:
    with person(stand, "vnc", NAME) as one:
        port = int(one.expect(r"vnc://127\.0\.0\.1:(\d+)").rpartition(":")[2])
        one.expect("no viewer was found")
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as viewer:
                assert viewer.recv(12) == b"RFB 003.008\n"
        one.type("\x03")
        assert one.end() == 130


@pytest.mark.promise("S105", "S106", "S107")
def test_the_console_shows_what_was_said_and_takes_what_is_typed(stand: Stand) -> None:
    with person(stand, "console", NAME) as one:
        one.expect(
            r"Successfully connected to linux-vm console\. The escape sequence is \^\]\r\n\r\n"
        )
        one.expect("linux-vm login: ")
        assert not one.sane
        one.answer("cloud\r", "Password: ")
        one.answer("cloud\r", r"\$ ")
        one.answer("nproc\r", r"nproc\r\n1\r\n")
        one.expect(r"\$ ")
        one.type("exit\r")
        one.expect("linux-vm login: ")
        one.type("\x1d")
        assert one.end() == 0
        assert one.sane


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_the_terminal_is_put_back_whatever_ends_the_console(
    stand: Stand, number: int, code: int
) -> None:
    with person(stand, "console", NAME) as one:
        one.expect("Successfully connected")
        one.process.send_signal(number)
        assert one.end() == code
        assert one.sane
    # and the console is free
    with person(stand, "console", NAME) as one:
        one.expect("Successfully connected")
        one.type("\x1d")
        assert one.end() == 0


def test_a_second_one_is_told_who_is_there_and_may_take_over(stand: Stand) -> None:
    with person(stand, "console", NAME) as first:
        first.expect("Successfully connected")
        refused = run(stand, "console", NAME)
        assert refused.returncode == 1
        assert re.search(rb"\S+@\S+ since \d\d:\d\d uses the console of linux-vm", refused.stderr)
        with person(stand, "console", NAME) as second:
            second.expect(r"\S+@\S+ since \d\d:\d\d uses the console of linux-vm\. Take it over\? ")
            second.type("y\r")
            second.expect("Successfully connected")
            first.expect(r"the console was taken over by \S+@\S+ since")
            assert first.end() == 1
            assert first.sane
            second.type("\x1d")
            assert second.end() == 0


def test_a_pipe_in_place_of_a_terminal_gets_the_guests_words_alone(stand: Stand) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "console", NAME],
        env=stand.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stderr.readline().startswith(b"Successfully connected")
        process.stdin.write(b"marco\n")
        process.stdin.close()
        said = b""
        while b"marco" not in said:
            said += os.read(process.stdout.fileno(), 4096)
        assert b"Successfully" not in said
        process.stdout.close()  # who reads has enough: the guest's next word ends it
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) in (141, 143)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_console_outlives_a_reboot_and_a_restart_and_so_does_the_host_key(
    stand: Stand, key: Path
) -> None:
    with person(stand, "console", NAME) as one:
        one.expect("Successfully connected")
        boots = len(stand.boots(NAME))
        stand.domain(NAME).reboot()
        one.expect(r"gitvirt guest: (reboot|poweroff)")
        one.expect(r"gitvirt guest: 1 CPUs")
        one.expect("linux-vm login: ")
        assert len(stand.boots(NAME)) == boots + 1
        asked = subprocess.Popen(
            [sys.executable, "-m", "agent", "restart", NAME, "--wait"],
            env=stand.environment,
            stdout=subprocess.DEVNULL,
        )
        one.expect("linux-vm is off, or out of reach; waiting for it")
        one.expect("it is there again")
        one.expect(r"gitvirt guest: 1 CPUs")
        one.expect("linux-vm login: ")
        assert asked.wait(PATIENCE) == 0
        one.type("\x1d")
        assert one.end() == 0
    done = ssh(stand, key, f"cloud@{NAME}", "-c", "nproc")
    assert (done.stdout, done.returncode) == (b"1\n", 0), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("console", "off"), 1),
        (("vnc", "off"), 1),
        (("screenshot", "off"), 1),
        (("port-forward", "off", "80"), 1),
        (("ssh", "cloud@off"), 255),
        (("scp", "cloud@off:x", "y"), 255),
    ],
)
def test_a_machine_that_is_off_is_said_to_be(
    stand: Stand, arguments: Sequence[str], code: int
) -> None:
    stand.wait_for_phase("VirtualMachine", "off", "Stopped")
    done = run(stand, *arguments)
    assert (done.stderr, done.returncode) == (
        b"error: off is off: `gitvirt start off` starts it\n",
        code,
    )


@pytest.fixture
def behind_ssh(stand: Stand, tmp_path: Path) -> Iterator[Path]:
    """A configuration that names the node of the machine as one that ssh leads to."""
    variables = {"XDG_RUNTIME_DIR": str(stand.session.root / "run")}
    with SshServer(tmp_path / "ssh", variables) as server:
        client = tmp_path / "client"
        client.write_text(f'#!/bin/sh\nexec {server.command} "$@"\n')
        client.chmod(0o755)
        config = tmp_path / "config.yaml"
        node = stand.status("VirtualMachine", NAME)["nodeName"]
        uri = f"qemu+ssh://{server.host}/session?command={client}"
        config.write_text(yaml.safe_dump({"nodes": {node: {"connect": uri}}}))
        yield config


def test_a_node_behind_ssh_gives_the_same(
    stand: Stand, key: Path, behind_ssh: Path, tmp_path: Path
) -> None:
    there = ("--config", str(behind_ssh))
    done = ssh(stand, key, f"cloud@{NAME}", "-c", "hostname; exit 7", *there)
    assert (done.stdout, done.returncode) == (f"{NAME}\n".encode(), 7), done.stderr
    picture = run(stand, "screenshot", NAME, "-", *there)
    assert picture.stdout.startswith(b"\x89PNG"), picture.stderr
    with person(stand, "console", NAME, *there) as one:
        one.expect("linux-vm login: ")
        one.type("\r")
        one.expect("linux-vm login: ")
        one.type("\x1d")
        assert one.end() == 0
    with person(stand, "vnc", NAME, *there) as one:
        port = int(one.expect(r"vnc://127\.0\.0\.1:(\d+)").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
        one.type("\x03")
        assert one.end() == 130
    no_way = run(stand, "port-forward", NAME, "udp/53", *there)
    assert no_way.returncode == 1
    assert b"udp has no way there" in no_way.stderr
    assert "HOST_FORWARD" not in stand.monitor(NAME, "info usernet")
