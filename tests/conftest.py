"""Fixtures of the whole suite."""

from __future__ import annotations

pytest_plugins = ("tests.hosts", "tests.golden.rewriting")
