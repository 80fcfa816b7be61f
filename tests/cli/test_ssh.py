"""Every command in a clone whose origin lies behind ssh, and the agent on it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from agent.gitrepo.open import open_repository
from agent.gitrepo.repository import Repository
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, machine
from tests.gitrepo.git import git, put
from tests.gitrepo.sshd import SshServer
from tests.rig import Rig, disk
from tests.rig import machine as manifest


@pytest.fixture
def clone(fleet: Fleet, sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one stands: a clone of a fleet's repository, as `git clone git@host:path` leaves it."""
    fleet.main = put(fleet.root, {"disk.yaml": yaml.safe_dump(disk())})
    fleet.write(machine())
    fleet.agent()
    git(tmp_path, "clone", "-q", str(fleet.root), "clone")
    clone = tmp_path / "clone"
    git(clone, "remote", "set-url", "origin", sshd.scp(fleet.root))
    git(clone, "config", "core.sshCommand", sshd.quick)
    monkeypatch.delenv("GITVIRT_REPO")
    monkeypatch.chdir(clone)
    return clone


@pytest.mark.usefixtures("clone")
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["get", "vm"], 0, "linux-vm"),
        (["describe", "vm", "linux-vm"], 0, "Running"),
        (["status"], 0, "Fleet:      default"),
        (["plan"], 2, "VirtualDisk default/root"),
        (["plan", "--revision", "main"], 2, "VirtualDisk default/root"),
        (["validate"], 0, "1 manifest, no problems"),
        (["validate", "--revision", "HEAD"], 0, "1 manifest, no problems"),
        (["wait", "--revision", "HEAD"], 0, " applied"),
        (["wait", "vm/linux-vm", "--for=phase=Running"], 0, "condition met"),
        (["doctor", "--connect", "test:///default"], 1, "ok       repository: "),
    ],
)
def test_commands_read_an_origin_behind_ssh(
    gitvirt: Gitvirt, argv: list[str], code: int, words: str
) -> None:
    result = gitvirt(*argv)
    assert words in result.out, result.err
    assert result.code == code


@pytest.mark.usefixtures("clone")
def test_an_operation_is_pushed_through_ssh(gitvirt: Gitvirt, fleet: Fleet) -> None:
    result = gitvirt("restart", "linux-vm", "--create-only")
    assert (result.code, result.err) == (0, "")
    (asked,) = fleet.operations().values()
    assert asked["spec"]["type"] == "Restart"


def test_the_setting_and_the_variable_win_over_git(
    gitvirt: Gitvirt, sshd: SshServer, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(clone, "config", "core.sshCommand", "no-such-program")
    assert "error: " in gitvirt("get", "vm").err
    monkeypatch.setenv("GIT_SSH_COMMAND", sshd.quick)
    assert gitvirt("get", "vm").code == 0
    monkeypatch.setenv("GIT_SSH_COMMAND", "no-such-program")
    assert gitvirt("get", "vm", "--ssh-command", sshd.quick).code == 0


def test_what_needs_no_repository_asks_for_none(
    gitvirt: Gitvirt, clone: Path, tmp_path: Path
) -> None:
    used = tmp_path / "used"
    git(clone, "config", "core.sshCommand", f"touch {used};")
    for argv in (["validate"], ["validate", "."], ["--version"], ["--help"], ["get", "--help"]):
        assert gitvirt(*argv).code == 0
    assert not used.exists()
    assert gitvirt("get", "vm").code == 1
    assert used.exists()


def test_the_agent_works_through_ssh(sshd: SshServer, fleet: Fleet, tmp_path: Path) -> None:
    address = sshd.url(fleet.root)
    root = tmp_path / "agent"
    root.mkdir()

    def opened(name: str) -> Repository:
        return open_repository(address, tmp_path / name, ssh=sshd.quick)

    with opened("cache") as repository, opened("another") as ours:
        rig = Rig(root, repository=repository)
        rig.repo = ours
        ours.fetch()
        rig.push({"vm.yaml": [disk(), manifest(runPolicy="AlwaysOn")]})
        rig.settle()
        assert rig.running()
        assert rig.vm()["status"]["phase"] == "Running"
        rig.agent.close()
    git(fleet.root, "fsck", "--strict", "--no-dangling")
