"""Image data is that of the manifest in force, whatever was asked for while it came."""

from __future__ import annotations

from base64 import encodebytes
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from agent.core.actions import ImportImage
from agent.core.addresses import hidden
from agent.core.facts import Decision
from agent.core.host import RawVolume
from agent.core.identity import POOL, image_volume
from agent.core.image_sources import HttpSource
from agent.core.jobs import Job
from agent.core.model import Key
from agent.images.errors import ImageError
from agent.images.pipeline import Prepared
from agent.reconcile.execute import Outcome, Ticket
from agent.reconcile.news import ProgressNews
from agent.reconcile.sources import http as http_source
from agent.reconcile.world import VolumeRead
from tests.memory_host import Volume
from tests.rig import Rig, condition, manifest

OLD, NEW = "http://127.0.0.1:9/old", "http://127.0.0.1:9/new"
GIB = 1 << 30
EMPTY = {"persistentVolumeClaim": {"size": "1Gi"}}


def source(url: str) -> dict[str, Any]:
    return {"dataSource": {"type": "HTTP", "http": {"url": url}}}


def image(url: str) -> dict[str, Any]:
    return manifest("VirtualImage", "image", {"storage": "ContainerRegistry", **source(url)})


def disk(url: str) -> dict[str, Any]:
    return manifest(
        "VirtualDisk", "image", {"persistentVolumeClaim": {"size": "1Gi"}, **source(url)}
    )


def digest(url: str) -> str:
    return sha256(hidden(url).encode()).hexdigest()


def http(action: ImportImage) -> HttpSource:
    assert isinstance(action.source, HttpSource)
    return action.source


def address(action: ImportImage) -> str:
    return http(action).url


class Downloads:
    """Downloads that end when a test says so. The data is 2 GiB behind OLD and 1 GiB behind NEW."""

    def __init__(self, rig: Rig) -> None:
        self.started: list[str] = []
        self._rig, self._waiting = rig, deque[Callable[[], None]]()
        rig.downloads = self._waiting
        self._failing = False
        executor: Any = rig.agent.reconciler._acting._executor
        self._run = executor.run
        executor.run = self._carried_out
        self._start = rig.agent.reconciler._acting._start
        rig.agent.reconciler._acting._start = self._starts  # type: ignore[method-assign]

    def _carried_out(self, ticket: Ticket) -> Outcome:
        action = ticket.actions[0]
        if not isinstance(action, ImportImage) or ticket.called_off.is_set():
            outcome: Outcome = self._run(ticket)
            return outcome
        if self._failing:
            return Outcome(
                ticket.key,
                ticket.generation,
                failed="ImportImage",
                reason="ImagePullFailed",
                message="no",
            )
        name = image_volume("default", digest(address(action)), "qcow2")
        size = 2 * GIB if address(action) == OLD else GIB
        facts = {
            "digest": digest(address(action)),
            "format": "qcow2",
            "storedBytes": 4,
            "unpackedBytes": size,
        }
        path = f"{self._rig.host.ensure_pool(POOL)}/{name}"
        self._rig.host.pools[POOL][name] = Volume(path, size, content=b"data")
        seen = VolumeRead(action.node, POOL, name, RawVolume(POOL, name, path, size, 4))
        result = {**facts, "source": action.source.mark}
        return Outcome(ticket.key, ticket.generation, ["ImportImage"], result=result, seen=[seen])

    def hold(self, files: dict[str, Any] | None = None) -> None:
        """Push, and do everything but downloads."""
        self._rig.push(files)
        self._rig.agent.reconciler.look_at_git()
        for _ in range(20):
            self._rig.agent.reconciler.run()
            while self._rig._tasks:
                self._rig._tasks.popleft()()

    def _starts(self, key: Key, decision: Decision, job: Job) -> None:
        self.started += [
            address(each) for each in decision.actions if isinstance(each, ImportImage)
        ]
        self._start(key, decision, job)

    @property
    def called_off(self) -> list[bool]:
        """Of those that have not ended, whether they are to end early."""
        under_way = self._rig.agent.reconciler._acting.busy.values()
        return [ticket.called_off.is_set() for _, ticket in under_way]

    def fail(self) -> None:
        """Let the newest download fail."""
        self._failing = True
        self._waiting.pop()()
        self._failing = False
        self.hold()

    def end(self) -> None:
        """End downloads, the newest first, until none is left."""
        while self._waiting:
            self._waiting.pop()()
            self.hold()


