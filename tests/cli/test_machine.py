from __future__ import annotations

import json

import pytest
import yaml

from agent.cli.machine import as_json, as_yaml
from agent.cli.run import _report
from agent.core.model import Key, Problem
from agent.reconcile.summary import Summary
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine

EVIL = "a\u202e\u2066b\x1b[2Jc\x85\U000e0001é"
CONTROLS = ("\u202e", "\u2066", "\x1b", "\x85", "\U000e0001")


@pytest.mark.parametrize("value", [EVIL, {EVIL: [EVIL, {"x": "line\nline" + EVIL}]}])
def test_what_would_steer_a_terminal_stands_escaped_and_means_the_same(value: object) -> None:
    for text, load in ((as_json(value), json.loads), (as_yaml(value), yaml.safe_load)):
        assert not any(sign in text for sign in CONTROLS)
        assert load(text) == value


def test_ordinary_text_of_any_language_stays_readable() -> None:
    assert as_json({"name": "größe"}) == '{\n  "name": "größe"\n}'
    assert as_yaml({"text": "größe\nzwei\n"}) == "text: |\n  größe\n  zwei\n"


@pytest.mark.parametrize(
    "argv",
    [
        ("get", "vm", "-o", "json"),
        ("get", "vm", "-o", "yaml"),
        ("status", "-o", "json"),
        ("status", "-o", "yaml"),
        ("status",),
        ("describe", "vm", "linux-vm"),
    ],
)
def test_no_command_prints_them_raw(gitvirt: Gitvirt, fleet: Fleet, argv: tuple[str, ...]) -> None:
    evil = condition("Running", "False", EVIL)
    fleet.write(machine(conditions=(evil,), status={"guestOSInfo": {"prettyName": EVIL}}))
    fleet.agent(node={"name": EVIL, "ready": False, "message": EVIL})
    result = gitvirt(*argv)
    assert result.code == 0
    assert "u202e" in result.out.lower()
    assert not any(sign in result.out for sign in CONTROLS)


def test_run_once_names_nothing_raw(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(EVIL, 1, EVIL, "", EVIL)
    key = Key("VirtualMachine", "default", EVIL)
    summary = Summary("", (problem,), (key,), (), 0, 0, True, True, EVIL, EVIL)
    assert _report(summary) == 1
    said = capsys.readouterr().err
    assert said.count("\\u202e") == 6
    assert not any(sign in said for sign in CONTROLS)
