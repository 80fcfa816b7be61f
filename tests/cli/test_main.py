from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent import cli
from agent.assemble import claimed
from agent.cli import get
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, machine
from tests.gitrepo.git import git

ROOT = Path(cli.__file__).parents[2]


def test_help_lists_every_command_and_each_has_examples(gitvirt: Gitvirt) -> None:
    overview = gitvirt("--help")
    assert overview.code == 0
    assert overview.out.count("\nsettings:\n") == 1
    for command in ("validate", "get", "describe", "status", "wait", "start", "stop", "doctor"):
        assert f"\n    {command} " in overview.out
        single = gitvirt(command, "--help")
        assert single.code == 0
        assert f"gitvirt {command}" in single.out.splitlines()[0]
        own, _, settings = single.out.partition("\nexamples:\n")
        assert "--repo" not in own
        assert single.out.count("\nsettings:\n") == 1
        assert settings.index("\nsettings:\n") < settings.index("--repo")


def test_help_fits_into_the_terminal(gitvirt: Gitvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    for command in cli.COMMANDS:
        about, _, _ = gitvirt(command, "--help").out.partition("\nexamples:\n")
        assert max(map(len, about.splitlines())) < 70, command


def test_without_a_command_there_is_help(gitvirt: Gitvirt) -> None:
    assert gitvirt().out == gitvirt("--help").out == gitvirt("help").out
    assert gitvirt("help", "get").out == gitvirt("get", "--help").out
    assert "did you mean get?" in gitvirt("help", "gte").err


def test_a_password_is_no_flag(gitvirt: Gitvirt) -> None:
    assert "--password" not in gitvirt("get", "--help").out
    assert gitvirt("get", "vm", "--password", "x").code == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("gte", "vm"), "error: there is no command 'gte': did you mean get?"),
        (("restrat", "x"), "did you mean restart?"),
        (("xyzzy",), "error: there is no command 'xyzzy': see `gitvirt --help`"),
        (("get",), "see `gitvirt get --help`"),
        (
            ("get", "vm", "--watsh"),
            "error: unrecognized arguments: --watsh: did you mean --watch?; see `gitvirt get --help`",
        ),
        (("wait", "vm/a", "--timout=3"), "did you mean --timeout?; see `gitvirt wait --help`"),
        (("get", "vm", "--xyzzy"), "unrecognized arguments: --xyzzy; see `gitvirt get --help`"),
        (("--xyzzy",), "unrecognized arguments: --xyzzy; see `gitvirt --help`"),
        (("get", "virtualmachin"), "did you mean virtualmachine?"),
        (("get", "vm", "--interval", "soon"), "error: --interval must be a duration"),
        (("get", "vm", "-o", "xml"), "use wide, yaml, json, name"),
        (("get", "vm", "-o", "jsonpath={.a"), "JSONPath cannot be read"),
        (("get", "vm", "-l", "a=b=c"), "is no label selector"),
        (("get", "vm/a", "b"), "must be KIND/NAME"),
        (("get", "vm", "a", "-A"), "leave out -A"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_1(
    gitvirt: Gitvirt, fleet: Fleet, argv: tuple[str, ...], said: str
) -> None:
    result = gitvirt(*argv)
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert said in result.err
    assert len(result.err.splitlines()) == 1


def test_settings_may_stand_before_and_after_the_command(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine("here", namespace="prod"))
    for argv in (
        ("-n", "prod", "get", "vm"),
        ("get", "vm", "-n", "prod"),
        ("get", "-n", "prod", "vm"),
    ):
        assert gitvirt(*argv).lines[1].split()[0] == "here"
    assert gitvirt("-n", "wrong", "get", "vm", "-n", "prod").lines[1].split()[0] == "here"


def test_no_repository_says_how_to_name_one(gitvirt: Gitvirt) -> None:
    result = gitvirt("get", "vm")
    assert result.code == 1
    assert "give --repo, set GITVIRT_REPO, or stand in a clone" in result.err


def test_the_repository_is_the_origin_of_the_clone_or_where_one_stands(
    gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.write(machine())
    monkeypatch.delenv("GITVIRT_REPO")
    git(tmp_path, "clone", "-q", str(fleet.root), "clone")
    below = tmp_path / "clone/vms"
    below.mkdir()
    for folder in (below, fleet.root, fleet.root / "refs"):
        monkeypatch.chdir(folder)
        assert gitvirt("get", "vm", "-o", "name").out.endswith("/linux-vm\n")
    git(tmp_path / "clone", "remote", "remove", "origin")
    monkeypatch.chdir(below)
    assert "clone" in gitvirt("get", "vm").err
    assert "has no branch 'status' yet" in gitvirt("get", "vm").err


def test_a_repository_that_is_not_there_is_one_error(gitvirt: Gitvirt, tmp_path: Path) -> None:
    result = gitvirt("get", "vm", "--repo", str(tmp_path / "none.git"))
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "none.git" in result.err


def test_ctrl_c_ends_without_a_trace(
    gitvirt: Gitvirt, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(get, "run", interrupted)
    assert gitvirt("get", "vm") == type(gitvirt())(130, "", "")


PROGRAM = """\
import atexit, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
if {at_exit}:
    atexit.register(signal.raise_signal, signal.SIGINT)
# whatever started the tests may have had it ignored, as a shell does for what runs behind it
signal.signal(signal.SIGINT, signal.SIG_IGN if {ignored} else signal.default_int_handler)
from {package} import {function}
sys.exit({function}())
"""


@pytest.mark.parametrize(
    ("module", "at_exit", "ignored", "code"),
    [
        ("agent.cli", False, False, -signal.SIGINT),
        ("agent.settings", False, False, -signal.SIGINT),
        ("agent.cli.get", False, False, 130),
        ("", True, False, -signal.SIGINT),
        ("agent.cli", True, True, 0),
    ],
)
def test_ctrl_c_leaves_no_trace_while_the_program_loads_and_ends(
    fleet: Fleet, module: str, at_exit: bool, ignored: bool, code: int
) -> None:
    fleet.write(machine())
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["gitvirt"]
    package, _, function = script.partition(":")
    program = PROGRAM.format(
        module=module, at_exit=at_exit, ignored=ignored, package=package, function=function
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "get", "vm"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == code


def test_what_was_found_is_printed_although_errors_cannot_be(fleet: Fleet) -> None:
    fleet.write(machine("here"))
    command = f"{sys.executable} -m agent get vm here missing --repo {fleet.root} 2>/dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith("here ")


TWICE = """\
import signal, sys
from agent import cli
from agent.__main__ import main

def interrupted(argv=None):
    try:
        raise KeyboardInterrupt
    finally:
        signal.raise_signal(signal.SIGINT)

cli.main = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def test_a_second_ctrl_c_leaves_no_trace_either() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 130


def test_a_data_folder_that_cannot_be_used_is_one_error(
    gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = gitvirt("run", "--once", "--data-dir", str(tmp_path / "file/x"))
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"error: the data folder {tmp_path}/file/x cannot be used (")
    assert "--data-dir" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_data_folder_has_one_agent(gitvirt: Gitvirt, fleet: Fleet, tmp_path: Path) -> None:
    with claimed(tmp_path / "data") as name:
        result = gitvirt("run", "--once")
    assert result.code == 1
    assert result.err.startswith("error: another agent runs with the data folder")
    with claimed(tmp_path / "data") as again:
        assert again == name


def test_whoever_leaves_early_is_not_told_off(fleet: Fleet) -> None:
    fleet.write(*(machine(f"vm-{index}") for index in range(20)))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "agent", "get", "vm", "--repo", str(fleet.root)],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 141


FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "argv", [["get", "vm"], ["get", "vm", "-o", "yaml"], ["--help"], ["explain", "vm"]]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_device_is_one_error(fleet: Fleet, argv: list[str], unbuffered: str) -> None:
    fleet.write(*(machine(f"vm-{index}") for index in range(20)))
    with FULL.open("w") as full:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "agent",
                *argv,
                *([] if argv == ["--help"] else ["--repo", str(fleet.root)]),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.stderr == "error: the output cannot be written: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"]
)
def test_an_output_that_is_closed_or_full_leaves_no_trace(fleet: Fleet, closed: str) -> None:
    fleet.write(machine())
    command = f"{sys.executable} -m agent get vm nothing --repo {fleet.root} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error:" not in done.stdout
    assert len(done.stderr.splitlines()) == ("2>" not in closed)


def test_an_output_that_is_open_for_reading_only_is_one_error(fleet: Fleet) -> None:
    fleet.write(machine())
    command = f"{sys.executable} -m agent get vm --repo {fleet.root} 1</dev/null"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the output cannot be written: Bad file descriptor\n"


def test_one_command_loads_no_other(fleet: Fleet) -> None:
    program = (
        "import sys; from agent.cli import main; main(['get', 'vm']); "
        "sys.exit('libvirt' in sys.modules or 'agent.images.download' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


LOADED = """
import sys
from agent.cli import main
assert main(sys.argv[1:]) == 0
print(*{name.partition(".")[0] for name in sys.modules}, "dulwich.client" * ("dulwich.client" in sys.modules))
"""
SLOW = {"asyncio", "deepdiff", "dulwich.client", "jinja2", "jsonschema", "urllib3", "watchfiles"}
"""What takes longer to load than a command may take to start."""


@pytest.mark.parametrize(
    ("argv", "not_needed"),
    [
        (("get", "vm", "linux-vm"), SLOW | {"libvirt", "lxml"}),
        (("ssh-config", "linux-vm"), SLOW),
        (("port-forward", "--help"), SLOW),
        (("console", "--help"), SLOW),
    ],
)
def test_a_command_loads_nothing_slow_that_it_does_not_need(
    fleet: Fleet, argv: tuple[str, ...], not_needed: set[str]
) -> None:
    fleet.write(machine())
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *argv], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not not_needed & set(done.stdout.splitlines()[-1].split())
