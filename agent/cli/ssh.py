"""`gitvirt ssh`, `scp` and `ssh-config`: the user's own OpenSSH, led to a virtual machine."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from agent.access.place import place
from agent.access.ways import Ways
from agent.cli.command import CommandError, Subparsers, given_settings, program
from agent.cli.machines import Machine, found, listed, refuse_hopeless
from agent.cli.repositories import address
from agent.cli.visits import running, uri
from agent.settings import Settings

FAILED = 255
"""As OpenSSH's own failures: a command's exit code is told from them."""
PORT = 22
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*\$?")
_SSH = """\
examples:
  gitvirt ssh cloud@linux-vm
  gitvirt ssh cloud@linux-vm.prod --command nproc
  gitvirt ssh cloud@linux-vm -- tail -f /var/log/syslog

Keys, agent and configuration are those of your ssh. It waits while the machine comes up. The exit
code is ssh's: that of the command, or 255. A machine's host key is kept at the first login, beside
your own known_hosts; one that has changed is refused.
"""
_SCP = """\
examples:
  gitvirt scp notes.txt cloud@linux-vm:
  gitvirt scp -r cloud@linux-vm.prod:/var/log logs
"""
_CONFIG = """\
examples:
  gitvirt ssh-config >>~/.ssh/config
  gitvirt ssh-config linux-vm >vms.conf; rsync -e 'ssh -F vms.conf' -a site/ cloud@linux-vm.default:

