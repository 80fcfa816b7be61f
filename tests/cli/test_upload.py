"""`gitvirt upload`, onto a node in memory."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.cli import progress, upload
from agent.core.host import HostError
from agent.core.identity import POOL, upload_volume, whole_upload
from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, whole
from tests.memory_host import MemoryHost, Volume

UID = "11111111-2222-4333-8444-555555555555"
DISK = bytes(510) + b"\x55\xaa" + random.Random(9).randbytes(3 * 1024 * 1024)
NAME = upload_volume("default", UID, len(DISK), hashlib.sha256(DISK).hexdigest())


@pytest.fixture
def host(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> MemoryHost:
    fleet.agent(node={"name": "node-1", "ready": True})
    made = MemoryHost()
    made.ensure_pool(POOL)
    monkeypatch.setattr(upload, "opened_one", lambda _settings, _name: made)
    return made


def said(status: str, reason: str, message: str) -> dict[str, Any]:
    """The condition Ready."""
    return condition("Ready", status, message) | {"reason": reason}


def waits(
    fleet: Fleet,
    kind: str = "VirtualImage",
    *,
    source: str = "Upload",
    phase: str = "WaitForUserUpload",
    uid: str = UID,
    ready: Mapping[str, Any] | None = None,
) -> None:
    status: dict[str, Any] = {"phase": phase}
    status["conditions"] = [ready or said("False", "WaitForUserUpload", "run it")]
    made = whole(kind, "debian", {"dataSource": {"type": source}}, status)
    made["metadata"]["uid"] = uid
    fleet.write(made)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(DISK)
    return path


def there(host: MemoryHost) -> dict[str, bytes]:
    return {name: volume.content for name, volume in host.pools[POOL].items()}


@pytest.mark.parametrize(
    ("word", "kind"),
    [("vi", "VirtualImage"), ("cvi", "ClusterVirtualImage"), ("virtualdisk", "VirtualDisk")],
)
def test_the_file_is_on_the_node_with_its_mark(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path, word: str, kind: str
) -> None:
    waits(fleet, kind)
    done = gitvirt("upload", f"{word}/debian", str(file))
    assert (done.code, done.err.count("error")) == (0, 0)
    assert done.out.endswith("/debian uploaded. The agent checks it and takes it in.\n")
    assert there(host) == {NAME: DISK, whole_upload(NAME): b""}
    marks = [verb for verb, at in host.verbs if at.endswith(".whole")]
    assert marks == ["create_volume"]
    assert host.verbs[-1][1].endswith(".whole")  # after everything else


def test_a_compressed_file_goes_as_it_is(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, tmp_path: Path
) -> None:
    waits(fleet)
    packed = tmp_path / "disk.raw.gz"
    packed.write_bytes(gzip.compress(DISK))
    assert gitvirt("upload", "vi/debian", str(packed)).code == 0
    assert packed.read_bytes() in there(host).values()


class _CutError(HostError):
    def __init__(self) -> None:
        super().__init__("Disconnected", "the connection broke")


def test_a_cut_upload_is_gone_on_with(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(fleet)
    real = host.upload_volume
    sent: list[int] = []

    def cut(pool: str, name: str, chunks: Any, size: int, offset: int = 0) -> Any:
        def some() -> Any:
            for number, chunk in enumerate(chunks):
                if number == 2:
                    raise _CutError
                yield chunk

        return real(pool, name, some(), size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(host, "upload_volume", cut)
        failed = gitvirt("upload", "vi/debian", str(file))
    assert failed.code == 1
    assert "the same command goes on with what has arrived" in failed.err
    part = there(host)[NAME]
    assert 0 < len(part) < len(DISK)
    assert list(there(host)) == [NAME]

    def noted(pool: str, name: str, chunks: Any, size: int, offset: int = 0) -> Any:
        sent.append(offset)
        return real(pool, name, chunks, size, offset)

    monkeypatch.setattr(host, "upload_volume", noted)
    assert gitvirt("upload", "vi/debian", str(file)).code == 0
    assert (sent, there(host)[NAME]) == ([len(part)], DISK)


@pytest.mark.parametrize(
    "content",
    [DISK[:1000] + b"x" + DISK[1001:2000], DISK + b"more", b""],
    ids=["other", "longer", "empty"],
)
def test_what_is_no_part_of_the_file_is_begun_anew(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path, content: bytes
) -> None:
    waits(fleet)
    host.pools[POOL][NAME] = Volume(f"/{NAME}", 0, content=content)
    assert gitvirt("upload", "vi/debian", str(file)).code == 0
    assert there(host)[NAME] == DISK


def test_a_whole_file_without_its_mark_is_only_marked(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    host.pools[POOL][NAME] = Volume(f"/{NAME}", 0, content=DISK)
    assert gitvirt("upload", "vi/debian", str(file)).code == 0
    assert [verb for verb, _ in host.verbs if verb != "ensure_pool"] == ["create_volume"]
    assert whole_upload(NAME) in there(host)


def test_an_interrupted_upload_says_how_to_go_on(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits(fleet)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(host, "upload_volume", interrupted)
    done = gitvirt("upload", "vi/debian", str(file))
    assert (done.code, done.out) == (130, "")
    assert "the same command goes on" in done.err
    assert whole_upload(NAME) not in there(host)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"phase": "Ready"}, "is ready already: its data cannot be replaced"),
        ({"source": "HTTP"}, "takes no upload: its spec.dataSource is of type HTTP, not Upload"),
        ({"phase": "Provisioning"}, "does not wait for an upload: it is Provisioning (run it)"),
    ],
)
def test_what_wants_none_gets_none(
    gitvirt: Gitvirt,
    fleet: Fleet,
    host: MemoryHost,
    file: Path,
    state: dict[str, Any],
    said: str,
) -> None:
    waits(fleet, **state)
    done = gitvirt("upload", "vi/debian", str(file))
    assert (done.code, there(host)) == (1, {})
    assert said in done.err


def test_what_is_not_there_is_named(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    done = gitvirt("upload", "vi/other", str(file))
    assert done.err.startswith("error: there is no VirtualImage 'other' in namespace default")
    assert "must be KIND/NAME" in gitvirt("upload", "debian", str(file)).err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there"),
        (b"", "is empty"),
        (b"<html>" + b"login " * 200, "is an HTML page"),
        (gzip.compress(b"<html>" + b"login " * 200), "is an HTML page"),
        (gzip.compress(DISK)[:1000], "damaged or cut off"),
        (b"QFI\xfb" + bytes(100_000), "qcow2"),
    ],
    ids=["absent", "empty", "page", "packed-page", "damaged", "broken"],
)
def test_a_file_that_is_no_image_is_refused_before_anything_is_sent(
    gitvirt: Gitvirt,
    fleet: Fleet,
    host: MemoryHost,
    tmp_path: Path,
    content: bytes | None,
    said: str,
) -> None:
    waits(fleet)
    path = tmp_path / "wrong"
    if content is not None:
        path.write_bytes(content)
    done = gitvirt("upload", "vi/debian", str(path))
    assert (done.code, there(host)) == (1, {})
    assert said in done.err


def test_a_file_that_is_too_large_is_refused(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    done = gitvirt("upload", "vi/debian", str(file), "--image-limit", "1Mi")
    assert (done.code, "at most 1Mi are taken" in done.err) == (1, True)


def test_a_pool_without_room_is_told_before_anything_is_sent(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    host.free = 1000
    done = gitvirt("upload", "vi/debian", str(file))
    assert (done.code, "make room there" in done.err) == (1, True)
    assert there(host) == {}


def test_a_host_that_is_not_the_agents_is_told(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    del host.pools[POOL]
    assert "has no active storage pool gitvirt" in gitvirt("upload", "vi/debian", str(file)).err
    fleet.agent(node={"name": "elsewhere", "ready": True})
    done = gitvirt("upload", "vi/debian", str(file))
    assert "this is node node-1, and the agent's is elsewhere" in done.err


def test_an_object_that_is_deleted_meanwhile_is_told(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    host.on_effect = lambda verb, phase: (
        waits(fleet, uid=UID[::-1]) if verb == "upload_volume" else None
    )
    done = gitvirt("upload", "vi/debian", str(file))
    assert (done.code, "was deleted meanwhile" in done.err) == (1, True)


def answering(fleet: Fleet, host: MemoryHost, answer: Callable[[], None]) -> threading.Thread:
    """Does what the agent does once the mark is there."""
    marked = threading.Event()
    host.on_effect = lambda verb, phase: (
        marked.set()
        if (verb, phase) == ("create_volume", "after") and whole_upload(NAME) in host.pools[POOL]
        else None
    )

    def act() -> None:
        marked.wait(30)
        answer()
        host.pools[POOL].clear()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_it_waits_until_the_file_is_taken_in(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    waits(fleet)
    ready = said("True", "Ready", "")
    agent = answering(fleet, host, lambda: waits(fleet, phase="Ready", ready=ready))
    done = gitvirt("upload", "vi/debian", str(file), "--wait")
    agent.join()
    assert (done.code, done.lines[-1].endswith("is ready.")) == (0, True)


def test_it_tells_why_a_file_is_refused(
    gitvirt: Gitvirt, fleet: Fleet, host: MemoryHost, file: Path
) -> None:
    why = said("False", "ProvisioningFailed", "What was uploaded is refused: no.")
    waits(fleet, ready=why)  # also of the one before
    agent = answering(fleet, host, lambda: waits(fleet, ready=why))
    done = gitvirt("upload", "vi/debian", str(file), "--wait", "--timeout", "60s")
    agent.join()
    assert (done.code, "What was uploaded is refused: no." in done.err) == (1, True)


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]

    def shown() -> str:
        bar = progress.Progress("uploading", 1000, 100, clock=lambda: now[0])
        for done in range(100, 1001, 100):
            now[0] += 1
            bar.show(done)
        bar.end()
        return capsys.readouterr().err

    lines = shown()
    assert "\r" not in lines
    assert lines.splitlines()[0] == "uploading: 20%, 200 of 1000, 50/s, 16s left"
    assert lines.splitlines()[-1] == "uploading: 100%, 1000 of 1000"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = shown()
    assert bar.endswith(f"[{'#' * progress.WIDTH}] 100%, 1000 of 1000\n")
    assert bar.count("\n") == 1
