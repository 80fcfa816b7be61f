"""`gitvirt systemd-unit`: a unit for systemd that runs the agent of this very installation."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence

from agent.cli.command import Subparsers, given_settings, program
from agent.settings import Settings

_EPILOG = """\
examples:
  gitvirt systemd-unit | sudo tee /etc/systemd/system/gitvirt.service
  gitvirt systemd-unit --user > ~/.config/systemd/user/gitvirt.service

Settings that are given stand in the unit; others are read from the configuration file. A user's
units end with the last login unless `loginctl enable-linger` has been called.
"""

_UNIT = """\
[Unit]
Description=gitvirt: virtual machines as a Git repository says
{order}
[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=10s
# Where the agent has started libvirt's daemon, as in a user's session, that daemon and the virtual
# machines are in this unit's control group. They go on when the agent ends or starts anew.
KillMode=process
# One of them that is killed for lack of memory is no reason to end the agent.
OOMPolicy=continue
{more}
[Install]
WantedBy={target}
"""

_ORDER = """\
Wants=network-online.target
# libvirt-guests: a host that shuts down ends the agent first, so that it starts no guest again.
After=network-online.target libvirtd.service virtqemud.service libvirt-guests.service
"""

_SYSTEM = """\
StateDirectory=gitvirt
StateDirectoryMode=0700
NoNewPrivileges=yes
ProtectSystem=full
"""

_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "systemd-unit",
        help="a unit for systemd that runs the agent",
        description="Print a unit for systemd that runs the agent of this installation.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--user", action="store_true", help="for a user's own service manager, in their session"
    )


def run(args: argparse.Namespace, _: Settings) -> int:
    print(unit(program(), given_settings(args), user=args.user), end="")
    return 0


def unit(program: Sequence[str], flags: Mapping[str, str], *, user: bool) -> str:
    """The unit's text. `program` starts gitvirt, `flags` are settings by the option's name."""
    words = [*program, "run"]
    for name, value in flags.items():
        words += [f"--{name}", value]
    return _UNIT.format(
        command=" ".join(map(_word, words)),
        order="" if user else _ORDER,
        more="" if user else _SYSTEM,
        target="default.target" if user else "multi-user.target",
    )


def _word(text: str) -> str:
    """One word of a command as systemd reads it, with nothing in it expanded."""
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    return f'"{text}"'
