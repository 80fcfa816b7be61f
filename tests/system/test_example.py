"""The example of a fleet, as people run it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hosts import PATIENCE
from tests.system.test_migration import guest  # noqa: F401

TREE = Path(__file__).parents[2]
COUNT = re.compile(
    r"The guest (?:of \S+ )?has counted to ([0-9]+) on (pt-[123]), and is up for ([0-9]+) s"
)


@pytest.fixture
def folder(guest: bytes) -> Iterator[Path]:  # noqa: F811
    """What a run of it has to itself; sockets have short paths."""
    made = Path(tempfile.mkdtemp(prefix="gvx", dir="/tmp"))
    (made / "home").mkdir()
    (made / "home" / "guest.qcow2").write_bytes(guest)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def test_the_example_empties_a_host_and_leaves_nothing(folder: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "TERM") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(TREE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GITVIRT_TREE": str(TREE),
        "GITVIRT_RUN": str(folder),
        "GITVIRT_STAGE": "entered",  # nothing is installed
    }
    story = subprocess.Popen(
        ["sh", str(TREE / "examples" / "fleet.sh")],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = story.communicate(timeout=PATIENCE)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(story.pid, signal.SIGKILL)
    assert story.returncode == 0, said
    (before, at, up), (after, to, since) = COUNT.findall(said)
    assert int(after) > int(before)
    assert int(since) >= int(up)
    assert at != to
    assert f"node/{at} drained\n" in said
    assert f"node/{at} uncordoned\n" in said
    left = [
        path for path in Path("/proc").glob("[0-9]*/environ") if str(folder).encode() in _read(path)
    ]
    assert left == []
    assert not list((folder / "home").glob("pt-*"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
