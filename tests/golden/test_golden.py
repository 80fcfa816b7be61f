"""Definitions as files beside the manifests that they come from; and that everything written can be read again."""

from __future__ import annotations

import pytest

from agent.core.domain_text import DomainText
from agent.core.metadata import DomainMetadata
from agent.kinds.virtual_machine.definition import read, render
from tests.golden.case import CASES, Case, definition, manifests, names

GOLDEN = "domain.xml"


@pytest.mark.parametrize("name", names())
def test_the_definition_is_the_one_in_the_file(name: str, rewrite: bool) -> None:
    xml = Case(manifests(name)).xml()
    path = CASES / name / GOLDEN
    if rewrite:
        path.write_text(xml + "\n")
    assert path.read_text() == xml + "\n"


@pytest.mark.parametrize("name", names())
def test_a_definition_can_be_read_and_written_again(name: str) -> None:
    xml = (CASES / name / GOLDEN).read_text()
    facts = read(DomainText(xml))
    assert isinstance(facts.metadata, DomainMetadata)
    assert render(facts) + "\n" == xml


@pytest.mark.parametrize("name", names())
def test_it_is_rendered_the_same_for_ever(name: str) -> None:
    """Decided about by two agents, at two times, the second one with the first one's work before it."""
    first = definition(Case(manifests(name)).decide())
    assert Case(manifests(name)).xml() == first
