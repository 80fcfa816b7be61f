"""What of an image's address is secret stands in the manifest, or in a Secret, and nowhere else."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.identity import POOL, image_volume
from agent.core.model import Key
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from tests.images.server import Faulty, status
from tests.plans import branch, planned
from tests.product.test_imports import Downloads, digest
from tests.rig import MAIN, Rig, condition, machine, manifest

USER, PASSWORD, TOKEN = "hunter2-user", "correct-horse", "tr0ub4dor"
PLAIN = "http://127.0.0.1:9/x.img"
WHOLE = f"http://{USER}:{PASSWORD}@127.0.0.1:9/x.img?token={TOKEN}"
OTHER = f"http://{USER}:other-{PASSWORD}@127.0.0.1:9/x.img?token=other-{TOKEN}"
SHOWN = "http://***@127.0.0.1:9/x.img?***"
IMAGE = "namespaces/default/virtualimages/image.yaml"
KINDS = ("VirtualImage", "ClusterVirtualImage", "VirtualDisk")


def source(kind: str, url: str, name: str = "image", **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"dataSource": {"type": "HTTP", "http": {"url": url}}}
    if kind == "VirtualDisk":
        spec["persistentVolumeClaim"] = {"size": "2Gi"}
    return manifest(kind, name, spec, **metadata)


def secret(name: str = "login", namespace: str = "default", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def path(kind: str) -> str:
    folder = "cluster" if kind == "ClusterVirtualImage" else "namespaces/default"
    return f"{folder}/{kind.lower()}s/image.yaml"


def clean(text: str) -> None:
    for value in (USER, PASSWORD, TOKEN):
        assert value not in text


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        running.routes["/x.img"] = status(404)
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_in_no_ref_but_main_and_in_no_log_and_no_file(
    rig: Rig, kind: str, server: Faulty, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    executor: Any = rig.agent.reconciler._acting._executor
    executor._reach = Reach(ImageHosts.parse("127.0.0.1"))
    whole = server.url(f"/x.img?token={TOKEN}", f"{USER}:{PASSWORD}@")
    shown = server.url("/x.img?***", "***@")
    rig.push({"image.yaml": source(kind, whole)})
    branch(rig, "change", {"image.yaml": source(kind, OTHER), "more.yaml": machine("more")})
    rig.agent.reconciler.look_at_git()
    for _ in range(12):  # it fails, is tried again, and is told
        rig.now += rig.step()
    assert len(server.requests) > 1
    found = rig.document(path(kind))
    assert found["spec"]["dataSource"]["http"]["url"] == shown
    assert shown in condition(found, "Ready")["message"]
    clean(str(planned(rig, {"image.yaml": source(kind, OTHER)}).report))
    assert "plans/change.md" in rig.documents()
    for ref, tip in rig.repo.fetch().items():
        if ref == MAIN or ref.endswith("/change"):
            continue
        for commit in rig.repo.log(tip):
            clean(commit.subject + commit.body)
            for file in rig.repo.files(commit.id):
                clean(rig.repo.read(file.blob).decode())
    for record in caplog.records:
        clean(record.getMessage() + str(record.args) + (record.exc_text or ""))
    for file_path in tmp_path.rglob("*"):
        if file_path.is_file():
            clean(file_path.read_bytes().decode(errors="replace"))


@pytest.mark.parametrize("again", [False, True], ids=["same-agent", "agent-was-away"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [WHOLE, PLAIN])
def test_a_change_of_it_alone_imports_nothing_again(
    rig: Rig, kind: str, before: str, again: bool
) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": source(kind, before)})
    downloads.end()
    assert downloads.started == [before]
    if again:
        rig.start()
        downloads = Downloads(rig)
    downloads.hold({"image.yaml": source(kind, OTHER)})
    downloads.end()
    summary = rig.settle()
    assert summary.problems == ()
    assert summary.wrong == ()
    assert OTHER not in downloads.started
    found = rig.document(path(kind))
    assert found["status"]["phase"] == "Ready"
    commit, _, at = found["metadata"]["annotations"]["gitvirt.io/source"].partition(":")
    assert OTHER.encode() in (rig.repo.read_path(commit, at) or b"")


def test_nothing_is_imported_again_for_a_disk_that_is_not_made_yet(rig: Rig) -> None:
    def small(url: str) -> dict[str, Any]:
        wanted = source("VirtualDisk", url)
        wanted["spec"]["persistentVolumeClaim"]["size"] = "1Mi"  # smaller than its image
        return wanted

    downloads = Downloads(rig)
    downloads.hold({"image.yaml": small(WHOLE)})
    downloads.end()
    rig.start()
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": small(OTHER)})
    assert downloads.started == []
    downloads.hold({"image.yaml": source("VirtualDisk", OTHER)})
    downloads.end()
    assert downloads.started == []
    assert rig.document(path("VirtualDisk"))["status"]["phase"] == "Ready"


def test_a_failed_download_is_tried_at_once_with_another_password(rig: Rig) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": source("VirtualImage", WHOLE)})
    downloads.fail()
    assert condition(rig.document(IMAGE), "Ready")["reason"] == "ProvisioningFailed"
    downloads.hold({"image.yaml": source("VirtualImage", OTHER)})
    assert downloads.started == [WHOLE, OTHER]


def lost(rig: Rig) -> None:
    """The data is gone, and the manifest is broken by now."""
    name = image_volume("default", digest(SHOWN), "qcow2")
    rig.host.pools[POOL].pop(name, None)
    rig.push({"image.yaml": "]["})


def test_what_is_needed_again_is_recalled_from_its_commit(rig: Rig) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": source("VirtualImage", WHOLE)})
    downloads.end()
    lost(rig)
    rig.start()
    downloads = Downloads(rig)
    downloads.hold()
    assert downloads.started == [WHOLE]


def test_where_that_commit_is_gone_a_condition_says_so_until_it_is_pushed_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": source("VirtualImage", WHOLE)})
    downloads.end()
    noted = rig.document(IMAGE)["metadata"]["annotations"]["gitvirt.io/source"]
    commit = noted.partition(":")[0]
    lost(rig)
    real = rig.repo.read_path

    def read_path(at: str, name: str) -> bytes | None:
        return None if at == commit else real(at, name)

    monkeypatch.setattr(rig.repo, "read_path", read_path)
    rig.start()
    downloads = Downloads(rig)
    downloads.hold()
    rig.now += 60
    downloads.hold()
    assert downloads.started == []
    found = condition(rig.document(IMAGE), "Ready")
    assert found["reason"] == "ProvisioningNotStarted"
    assert commit[:12] in found["message"]
    downloads.hold({"image.yaml": source("VirtualImage", WHOLE)})
    assert downloads.started == [WHOLE]
    downloads.end()
    lost(rig)
    rig.start()
    downloads = Downloads(rig)
    downloads.hold()
    assert downloads.started == [WHOLE]  # the newer commit has it


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("VirtualImage", "login"),
        ("VirtualDisk", "default/login"),
        ("ClusterVirtualImage", "default/login"),
        ("ClusterVirtualImage", "login"),
    ],
)
def test_a_secret_holds_it(rig: Rig, kind: str, named: str) -> None:
    annotated = source(kind, PLAIN, annotations={"gitvirt.io/http-secret": named})
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": annotated})
    assert downloads.started == []
    rig.now += 60
    downloads.hold()
    assert "is not there" in condition(rig.document(path(kind)), "Ready")["message"]
    given = secret(username=USER, password=f"{PASSWORD}\n", query=f"token={TOKEN}")
    downloads.hold({"secret.yaml": given})
    assert downloads.started == [WHOLE]
    downloads.end()
    rig.settle()
    assert rig.document(path(kind))["status"]["phase"] == "Ready"
    downloads.hold({"secret.yaml": secret(username=USER, password="other")})
    assert downloads.started == [WHOLE]
    for content in rig.documents().values():
        clean(content.decode())


@pytest.mark.parametrize(
    ("named", "data", "said"),
    [
        ("elsewhere/login", {"username": "u"}, "own namespace"),
        ("login", {"user": "u"}, "none of the keys"),
        ("login", {"username": "\udcff"}, "no text"),
    ],
)
def test_a_secret_that_cannot_be_used_is_a_condition(
    rig: Rig, named: str, data: dict[str, str], said: str
) -> None:
    annotated = source("VirtualImage", PLAIN, annotations={"gitvirt.io/http-secret": named})
    given = secret()
    given["data"] = {
        key: base64.b64encode(text.encode(errors="surrogateescape")).decode()
        for key, text in data.items()
    }
    downloads = Downloads(rig)
    downloads.hold({"image.yaml": [annotated, given]})
    rig.now += 60
    downloads.hold()
    assert downloads.started == []
    assert said in condition(rig.document(IMAGE), "Ready")["message"]


@pytest.mark.parametrize("url", [SHOWN, "http://***@h/x", "http://h/x?***", "http://u:p/w@h/"])
def test_what_is_left_out_or_unreadable_is_a_problem_that_quotes_nothing(
    rig: Rig, url: str
) -> None:
    rig.push({"image.yaml": source("VirtualImage", url)})
    (problem,) = rig.settle().problems
    assert problem.path == "spec.dataSource.http.url"
    assert url not in problem.message


def test_a_slip_in_the_name_of_a_secret_is_a_problem(rig: Rig) -> None:
    named = {"gitvirt.io/http-secret": "a/b/c"}
    rig.push({"image.yaml": source("VirtualImage", PLAIN, annotations=named)})
    (problem,) = rig.settle().problems
    assert "NAMESPACE/NAME" in problem.message
    assert Key("VirtualImage", "default", "image") not in rig.agent.reconciler.records()
