"""What a wheel holds, by the build's own list of its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
VENDOR = "agent/web/static/vendor"
FETCHED = (f"{VENDOR}/xterm/xterm.mjs", f"{VENDOR}/novnc/core/rfb.js")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """One in which nothing was fetched."""
    for folder in ("agent", "schemas"):
        ignored = shutil.ignore_patterns("node_modules", "vendor", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


def wheel(clone: Path) -> set[str]:
    return {each.distribution_path for each in WheelBuilder(str(clone)).recurse_included_files()}


def test_a_wheel_holds_all_that_the_agent_reads(clone: Path) -> None:
    files = wheel(clone)
    agent = {str(file.relative_to(clone)) for file in clone.glob("agent/**/*") if file.is_file()}
    assert agent <= files
    assert {f"agent/schemas/{file.name}" for file in clone.glob("schemas/*")} <= files
    assert not [each for each in files if each.startswith(VENDOR)]


@pytest.mark.parametrize("ignores", [True, False])
def test_a_wheel_holds_what_was_fetched_for_browsers_and_no_more_of_it(
    clone: Path, *, ignores: bool
) -> None:
    """Also where git's rules are not there, as in an image that is built."""
    other = "agent/web/node_modules/axe-core/axe.js"
    for each in (*FETCHED, other):
        (clone / each).parent.mkdir(parents=True, exist_ok=True)
        (clone / each).touch()
    if not ignores:
        (clone / ".gitignore").unlink()
    files = wheel(clone)
    assert set(FETCHED) <= files
    assert other not in files
