"""What `gitvirt run` makes of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.run import _setup
from agent.settings import Settings


@pytest.mark.parametrize(("local", "seconds"), [(True, 0.2), (False, 10.0)])
def test_outcomes_that_follow_each_other_share_a_write_on_disk_too(
    tmp_path: Path, local: bool, seconds: float
) -> None:
    assert _setup(Settings(data_dir=tmp_path), local=local).status_interval == seconds
