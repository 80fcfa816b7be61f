from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from agent.access.forwarding import GRACE, YOUNG, Forward, answering, forwards, patience
from agent.access.ways import ClosedError, Connection, Target


def tcp(local: int, port: int) -> Forward:
    return Forward(local, Target("tcp", port))


def udp(local: int, port: int) -> Forward:
    return Forward(local, Target("udp", port))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["8080:80"], [tcp(8080, 80)]),
        (["80"], [tcp(80, 80)]),
        ([":80"], [tcp(0, 80)]),
        (["0:80"], [tcp(0, 80)]),
        (["8080:80", "tcp"], [tcp(8080, 80)]),
        (["53", "udp"], [udp(53, 53)]),
        (["udp/5353:53", "tcp/80"], [udp(5353, 53), tcp(80, 80)]),
        (
            ["53", "54", "udp", "80", "tcp", "81"],
            [udp(53, 53), udp(54, 54), tcp(80, 80), tcp(81, 81)],
        ),
    ],
)
def test_ports_as_people_write_them(words: list[str], wanted: list[Forward]) -> None:
    assert forwards(words) == wanted


@pytest.mark.parametrize(
    "words",
    [
        ["x"],
        ["0"],
        ["1:0"],
        ["65536"],
        ["70000:80"],
        ["1:2:3"],
        ["sctp/80"],
        ["-1"],
        ["tcp"],
        ["٨٠"],
    ],
)
def test_what_is_no_port_is_said_to_be_none(words: list[str]) -> None:
    with pytest.raises(ValueError, match="port"):
        forwards(words)


def test_a_guest_that_has_just_started_is_waited_for_longer() -> None:
    assert patience(0.0) == YOUNG
    assert patience(YOUNG - 60) == 60
    assert patience(1e9) == GRACE


class Guest:
    """A port that does one thing after the other, each time that one connects."""

    def __init__(self, *ways: bytes | None) -> None:
        self.ways = list(ways)
        self.answered = 0

    @contextlib.contextmanager
    def connect(self, _target: Target) -> Iterator[Connection]:
        said = self.ways.pop(0) if self.ways else None
        if said is None:
            raise ClosedError("Connection refused")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(said)
            theirs.shutdown(socket.SHUT_WR)

            def answered() -> None:
                self.answered += 1

            yield Connection(ours, answered)


def test_a_service_is_tried_again_until_it_greets() -> None:
    guest = Guest(None, b"", b"SSH-2.0-x\r\n")
    with answering(guest, Target("tcp", 22), 60.0, print, greets=True) as (_, first):  # type: ignore[arg-type]
        assert first == b"SSH-2.0-x\r\n"
    assert guest.answered == 1


def test_one_that_need_not_greet_is_left_alone_once_it_is_there() -> None:
    guest = Guest(None, b"", b"never")
    with answering(guest, Target("tcp", 80), 60.0, print, greets=False) as (_, first):  # type: ignore[arg-type]
        assert first == b""
    assert guest.ways == [b"never"]


def test_one_that_never_comes_says_why() -> None:
    with (
        pytest.raises(ClosedError, match="Connection refused"),
        answering(Guest(), Target("tcp", 22), 0.0, print, greets=True),  # type: ignore[arg-type]
    ):
        pass