Then ssh, rsync, git, Ansible and editors find linux-vm.default by itself.
"""


def add(subparsers: Subparsers) -> None:
    ssh = subparsers.add_parser(
        "ssh",
        help="log in to a virtual machine",
        description="Log in to a virtual machine by ssh, or run a command there.",
        epilog=_SSH,
    )
    ssh.add_argument("target", metavar="[USER@]VM", help="the machine: NAME or NAME.NAMESPACE")
    ssh.add_argument("words", metavar="COMMAND", nargs="*", help="behind --: what to run there")
    ssh.add_argument("-c", "--command", dest="line", metavar="COMMAND", help="what to run there")
    _common(ssh)
    scp = subparsers.add_parser(
        "scp",
        help="copy files to and from a virtual machine",
        description="Copy files between this machine and a virtual one.",
        epilog=_SCP,
    )
    scp.add_argument(
        "files", metavar="FILE", nargs="+", help="a path here, or [USER@]VM:PATH; the target last"
    )
    scp.add_argument("-r", "--recursive", action="store_true", help="folders with what is in them")
    scp.add_argument("--preserve", action="store_true", help="keep times and modes")
    _common(scp)
    config = subparsers.add_parser(
        "ssh-config",
        help="a configuration by which ssh finds virtual machines",
        description="Print the part of an ssh configuration by which ssh finds virtual machines.",
        epilog=_CONFIG,
    )
    config.add_argument("vms", metavar="VM", nargs="*", help="all of the namespace without any")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-l", "--login", metavar="USER", default="", help="who logs in")
    parser.add_argument("-p", "--port", metavar="PORT", type=int, default=PORT, help="default: 22")
    parser.add_argument("-i", "--identity-file", metavar="FILE", help="the key to log in with")
    parser.add_argument(
        "-o", "--option", metavar="NAME=VALUE", action="append", default=[], help="another of ssh's"
    )
    parser.add_argument(
        "--local-ssh", action="store_true", help="accepted: it is always this machine's ssh"
    )
    parser.set_defaults(failure=FAILED)


def run(args: argparse.Namespace, settings: Settings) -> int:
    flags = given_settings(args)
    if args.command == "ssh-config":
        return _print_config(args.vms, settings, flags)
    if not 0 < args.port < 65536:
        raise CommandError(f"{args.port} is no port: they go from 1 to 65535")
    if args.command == "ssh":
        user, _, word = args.target.rpartition("@")
        one = _found(settings, word)
        words = ["ssh", *_options(args, one, settings, flags)]
        login = _user(user or args.login)
        words += ["-l", login] if login else []
        command = [args.line] if args.line is not None else args.words
        return _become([*words, "--", one.host, *command])
    one, files = _files(args.files, args.login, settings)
    words = ["scp", *_options(args, one, settings, flags)]
    words += ["-r"] * args.recursive + ["-p"] * args.preserve
    return _become([*words, "--", *files])


def _found(settings: Settings, word: str) -> Machine:
    one = found(settings, word)
    refuse_hopeless(one)
    return one


def remote(operand: str) -> tuple[str, str, str] | None:
    """User, machine and path of `user@vm:path`, as scp reads it; None for a path of here."""
    place, colon, path = operand.partition(":")
    if not colon or not place or "/" in place:
        return None
    user, _, word = place.rpartition("@")
    return user, word, path


def _files(operands: Sequence[str], login: str, settings: Settings) -> tuple[Machine, list[str]]:
    """The machine, and the operands with the name by which ssh knows it."""
    if len(operands) < 2:
        raise CommandError("scp needs what to copy and where to: notes.txt cloud@linux-vm:")
    parsed = [remote(operand) for operand in operands]
    names = {each[1] for each in parsed if each is not None}
    if len(names) != 1:
        what = "none" if not names else ", ".join(sorted(names))
        raise CommandError(
            f"one side must be one virtual machine, such as linux-vm:/tmp, not {what}"
        )
    one = _found(settings, names.pop())
    files = []
    for operand, each in zip(operands, parsed, strict=True):
        if each is None:
            files.append(operand if operand.startswith(("/", "./")) else f"./{operand}")
        else:
            user = _user(each[0] or login)
            files.append(f"{user}@{one.host}:{each[2]}" if user else f"{one.host}:{each[2]}")
    return one, files


def _user(name: str) -> str:
    if name and not _USER.fullmatch(name):
        raise CommandError(f"{name!r} is no user's name")
    return name


def _options(
    args: argparse.Namespace, one: Machine, settings: Settings, flags: Mapping[str, str]
) -> list[str]:
    """What makes ssh find the machine, and what was asked of it."""
    words = []
    for option in args.option:
        words += ["-o", option]
    for name, value in _led_to(one, settings, args.port, flags).items():
        words += ["-o", f"{name}={value}"]
    if args.identity_file:
        words += ["-i", args.identity_file]
    return words


def _led_to(
    one: Machine, settings: Settings, port: int, flags: Mapping[str, str]
) -> dict[str, str]:
    """Options of ssh that lead to a machine now: where it can be reached straight, nothing has to
    be started in between.
    """
    options = _found_by(one, settings, port, flags)
    straight = _straight(one, settings, port)
    if straight:
        # said all the same, or the user's own configuration for all hosts would count
        options["ProxyCommand"] = "none"
        options |= {"HostName": straight, "Port": str(port)}
        options |= {"AddressFamily": "any", "CheckHostIP": "no"}
    return options


def _straight(one: Machine, settings: Settings, port: int) -> str:
    """Where it answers this machine at once, or nothing: what has to be waited for is the proxy's
    business.
    """
    if place(uri(settings, one)).ssh:
        return ""
    visit = running(settings, one)
    if visit is None:
        return ""
    with visit:
        return Ways(visit, place(visit.uri), lambda: one.address).straight(port)


def _found_by(
    one: Machine, settings: Settings, port: int, flags: Mapping[str, str]
) -> dict[str, str]:
    """Options of ssh that lead to a machine. Its host key belongs to its uid: one of the same name
    that comes after it is another machine.
    """
    words = [*program(), "port-forward", "--stdio", "--banner"]
    for name, value in {**flags, "namespace": one.key.namespace}.items():
        words.append(f"--{name}={value}")
    proxy = shlex.join([*words, "--", one.name, str(port)])
    return {
        "ProxyCommand": proxy.replace("%", "%%"),
        "HostKeyAlias": f"{one.host}.{one.uid[:8]}" if one.uid else one.host,
        "UserKnownHostsFile": _quoted(settings.data_dir / "known_hosts"),
        "StrictHostKeyChecking": "accept-new",
    }


def _quoted(path: Path) -> str:
    """A path as ssh's configuration has it, in which % and ${ mean something."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if re.search(r"\s", text) else text


def _become(words: Sequence[str]) -> NoReturn:
    """Ssh takes the place of this program: terminal, signals and exit code are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(words[0], list(words))  # noqa: S606  # no shell: what is meant
    except OSError as error:
        raise CommandError(
            f"{words[0]} cannot be started ({error.strerror}): sudo apt install openssh-client"
        ) from error


def _print_config(vms: Sequence[str], settings: Settings, flags: Mapping[str, str]) -> int:
    machines = listed(settings, vms)
    given = {**flags}
    where = address(settings, Path.cwd())
    if "@" not in where.partition("://")[2].partition("/")[0] or where.startswith("ssh://"):
        given.setdefault(
            "repo", where if "://" in where or ":" in where else str(Path(where).absolute())
        )
    for one in machines:
        print(f"Host {one.host}")
        for name, value in _found_by(one, settings, PORT, given).items():
            print(f"    {name} {value}")
    return 0
