"""A repository behind HTTP: real pushes in between, and servers that do not behave."""

from __future__ import annotations

import gzip
import shutil
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.core.proxies import Proxies
from agent.gitrepo import remote as remote_module
from agent.gitrepo.client import Limits
from agent.gitrepo.credentials import Credentials
from agent.gitrepo.http import SmartHttpClient
from agent.gitrepo.remote import RemoteRepository
from agent.gitrepo.repository import RepositoryError, StaleTip
from tests.gitrepo.git import GitServer, Handler, bare, git, put
from tests.images.server import Faulty, status

STATUS = "refs/heads/status"
MAIN = "refs/heads/main"
SECRET = "s3cret/word"
QUICK = Limits(connect=2, read=0.3, refs_seconds=1.0, pack_seconds=1.0, refs_bytes=100_000)

Make = Callable[..., RemoteRepository]


@pytest.fixture
def make(tmp_path: Path, credentials: Credentials) -> Iterator[Make]:
    """Remote repositories that are closed at the end, with short limits."""
    made: list[RemoteRepository] = []

    def one(url: str, cache: str = "cache", limits: Limits = QUICK) -> RemoteRepository:
        client = SmartHttpClient(url, credentials, limits)
        made.append(RemoteRepository(client, tmp_path / cache))
        return made[-1]

    yield one
    for repository in made:
        repository.close()


def failure(run: Callable[[], object]) -> RepositoryError:
    """The error of a call, with no trace of the password in it or in what caused it."""
    with pytest.raises(RepositoryError) as caught:
        run()
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in text
    assert "czNjcmV0" not in text
    return caught.value


def test_pushes_of_others_are_seen_and_deleted_branches_go(
    root: Path, remote: RemoteRepository
) -> None:
    first = put(root, {"a": "1", "n/b": "2"})
    side = put(root, {"c": "3"}, "refs/heads/side/branch")
    put(root, {"x": "hidden"}, "refs/notes/x")
    assert remote.fetch() == {MAIN: first, "refs/heads/side/branch": side}
    second = put(root, {"a": "2", "n/b": "2"})
    git(root, "update-ref", "-d", "refs/heads/side/branch")
    flat = put(root, {"c": "4"}, "refs/heads/side")
    assert remote.fetch() == {MAIN: second, "refs/heads/side": flat}
    assert remote.read_path(second, "a") == b"2"
    assert remote.resolve("refs/heads/side/branch") is None
    git(root, "update-ref", MAIN, first)
    git(root, "gc", "-q", "--aggressive", "--prune=now")
    assert remote.fetch()[MAIN] == first
    git(root, "update-ref", "-d", MAIN)
    git(root, "update-ref", "-d", "refs/heads/side")
    assert remote.fetch() == {}


def test_a_push_is_small_and_real_git_accepts_it(
    root: Path, server: GitServer, remote: RemoteRepository
) -> None:
    first = remote.commit(
        STATUS, None, {f"{n % 10}/{n}": b"%d" % n * 100 for n in range(500)}, "begin"
    )
    server.requests.clear()
    second = remote.commit(STATUS, first, {"3/13": b"new"}, "one of them")
    sizes = [int(h["Content-Length"]) for _, h in server.requests if "Content-Length" in h]
    assert sizes
    assert max(sizes) < 4000
    assert git(root, "rev-parse", "status") == second
    assert git(root, "diff", "--name-only", first, second) == "3/13"
    assert git(root, "fsck", "--strict", "--no-dangling") == ""


def test_a_stale_push_is_refused(
    root: Path, remote: RemoteRepository, make: Make, server: GitServer
) -> None:
    first = remote.commit(STATUS, None, {"a": b"1"}, "1")
    other = make(server.url("fleet.git"), "other-cache")
    assert other.fetch() == {STATUS: first}
    second = other.commit(STATUS, first, {"a": b"2"}, "2")
    for expected in (first, None):
        with pytest.raises(StaleTip):
            remote.commit(STATUS, expected, {"a": b"3"}, "3")
    assert git(root, "rev-parse", "status") == second
    assert remote.fetch() == {STATUS: second}
    assert remote.commit(STATUS, second, {"a": b"3"}, "3") == git(root, "rev-parse", "status")
    git(root, "update-ref", "-d", STATUS)
    with pytest.raises(StaleTip):
        remote.commit(STATUS, second, {"a": b"4"}, "4")
    assert git(root, "for-each-ref") == ""


