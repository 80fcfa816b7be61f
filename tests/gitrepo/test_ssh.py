"""A repository behind a real sshd, and servers that do not behave."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.gitrepo.client import Limits
from agent.gitrepo.clone import ssh_command
from agent.gitrepo.pipes import Ended
from agent.gitrepo.remote import RemoteRepository
from agent.gitrepo.repository import RepositoryError, StaleTip
from agent.gitrepo.ssh import READ, WRITE, SshClient, explained
from tests.gitrepo.git import git, put
from tests.gitrepo.sshd import SshServer, make_key

STATUS = "refs/heads/status"
MAIN = "refs/heads/main"
QUICK = Limits(connect=0.0, read=0.5, refs_seconds=1.0, pack_seconds=1.0, refs_bytes=100_000)

Make = Callable[..., RemoteRepository]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd") / "with space") as server:
        yield server


@pytest.fixture
def make(server: SshServer, root: Path, tmp_path: Path) -> Iterator[Make]:
    """Repositories over ssh that are closed at the end."""
    made: list[RemoteRepository] = []

    def one(
        command: str = "", address: str = "", cache: str = "cache", limits: Limits | None = None
    ) -> RemoteRepository:
        client = SshClient(address or server.scp(root), command or server.command, limits)
        made.append(RemoteRepository(client, tmp_path / cache))
        return made[-1]

    yield one
    for repository in made:
        repository.close()


def failure(run: Callable[[], object]) -> RepositoryError:
    with pytest.raises(RepositoryError) as caught:
        run()
    return caught.value


def test_both_forms_of_address_are_read_and_pushed_to(
    server: SshServer, root: Path, make: Make
) -> None:
    first = put(root, {"a": "1"})
    tip = None
    for number, address in enumerate((server.scp(root), server.url(root))):
        repository = make(address=address, cache=str(number))
        assert repository.fetch().get(MAIN) == first
        assert repository.read_path(first, "a") == b"1"
        assert repository.address == address
        tip = repository.commit(STATUS, tip, {"n": str(number).encode()}, "write")
        assert git(root, "rev-parse", "status") == tip
    assert git(root, "fsck", "--strict", "--no-dangling") == ""


def test_a_server_that_knows_only_the_first_protocol(
    server: SshServer, root: Path, make: Make
) -> None:
    first = put(root, {"a": "1"})
    put(root, {"b": "1"}, "refs/pull/1/head")
    repository = make(f"unset GIT_PROTOCOL; {server.command}")
    assert repository.fetch() == {MAIN: first}
    second = put(root, {"a": "2"})
    assert repository.fetch() == {MAIN: second}
    assert repository.read_path(second, "a") == b"2"


def test_only_news_is_transferred_and_other_refs_are_not_asked_for(root: Path, make: Make) -> None:
    first = put(root, {"a": "1"})
    lines = "".join(f"create refs/pull/{n}/head {first}\n" for n in range(300))
    git(root, "update-ref", "--stdin", stdin=lines.encode())
    repository = make(limits=Limits(refs_bytes=5_000))
    assert repository.fetch() == {MAIN: first}


def test_a_push_that_loses_between_the_look_and_the_lock_is_stale(root: Path, make: Make) -> None:
    repository = make()
    first = repository.commit(STATUS, None, {"a": b"1"}, "1")
    other = put(root, {"a": "2"}, "refs/heads/other")
    hook = root / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nexec env -u GIT_QUARANTINE_PATH git update-ref {STATUS} {other}\n")
    hook.chmod(0o755)
    with pytest.raises(StaleTip):
        repository.commit(STATUS, first, {"a": b"3"}, "3")
    assert git(root, "rev-parse", "status") == other


def test_a_refused_push_says_what_the_server_said(root: Path, make: Make) -> None:
    hook = root / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    error = failure(lambda: make().commit(STATUS, None, {"a": b"1"}, "1"))
    assert error.reason == "PushRejected"
    assert "hook declined" in str(error)


# Who the server is, and who we are.


def test_a_host_key_that_changed_stops_everything(
    server: SshServer, root: Path, make: Make, tmp_path: Path
) -> None:
    put(root, {"a": "1"})
    command = _with_known_host(server, tmp_path, make_key(tmp_path / "new").with_suffix(".pub"))
    for run in (make(command).fetch, lambda: make(command).commit(STATUS, None, {"a": b""}, "1")):
        error = failure(run)
        assert error.reason == "HostKeyChanged"
        assert f"ssh-keygen -R {server.host}" in str(error)
    assert git(root, "for-each-ref", "--format=%(refname)") == MAIN


def test_an_unknown_host_is_not_trusted_and_nobody_is_asked(
    server: SshServer, make: Make, tmp_path: Path
) -> None:
    error = failure(make(_with_known_host(server, tmp_path, None)).fetch)
    assert error.reason == "HostKeyUnknown"
    assert f"ssh {server.host}" in str(error)


def _with_known_host(server: SshServer, folder: Path, key: Path | None) -> str:
    known = folder / "known_hosts"
    known.write_text(f"{server.host} {key.read_text()}" if key else "")
    return f"{server.command} -o UserKnownHostsFile={known}"


def test_a_key_that_the_server_does_not_know(server: SshServer, make: Make, tmp_path: Path) -> None:
    error = failure(make(_with_key(server, tmp_path, make_key(tmp_path / "other"))).fetch)
    assert error.reason == "AuthenticationFailed"
    assert "Permission denied" in str(error)


def _with_key(server: SshServer, folder: Path, key: Path) -> str:
    config = folder / "config of its own"
    text = server.config.read_text()
    config.write_text(text.replace(f'"{server.folder / "key"}"', str(key)))
    return f"ssh -F '{config}'"


ASKED = """
import sys
from pathlib import Path
from agent.gitrepo.open import open_repository
from agent.gitrepo.repository import RepositoryError
open("/dev/tty").close()
with open_repository(sys.argv[1], Path(sys.argv[2]), ssh=sys.argv[3]) as repository:
    try:
        repository.fetch()
    except RepositoryError as error:
        print("reason:", error.reason)
