"""What the tests' own hosts promise to whoever runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hosts import Session, enter


@pytest.mark.parametrize("variable", ["LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI"])
def test_the_environment_leads_to_no_other_libvirt(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, "test:///default")
    enter(Session(tmp_path), monkeypatch)
    assert variable not in os.environ
    assert Path(os.environ["XDG_CONFIG_HOME"]).is_relative_to(tmp_path)
