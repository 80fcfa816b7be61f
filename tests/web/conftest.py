"""A guest, the page of its fleet, and a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import guest, make_stand
from tests.e2e.stand import Stand
from tests.web.browser import Browser

__all__ = ["browser", "guest", "make_stand"]

TOKEN = "a-token-of-the-tests"


class Dashboard:
    """`gitvirt dashboard` of a stand, as a process of its own. It has one port for all its life."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.file = stand.folder / "token"
        self.file.write_text(f"{TOKEN}\n")
        self.file.chmod(0o600)
        self._log = stand.folder / "dashboard.log"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["dashboard", "--listen", f"127.0.0.1:{self.port}", "--token-file", str(self.file)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent", *words],
                env=self._stand.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        match = re.fullmatch(r"The fleet is at http://127\.0\.0\.1:(\d+)/\n", said)
        assert match, said + self.log()
        self.port = int(match[1])

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=60)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(Path(tmp_path_factory.mktemp("browser")))
    yield opened
    opened.close()