def test_a_push_that_loses_between_the_look_and_the_lock_is_stale(
    root: Path, server: GitServer, remote: RemoteRepository
) -> None:
    first = remote.commit(STATUS, None, {"a": b"1"}, "1")
    moved: list[str] = []

    def move(request: Handler) -> bool:
        if request.command == "POST" and not moved:
            moved.append(put(root, {"a": "2"}, STATUS))
        return False

    server.answer = move
    with pytest.raises(StaleTip):
        remote.commit(STATUS, first, {"a": b"3"}, "3")
    assert git(root, "rev-parse", "status") == moved[0]


def test_writers_that_push_at_once_lose_nothing(root: Path, server: GitServer, make: Make) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            repository = make(server.url("fleet.git"), name, Limits())
            for number in range(15):
                while True:
                    tip = repository.fetch().get(STATUS)
                    try:
                        repository.commit(STATUS, tip, {f"{name}/{number}": b""}, "write")
                        break
                    except StaleTip:
                        pass
        except BaseException as error:
            failures.append(error)
            raise

    writers = [threading.Thread(target=write, args=(name,)) for name in ("ada", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert len(git(root, "ls-tree", "-r", "--name-only", "status").splitlines()) == 30
    assert git(root, "rev-list", "--count", "status") == "30"


def test_a_refused_push_says_what_the_server_said(root: Path, remote: RemoteRepository) -> None:
    hook = root / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    error = failure(lambda: remote.commit(STATUS, None, {"a": b"1"}, "1"))
    assert error.reason == "PushRejected"
    assert "hook declined" in str(error)
    assert git(root, "for-each-ref") == ""


def test_a_server_without_push_says_so(root: Path, remote: RemoteRepository) -> None:
    git(root, "config", "http.receivepack", "false")
    error = failure(lambda: remote.commit(STATUS, None, {"a": b"1"}, "1"))
    assert error.reason == "AccessDenied"


def test_thousands_of_other_refs_are_not_asked_for(
    root: Path, server: GitServer, remote: RemoteRepository
) -> None:
    first = put(root, {"a": "1"})
    lines = "".join(f"create refs/pull/{n}/head {first}\n" for n in range(3000))
    git(root, "update-ref", "--stdin", stdin=lines.encode())
    git(root, "pack-refs", "--all")
    sizes: list[int] = []

    def measure(request: Handler) -> bool:
        status, headers, content = request.run_backend()
        sizes.append(len(content))
        request.reply(status, content, headers)
        return True

    server.answer = measure
    assert remote.fetch() == {MAIN: first}
    assert max(sizes) < 2000


def test_another_ref_is_fetched_when_it_is_asked_for(root: Path, remote: RemoteRepository) -> None:
    first = put(root, {"a": "1"})
    pull = put(root, {"a": "2"}, "refs/pull/1/head")
    assert remote.fetch() == {MAIN: first}
    assert remote.resolve("refs/pull/1/head") == pull
    assert remote.read_path(pull, "a") == b"2"
    newer = put(root, {"a": "3"}, "refs/pull/1/head")
    assert remote.resolve("refs/pull/1/head") == newer
    assert remote.resolve("refs/pull/2/head") is None
    assert remote.fetch() == {MAIN: first}


def test_what_was_fetched_survives_a_restart_without_network(
    root: Path, server: GitServer, make: Make
) -> None:
    first = put(root, {"a": "1"})
    make(server.url("fleet.git")).fetch()
    server.answer = lambda request: request.reply(503, b"")
    later = make(server.url("fleet.git"))
    assert failure(later.fetch).reason == "ServerError"
    assert later.resolve("main") == first
    assert later.read_path(first, "a") == b"1"


def cache_of(repository: RemoteRepository) -> Path:
    return repository._path


@pytest.mark.parametrize("how", ["gone", "no objects", "garbage", "truncated", "refs", "a file"])
def test_a_damaged_cache_is_made_anew(
    root: Path, server: GitServer, make: Make, tmp_path: Path, how: str
) -> None:
    first = put(root, {"a": "1", "b": "x" * 10_000})
    git(root, "repack", "-a", "-d", "-q")
    before = make(server.url("fleet.git"))
    before.fetch()
    before.close()
    cache = cache_of(before)
    packs = list((cache / "objects/pack").glob("*.pack"))
    assert packs
    if how == "gone":
        shutil.rmtree(cache)
    elif how == "no objects":
        shutil.rmtree(cache / "objects/pack")
        (cache / "objects/pack").mkdir()
    elif how == "refs":
        (cache / "packed-refs").write_bytes(b"\0\0")
    elif how == "a file":
        shutil.rmtree(cache)
        cache.write_bytes(b"")
    else:
        for pack in packs:
            pack.chmod(0o600)
            whole = pack.read_bytes()
            pack.write_bytes(whole[:50] if how == "truncated" else b"\xff" * len(whole))
    after = make(server.url("fleet.git"))
    for _ in range(2):
        assert after.fetch() == {MAIN: first}
        try:
            assert after.read_path(first, "b") == b"x" * 10_000
        except RepositoryError:
            continue
        break
    assert after.read_path(first, "b") == b"x" * 10_000
    second = put(root, {"a": "2"})
    assert after.fetch() == {MAIN: second}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cache.name]


def test_a_commit_that_was_never_fetched_does_not_cost_the_cache(
    root: Path, remote: RemoteRepository
) -> None:
    put(root, {"a": "1"})
    remote.fetch()
    marker = cache_of(remote) / "marker"
    marker.touch()
    with pytest.raises(RepositoryError):
        remote.commit_info("1" * 40)
    remote.fetch()
    assert marker.exists()


def test_a_cache_of_many_packs_is_replaced_by_one(
    root: Path, remote: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "_MAX_PACKS", 5)
    for number in range(9):
        tip = put(root, {"a": str(number)})
        assert remote.fetch() == {MAIN: tip}
        assert remote.read_path(tip, "a") == str(number).encode()
        assert len(list((cache_of(remote) / "objects/pack").glob("*.pack"))) <= 6


def test_many_loose_objects_become_a_pack(
    root: Path, remote: RemoteRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_module, "_MAX_LOOSE", 20)
    tip = None
    for number in range(12):
        tip = remote.commit(STATUS, tip, {"a": str(number).encode()}, "write")
        remote.fetch()
    assert tip is not None
    assert len(list(remote.log(tip))) == 12
    assert len(list((cache_of(remote) / "objects").glob("??/*"))) <= 20


# Servers that do not behave.


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (401, "AuthenticationFailed", "token"),
        (403, "AccessDenied", "give them access"),
        (404, "RepositoryNotFound", "correct --repo"),
        (410, "RepositoryNotFound", "removed"),
        (429, "ServerError", "asked again"),
        (500, "ServerError", "asked again"),
        (418, "UnexpectedAnswer", "418"),
    ],
)
def test_statuses_become_reasons(
    server: GitServer, remote: RemoteRepository, status: int, reason: str, words: str
) -> None:
    server.answer = lambda request: request.reply(status, SECRET.encode())
    for run in (remote.fetch, lambda: remote.commit(STATUS, None, {"a": b""}, "1")):
        error = failure(run)
        assert error.reason == reason
        assert words in str(error)
        assert str(error).startswith(server.url("fleet.git"))


