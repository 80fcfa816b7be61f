"""What is noted of user data, beside that it is handed over as it is."""

from __future__ import annotations

import base64
import json

import pytest

from agent.core.manifests import read_file
from agent.core.schema import Catalogue
from agent.kinds.cloud_config import notes
from agent.kinds.registry import CHECKS

UNKNOWN = "that cloud-init does not know and passes over: did you mean {}?"
NO_HEADER = "does not begin with the line #cloud-config"
CATALOGUE = Catalogue.load()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("#cloud-config\nrun_cmd: [a]\n", "key in line 2 " + UNKNOWN.format("runcmd")),
        ("#cloud-config\n\n# a\nRunCmd: []\n", "key in line 4 " + UNKNOWN.format("runcmd")),
        ("#cloud-config\nusers: []\npackage: [a]\n", "key in line 3 " + UNKNOWN.format("packages")),
        ("\n#cloud-config\nruncmd: [a]\n", "has blanks before #cloud-config"),
        ("\ufeff#cloud-config\nruncmd: [a]\n", "begins with a byte order mark"),
        ("# cloud-config\nnothing: []\n", NO_HEADER),
        ("runcmd: [a]\n", NO_HEADER),
        ("# by me\n#cloud-config\nruncmd: [a]\n", NO_HEADER),
        ("#cloud-config\na: [\n", "is not valid YAML (line 3)"),
        ("#cloud-config\n- runcmd\n", "is no mapping of settings"),
    ],
)
def test_what_cloud_init_will_not_take_as_meant_is_noted(data: str, expected: str) -> None:
    (note,) = notes(data)
    assert expected in note


def test_lines_are_those_of_the_data_behind_blanks_too() -> None:
    assert "key in line 4 " in list(notes("\n\n#cloud-config\nrun_cmd: [a]\n"))[1]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "#cloud-config\n",
        "#cloud-config\r\nruncmd: [a]\r\n",
        "#Cloud-Config\nruncmd: [a]\n",
        "#cloud-config\nruncmd: [a]\nsomething_else: 1\n",
        "#cloud-config\nuser: a\nusers: [b]\n",
        "#cloud-config-archive\n- a\n",
        "#!/bin/sh\nruncmd: a\n",
        "## template: jinja\n#cloud-config\n{% if a %}\n",
        "#ps1_sysnative\nWrite-Host\n",
        "rem cmd\n",
        "hello: there\n",
        "#cloud-config\n" + "x" * 70_000,
        "#cloud-config\nrun_cmd: " + "x" * 70_000,
        "#cloud-config\n" + "".join(f"a{n}: 1\n" for n in range(60)) + "run_cmd: [a]\n",
    ],
)
def test_all_other_data_is_left_to_the_guest(data: str) -> None:
    assert list(notes(data)) == []


VM = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata: {name: a}
spec:
  cpu: {cores: 1}
  memory: {size: 1Gi}
  blockDeviceRefs: [{kind: VirtualDisk, name: a}]
  provisioning:
    type: UserData
    userData: |
      #cloud-config
      pass_word: tr0ub4dor
"""


def test_a_machine_whose_data_is_noted_holds_and_the_note_tells_nothing_of_it() -> None:
    result = read_file(CATALOGUE, CHECKS, VM.encode())
    assert result.problems == ()
    (manifest,) = result.manifests
    (note,) = manifest.notes
    assert note.startswith("spec.provisioning.userData has a key in line 2 ")
    assert "tr0ub4dor" not in note
    assert "pass_word" not in note


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        ("cloud-init", "data", ["data.userdata has a key in line 2 " + UNKNOWN.format("runcmd")]),
        ("cloud-init", "stringData", ["stringData.userdata has a key in line 2"]),
        ("sysprep", "data", []),
    ],
)
def test_data_in_a_secret_is_noted_too(kind: str, field: str, expected: list[str]) -> None:
    data = "#cloud-config\nrun_cmd: [a]\n"
    text = base64.b64encode(data.encode()).decode() if field == "data" else data
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "type": f"provisioning.virtualization.deckhouse.io/{kind}",
        field: {"userdata": text, "other": text},
    }
    (manifest,) = read_file(CATALOGUE, CHECKS, json.dumps(secret).encode()).manifests
    assert len(manifest.notes) == len(expected)
    for note, words in zip(manifest.notes, expected, strict=True):
        assert note.startswith(words)


def test_data_in_a_secret_may_be_no_text() -> None:
    packed = base64.b64encode(bytes([31, 139, 8, 0])).decode()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "data": {"userData": packed},
    }
    (manifest,) = read_file(CATALOGUE, CHECKS, json.dumps(secret).encode()).manifests
    assert manifest.notes == ()