"""


@pytest.mark.parametrize("what", ["a passphrase", "a host key"])
def test_no_question_comes_even_where_the_user_wants_some(
    server: SshServer, root: Path, tmp_path: Path, what: str
) -> None:
    """At a terminal, with a program for questions, and with BatchMode=no in GIT_SSH_COMMAND."""
    asked = tmp_path / "asked"
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {asked}\n")
    askpass.chmod(0o755)
    locked = make_key(tmp_path / "locked", passphrase="secret")
    command = _with_key(server, tmp_path, locked)
    if what == "a host key":
        command = _with_known_host(server, tmp_path, None)
    command += " -o BatchMode=no -o StrictHostKeyChecking=ask"
    script = tmp_path / "fetch.py"
    script.write_text(ASKED)
    arguments = [sys.executable, script, server.scp(root), tmp_path / "cache", command]
    done = subprocess.run(
        ["script", "-qec", shlex.join(map(str, arguments)), "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "DISPLAY": ":9",
            "SSH_ASKPASS": str(askpass),
            "PYTHONPATH": str(Path.cwd()),
        },
        timeout=60,
    )
    reason = "HostKeyUnknown" if what == "a host key" else "AuthenticationFailed"
    assert done.stdout.split() == ["reason:", reason]
    assert not asked.exists()


def test_a_key_in_the_agent_is_used(
    server: SshServer, root: Path, make: Make, tmp_path: Path
) -> None:
    first = put(root, {"a": "1"})
    command = _with_key(server, tmp_path, tmp_path / "none")
    socket = server.quick.split("ControlPath=")[1].partition("%")[0] + "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        try:
            variables = {**os.environ, "SSH_AUTH_SOCK": socket}
            key = str(server.folder / "key")
            subprocess.run(["ssh-add", "-q", key], env=variables, check=True, capture_output=True)
            assert failure(make(command).fetch).reason == "AuthenticationFailed"
            command += f" -o IdentityAgent={socket} -o IdentitiesOnly=no"
            assert make(command).fetch() == {MAIN: first}
        finally:
            agent.terminate()


def test_the_command_is_a_line_of_shell(server: SshServer, root: Path, make: Make) -> None:
    first = put(root, {"a": "1"})
    command = f"CONFIG='{server.config}'; echo chatter >&2; ssh -F \"$CONFIG\""
    assert make(command).fetch() == {MAIN: first}


def test_the_command_of_ones_own_clone_counts_and_that_of_others_does_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), str(clone))
    (clone / "deep").mkdir()
    assert ssh_command(clone) == ssh_command(tmp_path) == "ssh"
    (tmp_path / ".gitconfig").write_text("[core]\n\tsshCommand = ssh -i mine\n")
    assert ssh_command(clone) == ssh_command(tmp_path) == "ssh -i mine"
    git(clone, "config", "core.sshCommand", "ssh -i the-clone's")
    assert ssh_command(clone / "deep") == "ssh -i the-clone's"
    monkeypatch.setattr(os, "geteuid", lambda: clone.stat().st_uid + 1)
    assert ssh_command(clone / "deep") == "ssh -i mine"


# What goes wrong.


def test_no_such_repository(server: SshServer, root: Path, make: Make) -> None:
    for path in (root.parent / "none.git", root.parent / "it's; touch here.git"):
        error = failure(make(address=server.scp(path)).fetch)
        assert error.reason == "RepositoryNotFound"
        assert "does not appear to be a git repository" in str(error)
    assert [each.name for each in root.parent.iterdir()] == [root.name]


def test_nobody_at_home(server: SshServer, root: Path, make: Make) -> None:
    error = failure(make(f"{server.command} -p 1").fetch)
    assert error.reason == "Unreachable"
    assert "Connection refused" in str(error)


def test_no_ssh(make: Make) -> None:
    error = failure(make("no-such-program").fetch)
    assert error.reason == "SshMissing"
    assert "openssh-client" in str(error)


@pytest.mark.parametrize(
    ("service", "code", "told", "reason", "words"),
    [
        (WRITE, 1, "x\nERROR: Permission to a/b.git denied to ada.\nfatal", "AccessDenied", "ada."),
        (READ, 1, "ERROR: Repository not found.\nand more", "RepositoryNotFound", "not found."),
        (READ, 128, "", "RepositoryNotFound", "correct --repo"),
        (READ, 255, "ssh: Could not resolve hostname h: Unknown", "Unreachable", "resolve"),
        (WRITE, -9, "", "AccessDenied", "push"),
    ],
)
def test_what_ssh_ends_with_becomes_a_reason(
    service: bytes, code: int, told: str, reason: str, words: str
) -> None:
    found = explained(Ended(code, told), "h", service)
    assert found[0] == reason
    assert words in found[1]
    assert "and more" not in found[1]


def test_a_server_that_hangs_ends_at_the_time_out(make: Make, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    error = failure(make(f"echo $$ > {pid}; exec sleep 600 #", limits=QUICK).fetch)
    assert error.reason == "Unreachable"
    assert "no answer in time" in str(error)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_server_that_drips_ends_too(make: Make) -> None:
    error = failure(make("printf fff0; while sleep 0.05; do echo x; done #", limits=QUICK).fetch)
    assert error.reason == "Unreachable"


def test_an_answer_without_end_is_cut_off(make: Make) -> None:
    endless = f"while :; do echo '003a{'a' * 40} refs/heads/a'; done #"
    error = failure(make(endless, limits=Limits(refs_bytes=100_000)).fetch)
    assert error.reason == "TooLarge"


def test_a_pack_beyond_the_limit_is_refused(root: Path, make: Make) -> None:
    put(root, {"a": "".join(chr(0x100 + n * 7 % 5000) for n in range(200_000))})
    assert failure(make(limits=Limits(pack_bytes=10_000)).fetch).reason == "TooLarge"


def test_a_pack_may_be_larger_than_the_refs(root: Path, make: Make) -> None:
    text = "".join(chr(0x100 + n * 7 % 5000) for n in range(200_000))
    first = put(root, {"a": text})
    repository = make(limits=Limits(refs_bytes=10_000))
    assert repository.fetch() == {MAIN: first}
    assert repository.read_path(first, "a") == text.encode()
    large = "".join(chr(0x100 + n * 11 % 4999) for n in range(200_000)).encode()
    made = repository.commit(STATUS, None, {"b": large}, "more than a pipe holds")
    assert git(root, "cat-file", "-s", f"{made}:b") == str(len(large))


def test_what_ssh_says_keeps_nothing_waiting(server: SshServer, root: Path, make: Make) -> None:
    first = put(root, {"a": "1"})
    assert make(f"head -c 1000000 /dev/zero >&2; {server.command}").fetch() == {MAIN: first}


def test_a_greeting_in_the_answer_is_no_repository(server: SshServer, make: Make) -> None:
    error = failure(make(f"echo Welcome; {server.command}").fetch)
    assert error.reason == "UnexpectedAnswer"


def test_an_end_in_the_middle_costs_no_cache(root: Path, make: Make) -> None:
    first = put(root, {"a": "1"})
    repository = make()
    repository.fetch()
    (repository._path / "marker").touch()
    half = make("echo '000eversion 2'; printf 0014ag; exit 255 #")
    assert failure(half.fetch).reason == "Unreachable"
    assert repository.fetch() == {MAIN: first}
    assert (repository._path / "marker").exists()


def test_nothing_is_left_of_an_exchange(root: Path, make: Make) -> None:
    repository = make()
    before = _children("ssh")
    put(root, {"a": "1"})
    repository.fetch()
    repository.commit(STATUS, None, {"a": b"1"}, "1")
    repository.resolve("refs/pull/1/head")
    assert _children("ssh") <= before


def _children(program: str) -> set[str]:
    """Ids of the processes of a program that this one has started, or inherited, and not waited for."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if name == program and int(rest.split()[1]) == os.getpid():
                found.add(stat.parent.name)
    return found
