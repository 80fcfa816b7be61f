"""The lock file's first part is what gitvirt needs and nothing else; the second part adds its build and its tests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TREE = Path(__file__).parents[1]


def project() -> dict[str, list[str]]:
    """The requirements of pyproject.toml: to run, to build, to develop."""
    text = (TREE / "pyproject.toml").read_text(encoding="utf-8")
    parsed = tomllib.loads(text)
    return {
        "run": parsed["project"]["dependencies"],
        "build": parsed["build-system"]["requires"],
        "dev": parsed["project"]["optional-dependencies"]["dev"],
    }


def locked() -> tuple[set[str], set[str]]:
    """Names in the lock file's two parts, of what this interpreter needs."""
    text = (TREE / "requirements.lock").read_text(encoding="utf-8")
    _, first, second = re.split(r"^# == .*$", text, flags=re.MULTILINE)
    return names(first), names(second)


def names(part: str) -> set[str]:
    lines = [line for line in part.splitlines() if line and not line.startswith(("#", " "))]
    found = [Requirement(line.removesuffix(" \\")) for line in lines]
    return {each.name for each in found if applies(each)}


def applies(requirement: Requirement, extras: Iterable[str] = ()) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def closure(requirements: Iterable[str]) -> set[str]:
    """These and all that they need, as the installed packages say it."""
    waiting = [Requirement(each) for each in requirements]
    found: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        if name in found and requirement.extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | requirement.extras
        needed = (Requirement(each) for each in requires(name) or ())
        waiting.extend(each for each in needed if applies(each, found[name]))
    return set(found)


def test_the_first_part_is_what_gitvirt_needs() -> None:
    assert locked()[0] == closure(project()["run"])


def test_the_second_part_adds_build_and_tests() -> None:
    first, second = locked()
    # editables for an editable installation, setuptools for libvirt-python's
    tools = [*project()["build"], *project()["dev"], "editables", "setuptools"]
    assert second == closure(tools) - first
