"""Carrying bytes between two ends until both have nothing more to say."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

CHUNK = 1 << 16


def between(one: socket.socket, other: socket.socket) -> None:
    """Between two connections, each of which may end its half."""
    thread = threading.Thread(target=_copy_socket, args=(one, other), daemon=True)
    thread.start()
    _copy_socket(other, one)
    thread.join()


def stdio(connection: socket.socket) -> None:
    """Between standard input and output and a connection, until that one ends."""
    threading.Thread(target=_from_input, args=(connection,), daemon=True).start()
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(CHUNK):
            write(data)


def write(data: bytes) -> None:
    """To standard output. BrokenPipeError if nobody reads it."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _from_input(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, CHUNK):
            connection.sendall(data)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def _copy_socket(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
