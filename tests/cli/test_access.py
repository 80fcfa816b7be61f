"""The commands by which people reach machines: what is made of their words. Guests are reached in tests/e2e."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import ssh
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, machine


@pytest.fixture
def told(tmp_path: Path, fleet: Fleet) -> Path:
    """Where an ssh that only tells what it is asked for writes. A machine is to run, on a node that
    has not begun with it.
    """
    (tmp_path / "settings.yaml").write_text("nodes: {pt-1: {connect: 'test:///default'}}\n")
    fleet.write(machine(status={"phase": "Running", "nodeName": "pt-1"}))
    fleet.write(machine("off", status={"phase": "Stopped"}))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ssh", "scp"):
        (programs / name).write_text(
            f'#!/bin/sh\nfor word; do echo "$word"; done >{tmp_path}/{name}\nexit 7\n'
        )
        (programs / name).chmod(0o755)
    return tmp_path


def run(told: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        env={
            **os.environ,
            "GITVIRT_CONFIG": str(told / "settings.yaml"),
            "PATH": f"{told / 'programs'}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
    )


def words(told: Path, program: str) -> list[str]:
    return (told / program).read_text().splitlines()


def test_ssh_becomes_the_users_own(told: Path) -> None:
    done = run(told, "ssh", "cloud@linux-vm", "--local-ssh", "--command", "nproc; id", "-p", "2222")
    assert (done.returncode, done.stderr) == (7, "")
    said = words(told, "ssh")
    assert said[-5:] == ["-l", "cloud", "--", "linux-vm.default", "nproc; id"]
    (proxy,) = (word for word in said if word.startswith("ProxyCommand="))
    assert shlex.split(proxy)[-9:] == [
        *("-m", "agent", "port-forward", "--stdio", "--banner", "--namespace=default"),
        *("--", "linux-vm", "2222"),
    ]
    assert "StrictHostKeyChecking=accept-new" in said


def test_a_machine_that_answers_is_reached_straight_whatever_holds_for_other_hosts(
    gitvirt: Gitvirt, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[str] = []

    def become(_program: str, words: list[str]) -> None:
        became[:] = words
        raise OSError(errno.ENOENT, "it is enough to know")

    monkeypatch.setattr(ssh, "_straight", lambda *_: "10.66.10.14")
    monkeypatch.setattr(os, "execvp", become)
    assert gitvirt("ssh", "cloud@linux-vm", "-p", "2222").code == 255
    config = told / "config"
    config.write_text("Host *\n ProxyJump bastion\n AddressFamily inet6\n Port 23\n")
    said = subprocess.run(
        [became[0], "-G", "-F", str(config), *became[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    meant = dict(line.partition(" ")[::2] for line in said.stdout.splitlines())
    assert (meant["hostname"], meant["port"], meant["user"]) == ("10.66.10.14", "2222", "cloud")
    assert meant["hostkeyalias"].startswith("linux-vm.default")
    assert meant.get("proxycommand", "none") == "none"
    assert (meant.get("proxyjump"), meant["addressfamily"]) == (None, "any")


def test_scp_names_the_machine_as_ssh_does(told: Path) -> None:
    assert run(told, "scp", "-r", "--", "-x", "a:b/c", "./d:e").returncode == 255
    done = run(told, "scp", "-r", "--", "-x", "./d:e", "vm/f:g", "cloud@linux-vm.default:/tmp")
    assert (done.returncode, done.stderr) == (7, "")
    assert words(told, "scp")[-6:] == [
        *("-r", "--", "./-x", "./d:e", "./vm/f:g", "cloud@linux-vm.default:/tmp")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ssh", "cloud@absent"], "there is no VirtualMachine 'absent' in namespace default"),
        (["ssh", "cloud@off"], "off is off: `gitvirt start off` starts it"),
        (["ssh", "--", "-oProxyCommand=x@linux-vm"], "'-oProxyCommand=x' is no user's name"),
        (["ssh", "a b@linux-vm"], "'a b' is no user's name"),
        (["ssh", "linux-vm", "-p", "0"], "0 is no port"),
        (["ssh"], "required: [USER@]VM"),
        (["ssh", "linux-vm", "--wrong"], "unrecognized arguments: --wrong"),
        (["scp", "linux-vm:x"], "scp needs what to copy and where to"),
        (["scp", "a", "b"], "one side must be one virtual machine"),
        (["scp", "linux-vm:a", "off:b"], "one side must be one virtual machine"),
    ],
)
def test_what_cannot_be_is_said_with_the_exit_code_of_ssh(
    told: Path, arguments: list[str], said: str
) -> None:
    done = run(told, *arguments)
    assert said in done.stderr
    assert done.returncode == 255
    assert not (told / "ssh").exists()


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "a b", "a\nHost *", "a;b", "A", "a$(x)"])
def test_a_name_that_is_none_reaches_no_program(told: Path, fleet: Fleet, name: str) -> None:
    fleet.write(machine(name, status={"phase": "Running"}))
    done = run(told, "ssh", "--", name)
    assert done.returncode == 255
    assert not (told / "ssh").exists()


def test_a_path_of_this_machine_is_told_from_one_of_another() -> None:
    assert ssh.remote("me@vm:a:b") == ("me", "vm", "a:b")
    assert ssh.remote("vm:") == ("", "vm", "")
    for path in ("a", "./a:b", "/a:b", ":b"):
        assert ssh.remote(path) is None


def test_a_configuration_names_each_machine_and_the_repository(
    gitvirt: Gitvirt, fleet: Fleet, told: Path
) -> None:
    said = gitvirt("ssh-config").out
    assert [line for line in said.splitlines() if line.startswith("Host ")] == [
        "Host linux-vm.default",
        "Host off.default",
    ]
    assert f"--repo={fleet.root}" in said
    assert "Host off" not in gitvirt("ssh-config", "linux-vm").out


@pytest.mark.parametrize("command", ["console", "vnc", "screenshot", "port-forward"])
def test_a_machine_on_a_node_that_the_settings_do_not_name(
    gitvirt: Gitvirt, told: Path, tmp_path: Path, command: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("nodes: {other: {connect: 'test:///default'}}\n")
    ports = ["80"] if command == "port-forward" else []
    result = gitvirt(command, "linux-vm", *ports, "--config", str(config))
    assert result.code == 1
    assert "is on node pt-1, which your settings do not name" in result.err


def test_a_machine_on_a_host_that_this_one_is_not(gitvirt: Gitvirt, told: Path) -> None:
    result = gitvirt("screenshot", "linux-vm", "--connect", "test:///default")
    assert result.code == 1
    assert "linux-vm is on node pt-1, and test:///default leads to" in result.err


def test_a_node_that_is_lost_is_named(gitvirt: Gitvirt, told: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        f"nodes: {{pt-1: {{connect: 'qemu+unix:///system?socket={tmp_path}/none'}}}}\n"
    )
    result = gitvirt("console", "linux-vm", "--config", str(config))
    assert result.code == 1
    assert result.err.startswith("error: linux-vm is on node pt-1: cannot connect to ")


def test_a_machine_that_is_being_deleted(gitvirt: Gitvirt, fleet: Fleet) -> None:
    dying = machine("dying", status={"phase": "Terminating"})
    fleet.write(dying)
    result = gitvirt("console", "dying")
    assert (result.code, result.err) == (1, "error: dying is being deleted\n")


def test_one_that_does_not_come_up_in_time(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine(status={"phase": "Pending", "nodeName": ""}))
    result = gitvirt("console", "linux-vm", "--timeout", "0.001s")
    assert result.code == 1
    assert result.err.splitlines() == [
        "waiting for linux-vm to run (now Pending)",
        (
            "error: linux-vm does not run after 0s: it is in phase Pending; "
            "`gitvirt describe vm linux-vm` says why"
        ),
    ]


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        (["x"], "'x' is no port"),
        (["--stdio", "1", "2"], "--stdio takes one tcp port"),
        (["--stdio", "1", "udp"], "--stdio takes one tcp port"),
        (["--banner", "1"], "--banner is for --stdio"),
    ],
)
def test_ports_that_are_none(gitvirt: Gitvirt, ports: list[str], said: str) -> None:
    result = gitvirt("port-forward", "linux-vm", *ports)
    assert result.code == 1
    assert said in result.err
