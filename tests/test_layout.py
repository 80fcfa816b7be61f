"""Where things stand: rules of the house that no linter has."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agent.core.annotations import ANNOTATIONS
from agent.core.schema import Catalogue
from agent.kinds.registry import RECORDS

AGENT = Path(__file__).parents[1] / "agent"
CATALOGUE = Catalogue.load()


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text in a module with its line, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {each.value for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
            yield node.lineno, node.value


def test_names_of_annotations_stand_in_one_module() -> None:
    found = {
        path.relative_to(AGENT).as_posix()
        for path in AGENT.rglob("*.py")
        if any(name in text for _, text in texts(path) for name in ANNOTATIONS)
    }
    assert found == set()


def names_a_kind(text: str) -> bool:
    """True for a text with the name of a kind in it; one that is an ordinary word may stand in a sentence."""
    if text in CATALOGUE.kinds:
        return True
    long = (name for name in CATALOGUE.kinds if re.search("[a-z][A-Z]", name))
    return re.search(rf"\b({'|'.join(long)})s?\b", text) is not None


@pytest.mark.parametrize("package", ["core", "reconcile"])
def test_what_serves_every_kind_names_none(package: str) -> None:
    """What is known of a kind stands in its schema and its record: there is no list of kinds to be kept."""
    found = {
        f"{path.relative_to(AGENT)}:{line}: {text}"
        for path in (AGENT / package).rglob("*.py")
        for line, text in texts(path)
        if names_a_kind(text)
    }
    assert found == set()


def test_no_module_is_longer_than_a_reader_keeps_in_mind() -> None:
    long = {
        path.relative_to(AGENT).as_posix(): count
        for path in AGENT.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_every_library_has_its_rooms() -> None:
    """The linter has a contract that says who may import it."""
    text = (AGENT.parent / "pyproject.toml").read_text(encoding="utf-8")
    parsed = tomllib.loads(text)
    contracts = parsed["tool"]["importlinter"]["contracts"]
    confined = {name for each in contracts for name in each.get("forbidden_modules", ())}
    held = {
        canonicalize_name(distribution)
        for module, distributions in packages_distributions().items()
        if module in confined
        for distribution in distributions
    }
    wanted = {Requirement(each).name for each in parsed["project"]["dependencies"]}
    assert {canonicalize_name(each) for each in wanted} - held == set()


def imported(path: Path) -> set[str]:
    """Modules of the kinds that a module imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }
    found |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return {name for name in found if name.startswith("agent.kinds.")}


def test_only_the_registry_knows_the_packages_of_the_kinds() -> None:
    packages = {
        f"agent.kinds.{path.parent.name}" for path in (AGENT / "kinds").glob("*/__init__.py")
    }
    assert "agent.kinds.virtual_machine" in packages
    found = {
        path.relative_to(AGENT).as_posix()
        for path in AGENT.rglob("*.py")
        if AGENT / "kinds" not in path.parent.parents
        for module in imported(path)
        if ".".join(module.split(".")[:3]) in packages
    }
    assert found == set(), "what others need of a kind stands in its record"


def test_each_kind_that_has_a_schema_has_a_record() -> None:
    assert RECORDS.keys() == CATALOGUE.kinds.keys()


def test_each_kind_that_decides_has_tests() -> None:
    deciding = {path.parent.name for path in (AGENT / "kinds").glob("*/decide.py")}
    tested = {path.parent.name for path in (AGENT.parent / "tests" / "kinds").glob("*/test_*.py")}
    assert deciding - tested == set()


def test_kinds_see_each_other_by_what_their_packages_export() -> None:
    kinds = AGENT / "kinds"
    found = {
        f"{path.relative_to(AGENT)}: {module}"
        for package in kinds.glob("*/__init__.py")
        for path in package.parent.rglob("*.py")
        for module in imported(path)
        if (kinds / module.split(".")[2]).is_dir()
        and module.split(".")[2] != package.parent.name
        and module.count(".") > 2
    }
    assert found == set()


def test_the_changelog_says_each_thing_once() -> None:
    """Merges that keep the lines of both sides say some twice."""
    lines = (AGENT.parent / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    released = next(
        (n for n, line in enumerate(lines) if line.startswith("## ") and line != "## Unreleased"),
        len(lines),
    )
    heads = [line for line in lines[:released] if line.startswith("#")]
    assert heads == ["# Changelog", "## Unreleased", "### Added", "### Changed", "### Fixed"]
    said = [line for line in lines if line.startswith(("- ", "  "))]
    assert [line for line in said if said.count(line) > 1] == []
