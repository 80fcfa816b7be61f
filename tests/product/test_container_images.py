"""Images, images of the whole cluster and disks from container images in a registry."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core.identity import POOL
from tests.images.registry import PASSWORD, USER, Registry, htpasswd, packed
from tests.images.test_registry import BASIC, DIGEST, DISK, GOOD
from tests.plans import planned
from tests.product.test_image_secrets import path, secret
from tests.rig import MAIN, Rig, condition, manifest

KINDS = ("VirtualImage", "ClusterVirtualImage", "VirtualDisk")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with Registry(folder, auth=htpasswd(folder)) as running:
        yield running


def source(kind: str, image: str, **more: Any) -> dict[str, Any]:
    container = {"image": image, "imagePullSecret": {"name": "login"}, **more}
    spec: dict[str, Any] = {"dataSource": {"type": "ContainerImage", "containerImage": container}}
    if kind == "VirtualDisk":
        spec["persistentVolumeClaim"] = {"size": "1Gi"}
    return manifest(kind, "image", spec)


def configuration(registry: Registry, **entry: str) -> dict[str, Any]:
    entry = entry or {"username": USER, "password": PASSWORD}
    made = secret(config=json.dumps({"auths": {registry.host: entry}}))
    made["data"] = {".dockerconfigjson": made["data"]["config"]}
    return made | {"type": "kubernetes.io/dockerconfigjson"}


def status(rig: Rig, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = rig.document(path(kind))["status"]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [False, True], ids=["dockerconfigjson", "user-and-password"])
def test_its_image_is_stored_and_its_digest_told_and_no_secret(
    rig: Rig,
    registry: Registry,
    kind: str,
    pair: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    login = secret(username=USER, password=PASSWORD) if pair else configuration(registry)
    digest = registry.push("lab/debian", "12", GOOD)
    files = {"image.yaml": source(kind, registry.image("lab/debian:12")), "login.yaml": login}
    text = str(planned(rig, files).report)
    rig.push(files)
    rig.settle()
    found = status(rig, kind)
    assert found["phase"] == "Ready"
    facts = found["import"] if kind == "VirtualDisk" else found
    assert facts["digest"] == DIGEST
    assert facts["resolvedImage"] == registry.image(f"lab/debian:12@{digest}")
    assert rig.host.pools[POOL][f"default_image_{DIGEST}.raw"].content == DISK
    for ref, tip in rig.repo.fetch().items():
        if ref != MAIN:
            text += "".join(rig.repo.read(file.blob).decode() for file in rig.repo.files(tip))
    text += "".join(f"{each.getMessage()}{each.exc_text}" for each in caplog.records)
    for told in (USER, PASSWORD, BASIC.removeprefix("Basic ")):
        assert told not in text.replace("spec.", "")


@pytest.mark.parametrize("kind", ["VirtualImage", "ClusterVirtualImage"])
def test_data_that_was_lost_is_that_of_then_also_where_its_tag_has_moved_on(
    rig: Rig, registry: Registry, kind: str
) -> None:
    registry.push("moving", "1", GOOD)
    login = configuration(registry)
    files = {"image.yaml": source(kind, registry.image("moving:1")), "login.yaml": login}
    rig.push(files)
    rig.settle()
    registry.push("moving", "1", packed([("disk/x.raw", b"something else" * 100)]))
    del rig.host.pools[POOL][f"default_image_{DIGEST}.raw"]
    rig.start()
    rig.settle()
    assert status(rig, kind)["digest"] == DIGEST
    assert rig.host.pools[POOL][f"default_image_{DIGEST}.raw"].content == DISK


@pytest.mark.parametrize("kind", KINDS)
def test_it_waits_for_its_secret(rig: Rig, registry: Registry, kind: str) -> None:
    registry.push("lab/debian", "12", GOOD)
    rig.push({"image.yaml": source(kind, registry.image("lab/debian:12"))})
    rig.settle()
    document = rig.document(path(kind))
    assert condition(document, "DatasourceReady")["reason"] == "ContainerRegistrySecretNotFound"
    assert condition(document, "Ready")["reason"] == "ProvisioningNotStarted"
    assert "Secret default/login is not there" in condition(document, "Ready")["message"]
    rig.push({"login.yaml": configuration(registry)})
    rig.settle()
    document = rig.document(path(kind))
    assert document["status"]["phase"] == "Ready"
    assert condition(document, "DatasourceReady")["status"] == "True"


@pytest.mark.parametrize(
    ("login", "said"),
    [
        (secret(username=USER), "has neither .dockerconfigjson nor .dockercfg, nor both username"),
        (secret() | {"data": {".dockerconfigjson": "e30="}}, "has no entry for 127.0.0.1"),
        (secret() | {"data": {"username": "/w==", "password": "/w=="}}, "is no text in Base64"),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(
    rig: Rig, registry: Registry, login: dict[str, Any], said: str
) -> None:
    image = source("VirtualImage", registry.image("lab/debian:12"))
    rig.push({"image.yaml": image, "login.yaml": login})
    rig.settle()
    document = rig.document(path("VirtualImage"))
    assert said in condition(document, "Ready")["message"]
    assert condition(document, "DatasourceReady")["status"] == "True"


def test_credentials_that_fail_are_told_and_work_once_they_are_right(
    rig: Rig, registry: Registry
) -> None:
    registry.push("lab/debian", "12", GOOD)
    wrong = configuration(registry, username=USER, password="nothing")
    image = source("VirtualImage", registry.image("lab/debian:12"))
    rig.push({"image.yaml": image, "login.yaml": wrong})
    rig.agent.reconciler.look_at_git()
    for _ in range(6):
        rig.step()
    ready = condition(rig.document(path("VirtualImage")), "Ready")
    assert (ready["reason"], "do not open it" in ready["message"]) == ("ProvisioningFailed", True)
    rig.push({"login.yaml": configuration(registry)})
    rig.settle()
    assert status(rig, "VirtualImage")["phase"] == "Ready"


def test_a_digest_that_nobody_can_check_is_a_problem_of_the_manifest(rig: Rig) -> None:
    rig.push({"image.yaml": source("VirtualImage", "a.example/b@md5:" + "0" * 32)})
    rig.settle()
    (problem,) = rig.agent.reconciler.summary().problems
    assert problem.path == "spec.dataSource.containerImage.image"
    assert "must give its digest as sha256" in problem.message
