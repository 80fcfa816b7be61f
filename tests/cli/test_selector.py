from __future__ import annotations

import pytest

from agent.cli.command import CommandError
from agent.cli.selector import selector

LABELS = {"app": "web", "tier": "a", "example.com/empty": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app=web",
        "app==web",
        "app = web",
        "app!=db",
        "missing!=db",
        "app",
        "!missing",
        "app in (db, web)",
        "tier notin (b,c)",
        "missing notin (b)",
        "example.com/empty=",
        "app=web,tier in (a,b),!missing",
    ],
)
def test_what_fits(text: str) -> None:
    assert selector(text)(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "app=db",
        "app!=web",
        "missing",
        "missing=x",
        "!app",
        "app in (db)",
        "app notin (web,db)",
        "missing in (a)",
        "app=web,tier=b",
    ],
)
def test_what_does_not_fit(text: str) -> None:
    assert not selector(text)(LABELS)


@pytest.mark.parametrize("text", ["a=b=c", "a in b", "=x", "a in (b", "a,,b", "a>b", "a in ($)"])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(CommandError, match="no label selector"):
        selector(text)
