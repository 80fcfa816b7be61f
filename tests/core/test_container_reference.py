"""What references of container images mean, and which credentials are for them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from agent.core.container_reference import ConfigurationError, Reference, credentials

SHA = "sha256:" + "0a" * 32
SHA512 = "sha512:" + "0a" * 64
PAIR = {"username": "me", "password": "word"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("debian", ("docker.io", "library/debian", "latest", "")),
        ("debian:12", ("docker.io", "library/debian", "12", "")),
        ("me/debian", ("docker.io", "me/debian", "latest", "")),
        ("docker.io/debian", ("docker.io", "library/debian", "latest", "")),
        ("index.docker.io/me/debian:1", ("docker.io", "me/debian", "1", "")),
        ("localhost/a", ("localhost", "a", "latest", "")),
        ("registry:5000/a", ("registry:5000", "a", "latest", "")),
        ("registry.example.com/a/b/c:1.2_x-y", ("registry.example.com", "a/b/c", "1.2_x-y", "")),
        (f"registry.example.com:5000/a:1@{SHA}", ("registry.example.com:5000", "a", "1", SHA)),
        (f"a.example/b@{SHA512}", ("a.example", "b", "", SHA512)),
    ],
)
def test_a_reference_means(text: str, meant: tuple[str, str, str, str]) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == meant
    assert found.wanted == (meant[3] or meant[2])
    assert Reference.parse(found.pinned(SHA)).digest == SHA


def test_the_hub_of_docker_is_asked_elsewhere() -> None:
    assert Reference.parse("debian").host == "registry-1.docker.io"
    assert Reference.parse("a.example:1/b").host == "a.example:1"


@pytest.mark.parametrize("digest", ["md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "A" * 64])
def test_a_digest_that_nobody_can_check_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="must give its digest"):
        Reference.parse(f"a.example/b@{digest}")


def of(entries: dict[str, Any], image: str = "r.example.com/team/debian:12") -> tuple[str, str]:
    return credentials(json.dumps({"auths": entries}).encode(), Reference.parse(image))


@pytest.mark.parametrize(
    "entry",
    [
        *("r.example.com", "https://r.example.com", "http://r.example.com/v2/", "R.example.com"),
        *("r.example.com/team", "r.example.com/team/debian", "*.example.com", "r.*.com/team"),
    ],
)
def test_an_entry_is_for_an_image(entry: str) -> None:
    assert of({"other.example.com": {}, entry: PAIR}) == ("me", "word")


@pytest.mark.parametrize(
    "entry",
    [
        *("example.com", "r.example.com:5000", "*.com", "*", "r.example.com/tea", "r.example.org"),
        *("r.example.com/team/debian/12", "r.example.com.evil.org", ""),
    ],
)
def test_an_entry_is_for_another_registry_or_folder(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="has no entry for"):
        of({entry: PAIR})


def test_the_entry_counts_that_names_most() -> None:
    more, most = {"username": "more", "password": "x"}, {"username": "most", "password": "x"}
    entries = {"r.example.com/team/debian": most, "r.example.com": PAIR, "r.example.com/team": more}
    assert of(entries)[0] == "most"
    assert of(entries, "r.example.com/team/other")[0] == "more"
    assert of(entries, "r.example.com/teams/debian")[0] == "me"


@pytest.mark.parametrize("name", ["docker.io", "https://index.docker.io/v1/", "index.docker.io"])
def test_the_hub_of_docker_has_names_of_its_own(name: str) -> None:
    assert of({name: PAIR}, "debian") == ("me", "word")


def test_user_and_password_may_stand_together() -> None:
    auth = b64encode(b"me:wo:rd").decode()
    assert of({"r.example.com": {"auth": auth}}) == ("me", "wo:rd")
    older = json.dumps({"r.example.com": {"auth": auth}}).encode()
    assert credentials(older, Reference.parse("r.example.com/a")) == ("me", "wo:rd")


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no Docker configuration"),
        (b'{"auths": []}', "no Docker configuration"),
        (b'{"auths": {"a.example": "x"}}', "no mapping"),
        (b'{"auths": {"a.example": {}}}', "neither user and password nor auth"),
        (b'{"auths": {"a.example": {"auth": "secret"}}}', "no base64"),
        (b'{"auths": {"a.example": {"auth": 1}}}', "no base64"),
        (b'{"auths": {"a.example": {"username": 1, "password": 2}}}', "neither"),
        (b'{"auths": {"a.example": {"identitytoken": "secret"}}}', "has a token"),
    ],
)
def test_a_configuration_that_holds_nothing_says_so_and_nothing_secret(
    configuration: bytes, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        credentials(configuration, Reference.parse("a.example/b"))
    assert "secret" not in str(caught.value)
