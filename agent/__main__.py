"""`python -m agent` is `gitvirt`; the installed program comes through here, too."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run one command; the exit code. Ctrl-C is a KeyboardInterrupt only while the command runs:
    before, while modules load, and after, while the interpreter ends, it ends the process at once.
    """
    handler = signal.getsignal(signal.SIGINT)
    outside = signal.SIG_DFL if handler is signal.default_int_handler else handler
    signal.signal(signal.SIGINT, outside)  # stays ignored where a shell started it so
    from agent import cli

    try:
        signal.signal(signal.SIGINT, handler)
        try:
            return cli.main()
        finally:
            signal.signal(signal.SIGINT, outside)
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        signal.signal(signal.SIGINT, outside)
        return cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
