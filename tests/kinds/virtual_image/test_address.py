"""The whole address of a download, with what is secret of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.addresses import hidden
from agent.core.annotations import HTTP_SECRET
from agent.core.changes import SENSITIVE
from agent.core.known import Fact
from agent.core.model import Json, Key, Manifest, Object
from agent.kinds.virtual_image.address import complete_address
from tests.kinds.deciding import made, view_of

URL = "https://host/image"
OWN = Key("VirtualImage", "lab", "image")
CLUSTER = Key("ClusterVirtualImage", "", "image")
LOGIN = {"username": "user", "password": "word"}


def secret(namespace: str, deleted: str = "", **data: str) -> Mapping[Fact, Any]:
    key = Key("Secret", namespace, "login")
    content: dict[str, Json] = {"data": data} if data else {}
    obj = Object(Manifest(key, {}, {}, content), "uid", 1, "", "0123456789abcdef:f.yaml", deleted)
    return {(known.OBJECT, key): obj}


def encoded(**data: str) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}


def image(key: Key, named: str = "") -> Object:
    return made(key, {}, **({HTTP_SECRET: named} if named else {}))


def test_an_address_without_a_secret_is_whole() -> None:
    assert complete_address(image(OWN), URL, view_of(secret("lab", **encoded(**LOGIN)))) == (
        URL,
        "",
    )


@pytest.mark.parametrize(
    ("key", "named", "namespace"),
    [
        (OWN, "login", "lab"),
        (OWN, "lab/login", "lab"),
        (OWN, "/login", "lab"),
        (CLUSTER, "login", "default"),
        (CLUSTER, "prod/login", "prod"),
    ],
)
def test_a_secret_is_looked_for_where_its_name_says(key: Key, named: str, namespace: str) -> None:
    facts = secret(namespace, **encoded(**LOGIN))
    expected = "https://user:word@host/image"
    assert complete_address(image(key, named), URL, view_of(facts)) == (expected, "")
    url, lacking = complete_address(image(key, named), URL, view_of({}))
    assert url == URL
    assert lacking == (
        f"Secret {namespace}/login is not there: the download begins as soon as it is."
    )


def test_no_secret_of_another_namespace_is_used() -> None:
    facts = secret("prod", **encoded(**LOGIN))
    url, lacking = complete_address(image(OWN, "prod/login"), URL, view_of(facts))
    assert url == URL
    assert "of its own namespace only" in lacking


def test_a_secret_that_goes_counts_no_more() -> None:
    facts = secret("lab", deleted="1970-01-01T00:00:00Z", **encoded(**LOGIN))
    url, lacking = complete_address(image(OWN, "login"), URL, view_of(facts))
    assert url == URL
    assert "is not there" in lacking


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"query": "token=1"}, "https://host/image?token=1"),
        ({"username": "user", "password": "word\n"}, "https://user:word@host/image"),
    ],
)
def test_a_value_counts_without_the_space_around_it(data: dict[str, str], expected: str) -> None:
    facts = secret("lab", **encoded(**data))
    assert complete_address(image(OWN, "login"), URL, view_of(facts)) == (expected, "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "has none of the keys username, password, query"),
        ({"other": "eA=="}, "has none of the keys"),
        ({"username": ""}, "has none of the keys"),
        ({"username": "eA=="[:-1]}, "no text in Base64"),
        ({"username": "/w=="}, "no text in Base64"),
        ({"username": "eA==", "password": SENSITIVE}, "commit 0123456789ab, which has all of it"),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(data: dict[str, str], words: str) -> None:
    url, lacking = complete_address(image(OWN, "login"), URL, view_of(secret("lab", **data)))
    assert url == URL
    assert words in lacking
    assert lacking.startswith(("Secret lab/login ", "The status branch has Secret lab/login "))


def test_an_address_whose_secret_is_gone_with_its_commit_says_so() -> None:
    known = hidden("https://user:word@host/image")
    facts = secret("lab", **encoded(**LOGIN))
    url, lacking = complete_address(image(OWN, "login"), known, view_of(facts))
    assert url == known
    assert lacking.startswith("The status branch has its address without what is secret")