def test_wrong_and_missing_credentials(server: GitServer, tmp_path: Path) -> None:
    for given in (None, Credentials("agent", SECRET + "!")):
        client = SmartHttpClient(server.url("fleet.git"), given)
        with RemoteRepository(client, tmp_path / "c") as repository:
            assert failure(repository.fetch).reason == "AuthenticationFailed"


def test_credentials_in_the_url_are_used_and_not_shown(
    root: Path, server: GitServer, tmp_path: Path
) -> None:
    first = put(root, {"a": "1"})
    url = server.url("fleet.git", "agent:s3cret%2Fword")
    with RemoteRepository(SmartHttpClient(url), tmp_path / "c") as repository:
        assert repository.fetch() == {MAIN: first}
        assert repository.address == server.url("fleet.git")
        assert "s3cret" not in repr(repository)
    stored = [path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()]
    assert stored
    assert not any(b"s3cret" in content for content in stored)


def test_a_web_page_is_no_repository(server: GitServer, remote: RemoteRepository) -> None:
    page = b"<!doctype html><title>Log in</title>"
    server.answer = lambda r: r.reply(200, page, {"Content-Type": "text/html"})
    assert failure(remote.fetch).reason == "NotAGitServer"
    assert failure(lambda: remote.commit(STATUS, None, {"a": b""}, "1")).reason == "NotAGitServer"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"0000",
        b"001e# service=git-upload-pack\n0000",
        b"001e# service=git-upload-pack\n0000000bversion\n0000",
        b"ffff",
        b"000eversion 2\n0000",
        b"000eversion 9\n0000",
        b"001e# service=git-upload-pack\n00000010ERR s3cret/word",
        b"001e# service=git-upload-pack\n00000020ERR access denied s3cret/word",
    ],
)
def test_nonsense_instead_of_refs(
    server: GitServer, remote: RemoteRepository, answer: bytes
) -> None:
    kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    server.answer = lambda request: request.reply(200, answer, kind)
    assert failure(remote.fetch).reason == "UnexpectedAnswer"


