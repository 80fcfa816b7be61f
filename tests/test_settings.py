from __future__ import annotations

from pathlib import Path

import pytest

from agent import settings
from agent.core import human
from agent.options import OPTIONS
from agent.settings import SettingsError


class Files:
    """A system and a home of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.system = folder / "etc/config.yaml"
        self.home = folder / "home"
        self.user = self.home / ".config/gitvirt/config.yaml"
        for path in (self.system, self.user):
            path.parent.mkdir(parents=True)

    def load(
        self, *, config: str = "", environment: dict[str, str] | None = None, **flags: str
    ) -> settings.Settings:
        return settings.load(
            {name.replace("_", "-"): value for name, value in flags.items()},
            config=config,
            environment={"HOME": str(self.home), **(environment or {})},
            system_file=self.system,
            root=False,
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_defaults(files: Files) -> None:
    found = files.load()
    assert found.repo == found.connect == found.folder == ""
    assert (found.branch, found.status_ref) == ("main", "refs/heads/status")
    assert found.operations_ref == "refs/heads/operations"
    assert (found.interval, found.status_interval, found.timeout) == (30, 10, None)
    assert (found.fleet, found.namespace, found.log_format) == ("default", "default", "auto")
    assert found.image_limit == 100 * 1024**3
    assert found.memory_overcommit is None
    assert found.trash_retention == 7 * 86400
    assert found.data_dir == files.home / ".local/state/gitvirt"


def test_flags_win_over_the_environment_that_over_the_user_that_over_the_system(
    files: Files,
) -> None:
    files.system.write_text("fleet: system\nbranch: system\nconnect: system\nrepo: system\n")
    files.user.write_text("fleet: user\nbranch: user\nconnect: user\n")
    environment = {"GITVIRT_FLEET": "environment", "GITVIRT_BRANCH": "environment"}
    found = files.load(environment=environment, fleet="flag")
    given = (found.fleet, found.branch, found.connect, found.repo)
    assert given == ("flag", "environment", "user", "system")


def test_a_named_file_is_read_instead_of_the_others(files: Files, tmp_path: Path) -> None:
    files.user.write_text("fleet: user\nbranch: user\n")
    named = tmp_path / "named.yaml"
    named.write_text("fleet: named\n")
    for found in (
        files.load(config=str(named)),
        files.load(environment={"GITVIRT_CONFIG": str(named)}),
    ):
        assert (found.fleet, found.branch) == ("named", "main")
    with pytest.raises(SettingsError, match="no such configuration file"):
        files.load(config=str(tmp_path / "none.yaml"))


def test_every_option_can_be_set_everywhere(files: Files) -> None:
    values = {
        "repo": "https://git.example.com/vms.git",
        "branch": "production",
        "path": "clusters/home/",
        "namespace": "prod",
        "connect": "qemu:///system",
        "fleet": "f1",
        "data-dir": "/var/data",
        "interval": "1m",
        "status-branch": "s",
        "status-interval": "0",
        "operations-branch": "o",
        "username": "ada",
        "password": "secret",
        "credentials-file": "/etc/token",
        "ssh-command": "ssh -i key",
        "timeout": "1h30m",
        "log-format": "json",
        "image-limit": "10Gi",
        "memory-overcommit": "1.5",
        "image-hosts": "10.0.0.0/8, *.example.com",
        "trash-retention": "14d",
        "plan-refs": "refs/pull/*/head, refs/merge-requests/*/head",
        "listen": "127.0.0.1:8006",
        "tls-cert": "/etc/page.pem",
        "tls-key": "/etc/page.key",
        "token-file": "/etc/token",
        "page-names": "vms.example.com, vms",
        "forge-url": "https://git.example.com/vms/src/{commit}/{path}#L{line}",
    }
    assert values.keys() == {option.name for option in OPTIONS}
    by_flag = settings.load(values, environment={}, system_file=files.system)
    variables = {f"GITVIRT_{name.upper().replace('-', '_')}": each for name, each in values.items()}
    assert settings.load({}, environment=variables, system_file=files.system) == by_flag
    for separator in ("-", "_"):
        lines = (f"{name.replace('-', separator)}: {each}\n" for name, each in values.items())
        files.system.write_text("".join(lines))
        assert settings.load({}, environment={}, system_file=files.system) == by_flag
    assert by_flag.folder == "clusters/home"
    assert (by_flag.timeout, by_flag.interval, by_flag.status_interval) == (5400, 60, 0)
    assert by_flag.data_dir == Path("/var/data")
    assert by_flag.memory_overcommit == 1.5
    assert by_flag.plan_refs == ("refs/pull/*/head", "refs/merge-requests/*/head")
    assert by_flag.page_names == ("vms.example.com", "vms")
    assert "secret" not in repr(by_flag)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("45", 45), ("1.5", 1.5), ("2d", 172800), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert human.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-5", "m5", "5 m", "1m1h", "٣s", "30s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        human.duration(text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("interval", "soon", "duration such as 30s"),
        ("interval", "0", "more than 0"),
        ("fleet", "a" * 21, "at most 20"),
        ("fleet", "Upper", "lower-case"),
        ("fleet", "a-", "lower-case"),
        ("branch", "a..b", "branch's name"),
        ("branch", "-x", "branch's name"),
        ("path", "../up", "inside the repository"),
        ("path", "/abs", "inside the repository"),
        ("namespace", "a.b", "namespace"),
        ("image-limit", "much", "quantity"),
        ("memory-overcommit", "0.4", "from 0.5 to 10"),
        ("memory-overcommit", "11", "from 0.5 to 10"),
        ("memory-overcommit", "much", "such as 1.5"),
        ("image-limit", "100", "did you mean 100Gi?"),
        ("image-limit", "500m", "did you mean 500Mi?"),
        ("log-format", "xml", "auto, text, json"),
        ("status-branch", "main", "three branches"),
        ("plan-refs", "pull/*/head", r"such as refs/pull/\*/head.*\"pull/\*/head\""),
        ("plan-refs", "refs/pull/*/head refs/heads/*", 'not "refs/heads/'),
        ("plan-refs", "refs/gitvirt/*", "neither branches nor tags"),
        ("plan-refs", "refs/*/head", "full names of refs"),
        ("plan-refs", "refs/pull/**", "full names of refs"),
        ("plan-refs", "refs/pull/../*", "full names of refs"),
    ],
)
def test_values_that_do_not_hold_are_said_with_the_place(
    files: Files, name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as error:
        settings.load({name: value}, environment={}, system_file=files.system, root=True)
    assert name in str(error.value)


def test_the_fleet_has_up_to_twenty_signs(files: Files) -> None:
    assert files.load(fleet="a" * 20).fleet == "a" * 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "branch: main\nintervall: 30s\n",
            r"config.yaml:2: intervall is no setting: .* interval\?",
        ),
        ("xyzzy: 1\n", "config.yaml:1: xyzzy is no setting: known are repo, branch"),
        ("branch: main\ninterval: soon\n", "config.yaml:2: interval must be a duration"),
        ("branch: [a]\n", "config.yaml:1: branch must be text or a number"),
        ("fleet: true\n", "config.yaml:1: fleet must be text or a number"),
        ("- a\n", "must be one mapping"),
        ("a: [\n", "config.yaml:"),
        ("fleet: a\nfleet: b\n", "config.yaml:1: fleet is there twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    files: Files, content: str, said: str
) -> None:
    files.user.write_text(content)
    with pytest.raises(SettingsError, match=said):
        files.load()


def test_an_empty_file_and_an_empty_variable_say_nothing(files: Files) -> None:
    files.user.write_text("# nothing\n")
    assert files.load(environment={"GITVIRT_FLEET": ""}).fleet == "default"


def test_where_data_lies(files: Files) -> None:
    moved = files.load(environment={"XDG_STATE_HOME": "/state"})
    assert moved.data_dir == Path("/state/gitvirt")
    ignored = files.load(environment={"XDG_STATE_HOME": "relative"})
    assert ignored.data_dir == files.home / ".local/state/gitvirt"
    of_root = settings.load({}, environment={}, system_file=files.system, root=True)
    assert of_root.data_dir == Path("/var/lib/gitvirt")
    with pytest.raises(SettingsError, match="--data-dir"):
        settings.load({}, environment={}, system_file=files.system, root=False)


def test_the_configuration_is_read_in_one_place() -> None:
    agent = Path(settings.__file__).parent
    readers = {
        str(path.relative_to(agent))
        for path in agent.rglob("*.py")
        if "os.environ" in path.read_text() or "getenv(" in path.read_text()
    }
    assert readers == {"settings.py"}
