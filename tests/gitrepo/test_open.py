"""Addresses and credentials."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.gitrepo import ssh_address
from agent.gitrepo.clone import origin_of
from agent.gitrepo.credentials import Credentials, read_credentials, split_url
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.open import open_repository
from agent.gitrepo.remote import RemoteRepository
from agent.gitrepo.repository import RepositoryError
from tests.gitrepo.git import git, put


def test_paths_and_file_urls_are_opened_in_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(root, {"a": "1"})
    spaced = tmp_path / "with space.git"
    spaced.symlink_to(root)
    monkeypatch.chdir(root.parent)
    for address in (str(root), f"file://{root}", "fleet.git", "./fleet.git", spaced.as_uri()):
        with open_repository(address, tmp_path / "cache") as repository:
            assert isinstance(repository, LocalRepository)
            assert repository.fetch() == {"refs/heads/main": first}
            assert Path(repository.address).is_absolute()
    assert not (tmp_path / "cache").exists()


def test_a_folder_of_a_scheme_like_name_is_a_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my:fleet").symlink_to(root)
    with open_repository("my:fleet", tmp_path) as repository:
        assert repository.fetch() == {}


def test_http_addresses_are_remote_and_shown_without_credentials(tmp_path: Path) -> None:
    for address, shown in (
        ("https://u:p%40ss@example.org/a.git", "https://example.org/a.git"),
        ("http://example.org:8080/a/", "http://example.org:8080/a"),
        ("https://t0ken@[::1]:3000/a", "https://[::1]:3000/a"),
        ("HTTPS://Example.org/A", "https://example.org/A"),
    ):
        with open_repository(address, tmp_path) as repository:
            assert isinstance(repository, RemoteRepository)
            assert repository.address == shown
            assert repository.watch_paths() == ()


@pytest.mark.parametrize(
    ("address", "host", "path", "user", "port"),
    [
        ("git@example.org:group/a.git", "example.org", "group/a.git", "git", None),
        ("example.org:/srv/a b.git", "example.org", "/srv/a b.git", "", None),
        ("git@[::1]:a.git", "::1", "a.git", "git", None),
        ("ssh://git@example.org:2222/group/a.git", "example.org", "/group/a.git", "git", 2222),
        ("ssh://example.org/~ada/a%20b.git", "example.org", "~ada/a b.git", "", None),
        ("git+ssh://[::1]/a", "::1", "/a", "", None),
        ("SSH://example.org/a", "example.org", "/a", "", None),
    ],
)
def test_addresses_behind_ssh(
    tmp_path: Path, address: str, host: str, path: str, user: str, port: int | None
) -> None:
    assert ssh_address.parse(address) == ssh_address.Address(address, host, path, user, port)
    with open_repository(address, tmp_path) as repository:
        assert isinstance(repository, RemoteRepository)
        assert repository.address == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ssh://git:pass@example.org/a.git", "InvalidAddress"),
        ("ssh://example.org", "InvalidAddress"),
        ("ssh://example.org:port/pass", "InvalidAddress"),
        ("ssh://example.org/a?b=pass", "InvalidAddress"),
        ("ssh://-oProxyCommand=pass/a.git", "InvalidAddress"),
        ("ssh://-oProxyCommand=pass@example.org/a.git", "InvalidAddress"),
        ("-oProxyCommand=pass:a.git", "InvalidAddress"),
        ("example.org:--upload-pack=pass", "InvalidAddress"),
        ("example.org:a\npass", "InvalidAddress"),
        ("git://example.org/a.git", "TransportNotSupported"),
        ("ext::sh -c id", "TransportNotSupported"),
        ("ftp://example.org/a", "TransportNotSupported"),
        ("file://example.org/a.git", "InvalidAddress"),
        ("https:///a.git", "InvalidAddress"),
        ("https://u:pass@example.org:port/a", "InvalidAddress"),
        ("https://example.org/a?token=pass", "InvalidAddress"),
        ("https://example.org/a#pass", "InvalidAddress"),
        ("https://example.org/a\r\nX: pass", "InvalidAddress"),
        ("https://[u:pass@/", "InvalidAddress"),
        ("", "InvalidAddress"),
    ],
)
def test_other_addresses_are_refused_with_advice(tmp_path: Path, address: str, reason: str) -> None:
    with pytest.raises(RepositoryError) as caught:
        open_repository(address, tmp_path)
    assert caught.value.reason == reason
    assert not caught.value.retry
    assert "pass" not in str(caught.value).replace("password", "")
    assert "https://" in str(caught.value) or "--repo" in str(caught.value)


def test_origin_of_a_clone_from_anywhere_inside(root: Path, tmp_path: Path) -> None:
    put(root, {"a": "1"})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), str(clone))
    (clone / "deep" / "er").mkdir(parents=True)
    assert origin_of(clone / "deep" / "er") == str(root)
    for address in ("https://example.org/a.git", "git@example.org:a.git"):
        git(clone, "remote", "set-url", "origin", address)
        assert origin_of(clone) == address
    git(clone, "remote", "set-url", "origin", "../served/fleet.git")
    found = origin_of(clone / "deep")
    assert found is not None
    with open_repository(found, tmp_path) as repository:
        assert "refs/heads/main" in repository.fetch()
    git(clone, "remote", "remove", "origin")
    assert origin_of(clone) is None
    assert origin_of(tmp_path) is None
    assert origin_of(tmp_path / "nowhere") is None


def test_credentials_show_nothing() -> None:
    credentials = Credentials("ada", "s3cret")
    assert "ada" not in repr(credentials)
    assert "s3cret" not in f"{credentials} {credentials!r}"
    assert credentials.hide("a s3cret b") == "a *** b"
    assert Credentials("", "").hide("abc") == "abc"


def test_credentials_in_urls() -> None:
    assert split_url("https://ada:p%3As%2Fs@h/a")[1] == Credentials("ada", "p:s/s")
    assert split_url("https://t0ken@h/a")[1] == Credentials.token("t0ken")
    assert split_url("https://h/a") == ("https://h/a", None)


def test_a_credentials_file_with_a_token_or_with_lines(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("# the fleet's\n\n  t0ken \n")
    assert read_credentials(path, "https://h/a.git") == Credentials.token("t0ken")
    path.write_text(
        "no url\nhttps://nobody/\nhttps://a:1@h/group\nhttps://b:2@h\nhttps://c:3@h:81\nhttp://d:4@h\n"
    )
    for address, user in (
        ("https://h/group/x.git", "a"),
        ("https://h/groups", "b"),
        ("https://h:81/x", "c"),
        ("http://h/x", "d"),
    ):
        assert read_credentials(path, address).username == user
    with pytest.raises(RepositoryError) as caught:
        read_credentials(path, "https://h.example/x")
    assert caught.value.reason == "CredentialsMissing"
    path.write_bytes(b"\xff")
    for broken in (path, tmp_path / "nowhere", tmp_path):
        with pytest.raises(RepositoryError) as caught:
            read_credentials(broken, "https://h/x")
        assert caught.value.reason == "CredentialsUnreadable"


def test_nothing_is_left_open_at_exit(root: Path) -> None:
    put(root, {"a": "1"})
    git(root, "repack", "-a", "-d", "-q")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from agent.gitrepo.clone import origin_of\n"
        "from agent.gitrepo.open import open_repository\n"
        "origin_of(Path(sys.argv[1]))\n"
        "with open_repository(sys.argv[1], Path('unused')) as r:\n"
        "    print(r.read_path(r.fetch()['refs/heads/main'], 'a'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code, str(root)],
        capture_output=True,
        env={**os.environ},
        text=True,
    )
    assert (done.stdout, done.stderr) == ("b'1'\n", "")
