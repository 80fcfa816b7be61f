"""Who is told to have a console; real ones are tried in tests/e2e."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from agent.cli.console import ConsoleLine
from agent.core.host import HostError
from agent.hypervisor.visit import Visit


class Instance:
    """A machine that runs, with what visitors say of themselves."""

    word = ""

    def visit(self, opened: Callable[[], object] = lambda: None) -> Visit:
        """Something happens as the console is opened, or given back."""
        return cast(Visit, Visiting(self, opened))


class Visiting:
    def __init__(self, instance: Instance, opened: Callable[[], object]) -> None:
        self._instance, self._opened = instance, opened

    def console(self, *, force: bool) -> Visiting:
        self._opened()
        return self

    def recv(self) -> bytes:
        raise HostError("ConsoleTaken", "the console was taken over", retry=False)

    def send(self, data: bytes) -> None:
        raise AssertionError

    def log(self, since: int, longest: int) -> tuple[bytes, int]:
        raise AssertionError

    def visitor(self) -> str:
        return self._instance.word

    def tell_visitor(self, who: str) -> None:
        self._instance.word = who

    def close(self) -> None:
        self._opened()


def test_whoever_loses_a_console_is_told_at_once_who_has_it() -> None:
    instance = Instance()
    first = ConsoleLine(instance.visit(), "first", force=False)

    def lose() -> None:
        with pytest.raises(HostError, match="the console was taken over by second"):
            first.recv()

    ConsoleLine(instance.visit(lose), "second", force=True)
    first.close()
    assert instance.word == "second"


def test_whoever_comes_as_a_console_is_given_back_keeps_their_word() -> None:
    instance = Instance()
    opened: list[ConsoleLine] = []

    def come() -> None:
        if first and not opened:
            opened.append(ConsoleLine(instance.visit(), "second", force=False))

    first: list[ConsoleLine] = []
    first.append(ConsoleLine(instance.visit(come), "first", force=False))
    first[0].close()
    assert instance.word == "second"
