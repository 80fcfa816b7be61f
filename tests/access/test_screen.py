from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.access.place import place
from agent.access.screen import Screen, _is_ours, viewer
from agent.access.ways import NoWayError


def test_a_viewer_is_one_that_is_there_and_has_a_display(tmp_path: Path) -> None:
    path = str(tmp_path)
    assert viewer(5901, {"PATH": path, "DISPLAY": ":0"}) is None
    for name, words in (
        ("vncviewer", ("vncviewer", "127.0.0.1::5901")),
        ("remote-viewer", ("remote-viewer", "vnc://127.0.0.1:5901")),
    ):
        (tmp_path / name).touch(mode=0o755)
        assert viewer(5901, {"PATH": path, "WAYLAND_DISPLAY": "wayland-0"}) == words
    assert viewer(5901, {"PATH": path}) is None


def test_a_connection_of_this_user_is_known_for_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert _is_ours(port, client.getsockname()[1])
        assert not _is_ours(port, 1)


def test_where_no_screen_comes_through_is_said() -> None:
    with pytest.raises(NoWayError, match=r"qemu\+tls carries no screen"):
        Screen(None, place("qemu+tls://pt-1/system"))  # type: ignore[arg-type]
