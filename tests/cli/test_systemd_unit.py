from __future__ import annotations

import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from agent.cli.systemd_unit import unit
from tests.cli.conftest import Gitvirt

OPTIONS = {"repo": "https://git.example.com/vms.git", "fleet": "lab"}


def parsed(text: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


@pytest.mark.parametrize("user", [False, True])
def test_the_machines_outlive_the_agent(user: bool) -> None:
    service = parsed(unit(["/opt/gitvirt/bin/gitvirt"], {}, user=user))["Service"]
    assert service["KillMode"] == "process"
    assert service["OOMPolicy"] == "continue"
    assert service["Restart"] == "on-failure"


def test_a_system_unit_is_stopped_before_the_guests_of_a_host_that_goes_down() -> None:
    found = parsed(unit(["gitvirt"], {}, user=False))
    assert "libvirt-guests.service" in found["Unit"]["After"].split()
    assert found["Install"]["WantedBy"] == "multi-user.target"
    assert found["Service"]["StateDirectory"] == "gitvirt"


def test_a_users_unit_wants_nothing_that_only_the_system_has() -> None:
    found = parsed(unit(["gitvirt"], {}, user=True))
    assert set(found["Unit"]) == {"Description"}
    assert found["Install"]["WantedBy"] == "default.target"
    assert "StateDirectory" not in found["Service"]


def test_it_runs_this_installation_with_the_settings_that_are_given(
    gitvirt: Gitvirt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "gitvirt")])
    said = gitvirt("systemd-unit", *(f"--{name}={value}" for name, value in OPTIONS.items()))
    assert (said.code, said.err) == (0, "")
    command = f"{tmp_path / 'gitvirt'} run --repo {OPTIONS['repo']} --fleet lab"
    assert parsed(said.out)["Service"]["ExecStart"] == command


def test_started_as_a_module_it_stays_one(
    gitvirt: Gitvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/tree/agent/__main__.py"])
    said = gitvirt("systemd-unit", "--user")
    assert parsed(said.out)["Service"]["ExecStart"] == f"{sys.executable} -m agent run"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/srv/my vms.git", '"/srv/my vms.git"'),
        ("/srv/100%.git", '"/srv/100%%.git"'),
        ("/srv/$HOME.git", '"/srv/$$HOME.git"'),
        ('/srv/a"b\\c.git', '"/srv/a\\"b\\\\c.git"'),
        ("/srv/a\nExecStartPre=x", '"/srv/a\\nExecStartPre=x"'),
        ("", '""'),
    ],
)
def test_a_setting_is_one_word_to_systemd(word: str, written: str) -> None:
    text = unit(["gitvirt"], {"repo": word}, user=False)
    assert f"\nExecStart=gitvirt run --repo {written}\n" in text