def test_nonsense_instead_of_a_pack(
    root: Path, server: GitServer, remote: RemoteRepository
) -> None:
    first = put(root, {"a": "1"})

    def spoil(request: Handler) -> bool:
        status, headers, content = request.run_backend()
        at = content.find(b"PACK")
        if at < 0:
            return request.reply(status, content, headers)
        spoiled = content[: at + 20] + bytes(len(content) - at - 20)
        return request.reply(status, spoiled, headers)

    server.answer = spoil
    assert failure(remote.fetch).reason == "UnexpectedAnswer"
    server.answer = None
    assert remote.fetch() == {MAIN: first}
    assert remote.read_path(first, "a") == b"1"


def test_a_server_that_stops_halfway(root: Path, server: GitServer, make: Make) -> None:
    first = put(root, {"a": "1"})
    repository = make(server.url("fleet.git"))

    def stop(request: Handler) -> bool:
        status, headers, content = request.run_backend()
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        request.close_connection = True
        return True

    server.answer = stop
    assert failure(repository.fetch).reason == "Unreachable"
    only_packs = iter([False, False, True])
    server.answer = lambda request: next(only_packs) and stop(request)
    assert failure(repository.fetch).reason == "Unreachable"
    server.answer = None
    assert repository.fetch() == {MAIN: first}


def test_a_server_that_hangs_ends_at_the_time_out(server: GitServer, make: Make) -> None:
    repository = make(server.url("fleet.git"))
    server.answer = lambda request: server.released.wait()
    assert "no answer in time" in str(failure(repository.fetch))


def test_a_server_that_drips_ends_too(server: GitServer, make: Make) -> None:
    repository = make(server.url("fleet.git"))

    def drip(request: Handler) -> bool:
        request.send_response(200)
        request.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        request.send_header("Content-Length", "100000")
        request.end_headers()
        request.wfile.write(b"fff0")
        while not server.released.wait(0.05):
            try:
                request.wfile.write(b"x")
                request.wfile.flush()
            except OSError:
                break
        return True

    server.answer = drip
    error = failure(repository.fetch)
    assert error.reason == "Unreachable"
    assert "takes too long" in str(error)


def test_an_answer_without_end_is_cut_off(server: GitServer, make: Make) -> None:
    bomb = gzip.compress(b"0100" + b"x" * 252 + (b"0100" + b"y" * 252) * 40_000)
    repository = make(server.url("fleet.git"))
    headers = {
        "Content-Type": "application/x-git-upload-pack-advertisement",
        "Content-Encoding": "gzip",
    }
    server.answer = lambda request: request.reply(200, bomb, headers)
    assert failure(repository.fetch).reason == "TooLarge"


def test_a_compressed_answer_is_read(
    root: Path, server: GitServer, remote: RemoteRepository
) -> None:
    first = put(root, {"a": "1" * 100_000})

    def compress(request: Handler) -> bool:
        status, headers, content = request.run_backend()
        headers["Content-Encoding"] = "gzip"
        request.reply(status, gzip.compress(content), headers)
        return True

    server.answer = compress
    assert remote.fetch() == {MAIN: first}
    assert remote.read_path(first, "a") == b"1" * 100_000


def test_a_pack_beyond_the_limit_is_refused(root: Path, server: GitServer, make: Make) -> None:
    put(root, {"a": "".join(chr(0x100 + n * 7 % 5000) for n in range(200_000))})
    repository = make(server.url("fleet.git"), limits=Limits(pack_bytes=10_000))
    assert failure(repository.fetch).reason == "TooLarge"


def test_nobody_at_home(make: Make) -> None:
    with GitServer(Path("/nonexistent")) as gone:
        url = gone.url("fleet.git")
    error = failure(make(url).fetch)
    assert error.reason == "Unreachable"
    assert "refused" in str(error)
    error = failure(make("http://host.invalid/fleet.git").fetch)
    assert error.reason == "Unreachable"


def test_a_redirect_on_the_same_server_is_followed(
    root: Path, server: GitServer, make: Make
) -> None:
    first = put(root, {"a": "1"})

    def rename(request: Handler) -> bool:
        if not request.path.startswith("/old"):
            return False
        request.body()
        to = server.url(request.path.replace("/old/", "", 1))
        request.reply(301, b"", {"Location": to})
        return True

    server.answer = rename
    repository = make(server.url("old/fleet.git"))
    assert repository.fetch() == {MAIN: first}
    made = repository.commit(STATUS, None, {"a": b"1"}, "1")
    assert git(root, "rev-parse", "status") == made


