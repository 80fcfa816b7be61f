from __future__ import annotations

import subprocess

import pytest

from agent import cli
from agent.cli.completion import SHELLS
from tests.cli.conftest import Gitvirt

COMPLETE = """\
{script}
COMP_WORDS=({words})
COMP_CWORD={last}
COMP_LINE={line!r}
COMP_POINT={point}
_shtab_gitvirt
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(gitvirt: Gitvirt, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    line = " ".join(words)
    quoted = " ".join(f"'{word}'" for word in words)
    program = COMPLETE.format(
        script=gitvirt("completion", "bash").out,
        words=quoted,
        last=len(words) - 1,
        line=line,
        point=len(line),
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [each.strip() for each in done.stdout.splitlines()]


def test_bash_completes_commands_options_and_kinds(gitvirt: Gitvirt) -> None:
    assert completed(gitvirt, "gitvirt", "desc") == ["describe"]
    assert completed(gitvirt, "gitvirt", "get", "--sho") == ["--show-labels"]
    assert completed(gitvirt, "gitvirt", "get", "--data") == ["--data-dir"]
    assert completed(gitvirt, "gitvirt", "get", "vmcl") == ["vmclass", "vmclasses"]
    assert "vd" in completed(gitvirt, "gitvirt", "describe", "v")
    assert completed(gitvirt, "gitvirt", "completion", "z") == ["zsh"]


def test_bash_completes_files(gitvirt: Gitvirt) -> None:
    found = completed(gitvirt, "gitvirt", "validate", "/et")
    assert found == ["/etc"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_told_every_command(gitvirt: Gitvirt, shell: str) -> None:
    result = gitvirt("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert [name for name in cli.COMMANDS if name not in result.out] == []


def test_a_shell_that_is_none_is_one_error(gitvirt: Gitvirt) -> None:
    result = gitvirt("completion", "cmd")
    assert (result.code, result.out) == (1, "")
    assert "bash" in result.err
    assert len(result.err.splitlines()) == 1
