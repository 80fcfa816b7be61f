"""The output that may end, fill up or be closed at any moment, and is no reason for a trace."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

PIPE_CLOSED = 141
FAILED = 1
_OF_OUTPUT = frozenset(
    (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
)


def prepare() -> None:
    """Have something to print to; what the terminal's encoding lacks is written out instead of
    being an error. Python has no stream where a descriptor was closed from the start.
    """
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def lost(error: OSError) -> bool:
    """True if this is the output's: errors of files name them, and others are translated."""
    return error.filename is None and error.errno in _OF_OUTPUT


def finish(code: int, error: OSError | None = None) -> int:
    """Write what was printed; the exit code, which says so if that fails or has failed
    with `error`. Nothing is left that could fail when the interpreter ends.
    """
    error = error or _written(sys.stdout)
    if error is not None and not isinstance(error, BrokenPipeError):
        with contextlib.suppress(OSError):  # it may be this one that is lost
            sys.stderr.write(f"error: the output cannot be written: {error.strerror}\n")
        code = FAILED
    _written(sys.stdout)
    _written(sys.stderr)
    return PIPE_CLOSED if isinstance(error, BrokenPipeError) else code


def _written(stream: TextIO) -> OSError | None:
    """Why what was printed cannot be written; then it goes nowhere."""
    try:
        stream.flush()
    except OSError as failure:
        _silence(stream)
        return failure
    return None


def _silence(stream: object) -> None:
    """Let whatever is still to be written go nowhere."""
    if isinstance(stream, io.TextIOWrapper):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # open to the end
