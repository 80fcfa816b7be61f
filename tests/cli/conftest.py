"""The command, run in this process on a real repository."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli import main
from tests.fleets import Fleet


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Gitvirt = Callable[..., Result]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's settings but the test's."""
    for name in os.environ:
        if name.startswith(("GIT_", "GITVIRT_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GITVIRT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(home)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A repository that the command finds, with an agent that lives."""
    made = Fleet(tmp_path / "fleet.git")
    made.now = time.time()
    made.beat(made.now)
    monkeypatch.setenv("GITVIRT_REPO", str(made.root))
    return made


@pytest.fixture
def gitvirt(capsys: pytest.CaptureFixture[str]) -> Gitvirt:
    def run(*argv: str) -> Result:
        capsys.readouterr()
        code = main(argv)
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs keep what they print until the end, as they do for most people."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