def status(rig: Rig, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.document(f"namespaces/default/{kind}/image.yaml")["status"]
    return found


@pytest.mark.parametrize("again", [True, False])
def test_an_image_that_is_changed_while_it_is_downloaded_gets_the_new_data(
    rig: Rig, again: bool
) -> None:
    rig.push({"other.yaml": disk(NEW) | {"metadata": {"name": "other"}}})
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": image(OLD)})
    if again:  # another object of its name
        downloads.hold({"image.yaml": None})
    downloads.hold({"image.yaml": image(NEW)})
    downloads.end()
    assert status(rig, "virtualimages")["digest"] == digest(NEW)
    assert downloads.started.count(OLD) == 1


def test_a_disk_whose_image_is_too_large_is_made_from_another_one(rig: Rig) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": disk(OLD)})
    downloads.end()
    assert status(rig, "virtualdisks")["phase"] == "Failed"
    downloads.hold({"image.yaml": disk(NEW)})
    downloads.end()
    assert status(rig, "virtualdisks")["phase"] == "Ready"
    assert status(rig, "virtualdisks")["import"]["digest"] == digest(NEW)


def test_a_disk_whose_image_was_changed_while_no_agent_ran_is_made_from_the_new_one(
    rig: Rig,
) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": disk(OLD)})
    downloads.end()
    rig.start()
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": disk(NEW)})
    downloads.end()
    assert downloads.started == [NEW]
    assert status(rig, "virtualdisks")["import"]["digest"] == digest(NEW)


def test_the_certificates_of_a_source_are_decoded_also_when_wrapped(rig: Rig) -> None:
    pem = "-----BEGIN CERTIFICATE-----\n" + "A" * 64 + "\n-----END CERTIFICATE-----\n"
    asked: list[ImportImage] = []
    executor: Any = rig.agent.reconciler._acting._executor
    run = executor.run

    def recorded(ticket: Ticket) -> Outcome:
        asked.extend(each for each in ticket.actions if isinstance(each, ImportImage))
        outcome: Outcome = run(ticket)
        return outcome

    executor.run = recorded
    wrapped = image("https://127.0.0.1:9/image")
    wrapped["spec"]["dataSource"]["http"]["caBundle"] = encodebytes(pem.encode()).decode()
    rig.push({"image.yaml": wrapped})
    rig.settle()
    assert [http(each).ca_bundle for each in asked] == [pem]


@pytest.mark.parametrize("kind", [image, disk])
@pytest.mark.parametrize("after", [None, NEW])
def test_a_download_that_nothing_needs_any_more_is_called_off(
    rig: Rig,
    kind: Callable[[str], dict[str, Any]],
    after: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig.push({"other.yaml": disk(NEW) | {"metadata": {"name": "other"}}})
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": kind(OLD)})
    assert downloads.called_off == [False, False]
    downloads.hold({"image.yaml": kind(after) if after else None})
    assert downloads.called_off.count(True) == 1
    downloads.end()
    rig.settle()
    assert image_volume("default", digest(OLD), "qcow2") not in rig.host.pools[POOL]
    assert downloads.started.count(OLD) == 1
    assert all(record.levelname == "INFO" for record in caplog.records)  # it is no failure
    if after:
        name = "virtualimages" if kind is image else "virtualdisks"
        assert status(rig, name)["phase"] == "Ready"


@pytest.mark.parametrize("kind", [image, disk])
def test_a_download_goes_on_whatever_else_changes(
    rig: Rig, kind: Callable[[str], dict[str, Any]]
) -> None:
    rig.push({"other.yaml": manifest("VirtualDisk", "other", EMPTY)})
    rig.settle()
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": kind(NEW)})
    labelled = kind(NEW)
    labelled["metadata"]["labels"] = {"app": "web"}
    downloads.hold({"image.yaml": labelled})
    rig.host.disconnect()
    rig.now += 10
    downloads.hold()
    assert downloads.called_off == [False]
    rig.host.reconnect()
    rig.now += 10
    downloads.hold()
    downloads.end()
    assert downloads.started == [NEW]
    name = "virtualimages" if kind is image else "virtualdisks"
    assert status(rig, name)["phase"] == "Ready"


def test_a_download_that_fails_says_so_while_it_is_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, trouble: Callable[[str], None], **__: Any) -> Any:
        trouble("no answer in time")
        raise ImageError("ImagePullFailed", "gave up", retry=True)

    monkeypatch.setattr(http_source, "fetch", fails)
    downloads = rig.downloads = deque()
    rig.push({"image.yaml": image(NEW)})
    rig.agent.reconciler.look_at_git()

    def ready() -> dict[str, Any]:
        for _ in range(5):
            rig.step()
        return condition({"status": rig.agent.reconciler.records()[key].status}, "Ready")

    key = Key("VirtualImage", "default", "image")
    assert ready()["reason"] == "Provisioning"
    rig.agent.reconciler.post(ProgressNews(key, 0, "no answer in time"))
    assert ready()["message"].endswith("is tried again: no answer in time")
    rig.agent.reconciler.post(ProgressNews(key, 10))
    assert ready()["reason"] == "Provisioning"
    downloads.popleft()()
    told = ready()
    assert (told["reason"], told["message"][-7:]) == ("ProvisioningFailed", "gave up")
    rig.now += 2
    assert ready() == told  # also while it is tried again
    assert len(downloads) == 1
    rig.agent.reconciler.post(ProgressNews(key, 10))
    assert ready()["reason"] == "Provisioning"


@pytest.mark.parametrize("used", [True, False])
def test_data_that_something_lies_on_is_not_replaced(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, used: bool
) -> None:
    def fetched(*_: object, **__: object) -> Prepared:
        path = tmp_path / "data"
        path.write_bytes(b"data")
        return Prepared(path, "qcow2", GIB, 4, digest(OLD))

    monkeypatch.setattr(http_source, "fetch", fetched)
    rig.step()
    name = image_volume("default", digest(OLD), "qcow2")
    path = f"{rig.host.ensure_pool(POOL)}/{name}"
    rig.host.pools[POOL][name] = Volume(path, GIB, content=b"somebody has touched it")
    if used:
        rig.host.pools[POOL]["top"] = Volume(f"{path}.top", GIB, backing_path=path)
    rig.push({"image.yaml": image(OLD)})
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()
    content = rig.host.pools[POOL][name].content
    assert content == (b"somebody has touched it" if used else b"data")
    if used:
        assert (
            "volume top refers to it"
            in condition(rig.document("namespaces/default/virtualimages/image.yaml"), "Ready")[
                "message"
            ]
        )