def test_credentials_are_not_sent_to_another_server(
    server: GitServer, make: Make, tmp_path: Path
) -> None:
    elsewhere = bare(tmp_path / "elsewhere" / "fleet.git")
    first = put(elsewhere, {"a": "1"})
    with GitServer(elsewhere.parent) as other:
        server.answer = lambda request: request.reply(
            307, request.body()[:0], {"Location": other.url(request.path[1:])}
        )
        repository = make(server.url("fleet.git"))
        assert repository.fetch() == {MAIN: first}
        assert repository.read_path(first, "a") == b"1"
        assert len(other.requests) >= 2
        for _, headers in other.requests:
            assert not [name for name in headers if name.lower() == "authorization"]
    assert [h for _, h in server.requests if h.get("Authorization") == server.expected]


def test_a_redirect_to_another_server_says_so(
    server: GitServer, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = bare(tmp_path / "elsewhere" / "fleet.git")
    put(elsewhere, {"a": "1"})
    with GitServer(elsewhere.parent) as other:
        origin = other.url("").rstrip("/")
        repository = make(server.url("fleet.git"))
        server.answer = lambda request: request.reply(
            307, request.body()[:0], {"Location": other.url(request.path[1:])}
        )
        for _ in range(3):
            repository.fetch()
        (record,) = caplog.records
        said = f"{server.url('fleet.git')} redirects to {origin}: no credentials are sent there"
        assert record.getMessage().startswith(said)
        other.answer = lambda request: request.reply(401, b"")
        error = failure(repository.fetch)
        assert error.reason == "AuthenticationFailed"
        assert f"(it redirects to {origin}, where no credentials are sent)" in str(error)


def test_redirects_in_circles_end(server: GitServer, remote: RemoteRepository) -> None:
    server.answer = lambda request: request.reply(
        302, b"", {"Location": server.url(request.path[1:])}
    )
    assert failure(remote.fetch).reason == "Unreachable"


def test_a_cache_that_cannot_be_written_is_named(
    server: GitServer, tmp_path: Path, credentials: Credentials
) -> None:
    (tmp_path / "file").touch()
    client = SmartHttpClient(server.url("fleet.git"), credentials)
    with RemoteRepository(client, tmp_path / "file") as repository:
        error = failure(repository.fetch)
    assert error.reason == "RepositoryUnusable"
    assert str(tmp_path / "file") in str(error)


def test_two_addresses_share_no_cache(tmp_path: Path) -> None:
    names = set()
    for url in ("http://h/a.git", "http://h/a", "https://h/a", "http://h:81/a", "http://h/a/b"):
        with RemoteRepository(SmartHttpClient(url), tmp_path) as repository:
            names.add(cache_of(repository).name)
    assert len(names) == 5


@pytest.mark.parametrize(("none", "asked"), [("", "proxy"), ("127.0.0.1", "server")])
def test_the_proxy_of_the_environment_is_asked_unless_no_proxy_names_the_host(
    tmp_path: Path, none: str, asked: str
) -> None:
    with Faulty() as proxy, Faulty() as server:
        address = server.url("/fleet.git")
        for each, path in ((proxy, f"{address}/info/refs"), (server, "/fleet.git/info/refs")):
            each.routes[path] = status(404)
        variables = {"http_proxy": proxy.url("", "me:p%40ss@"), "no_proxy": none}
        client = SmartHttpClient(address, proxies=Proxies.of(variables))
        with (
            RemoteRepository(client, tmp_path) as repository,
            pytest.raises(RepositoryError) as caught,
        ):
            repository.fetch()
        assert caught.value.reason == "RepositoryNotFound"
        assert [bool(proxy.requests), bool(server.requests)] == [
            asked == "proxy",
            asked == "server",
        ]
        if asked == "proxy":
            sent = {name.lower(): value for name, value in proxy.requests[0][1].items()}
            assert sent["proxy-authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [("socks5://me:secret@h:1", "ProxyFailed"), ("http://me:secret@127.0.0.1:1", "Unreachable")],
)
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(
    tmp_path: Path, proxy: str, reason: str
) -> None:
    proxies = Proxies.of({"all_proxy": proxy})

    def fetch() -> None:
        client = SmartHttpClient("https://git.invalid/fleet.git", proxies=proxies)
        with RemoteRepository(client, tmp_path) as repository:
            repository.fetch()

    with pytest.raises(RepositoryError, match="proxy") as caught:
        fetch()
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)
