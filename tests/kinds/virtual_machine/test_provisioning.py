"""What a guest configures itself from, and what is said where it is not to be had."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.changes import SENSITIVE
from agent.core.known import OBJECT
from agent.core.model import Json, Key, Manifest, Object
from agent.kinds.secret import CLOUD_INIT
from agent.kinds.virtual_machine.provisioning import SYSPREP, Medium, provisioning
from tests.kinds.deciding import made, view_of
from tests.kinds.virtual_machine.test_deeds import KEY

SECRET = Key("Secret", "default", "secret")
USER_DATA = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "secret"}}
ANSWERS = {"type": "SysprepRef", "sysprepRef": {"kind": "Secret", "name": "secret"}}


def code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(kind: str | None, deleted: str = "", **data: str) -> Object:
    content = {"data": {name.replace("_", "."): text for name, text in data.items()}}
    whole = content if kind is None else {**content, "type": kind}
    return Object(Manifest(SECRET, {}, {}, whole), "secret-uid", 1, "", "", deleted)


def found(wanted: Json, there: Object | None = None) -> tuple[Medium | None, str]:
    """The medium, and what is wrong."""
    spec = {"provisioning": wanted} if wanted else {}
    medium, condition = provisioning(made(KEY, spec), view_of({(OBJECT, SECRET): there}))
    assert (condition.status == "True") is (not condition.message)
    return medium, condition.message


@pytest.mark.parametrize(
    ("wanted", "there", "sysprep", "files"),
    [
        ({"type": "UserData", "userData": "a"}, None, False, {"user-data": b"a"}),
        (USER_DATA, secret(CLOUD_INIT, userData=code("a")), False, {"user-data": b"a"}),
        (USER_DATA, secret(CLOUD_INIT, userdata=code("a"), userData=""), False, {"user-data": b"a"}),
        (USER_DATA, secret(CLOUD_INIT, userData=code("a"), userdata=code("b")), False, {"user-data": b"a"}),
        (ANSWERS, secret(SYSPREP, unattend_xml=code("a")), True, {"unattend.xml": b"a"}),
        (
            ANSWERS,
            secret(SYSPREP, unattend_xml=code("a"), autounattend_xml=code("b")),
            True,
            {"unattend.xml": b"a", "autounattend.xml": b"b"},
        ),
    ],
)  # fmt: skip
def test_a_medium_holds_what_was_told(
    wanted: Json, there: Object | None, sysprep: bool, files: Mapping[str, bytes]
) -> None:
    medium, message = found(wanted, there)
    assert message == ""
    assert medium is not None
    assert (medium.sysprep, medium.files, medium.known) == (sysprep, files, True)
    assert medium.serial == ("sysprep" if sysprep else "cloudinit")
    assert len(medium.digest) == 32


def test_what_a_guest_is_told_stands_in_no_log() -> None:
    medium, _ = found({"type": "UserData", "userData": "password"})
    assert "password" not in repr(medium)


@pytest.mark.parametrize("wanted", [None, {}, {"type": "UserData", "userData": ""}])
def test_nothing_told_is_no_medium(wanted: Json) -> None:
    assert found(wanted) == (None, "")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (None, "is not there"),
        (secret(CLOUD_INIT, "2023-11-14T22:13:20Z", userData=code("a")), "is not there"),
        (secret(SYSPREP, userData=code("a")), f"is of type {SYSPREP}; it has to be"),
        (secret(None, userData=code("a")), "is of type Opaque; it has to be"),
        (secret(CLOUD_INIT, userData="?"), "is not Base64"),
        (secret(CLOUD_INIT, other=code("a")), "none of the keys userData and userdata"),
        (secret(CLOUD_INIT, userData=""), "or they are empty"),
        (
            Object(Manifest(SECRET, {}, {}, {"type": CLOUD_INIT}), "", 1, "", ""),
            "or they are empty",
        ),
    ],
)
def test_what_is_wrong_with_a_secret_is_told(there: Object | None, message: str) -> None:
    medium, told = found(USER_DATA, there)
    assert medium is None
    assert told.startswith("Secret default/secret")
    assert message in told


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ({"type": "UserData", "userData": SENSITIVE}, None),
        (USER_DATA, secret(CLOUD_INIT, userData=SENSITIVE)),
        (ANSWERS, secret(SYSPREP, unattend_xml=SENSITIVE, autounattend_xml=code("b"))),
    ],
)
def test_where_only_a_marker_is_left_the_present_medium_stays(
    wanted: Json, there: Object | None
) -> None:
    medium, _ = found(wanted, there)
    assert medium == Medium(wanted is ANSWERS, {})
    assert medium is not None
    assert not medium.known


def test_each_content_has_a_name_of_its_own() -> None:
    """Of each machine, and whichever file it stands in."""
    told: list[Any] = [
        secret(SYSPREP, unattend_xml=code("a")),
        secret(SYSPREP, autounattend_xml=code("a")),
        secret(SYSPREP, unattend_xml=code("b")),
        secret(SYSPREP, unattend_xml=code("a"), autounattend_xml=code("a")),
    ]
    media = [found(ANSWERS, each)[0] for each in (*told, told[0])]
    names = [each.volume("default", "vm-uid") for each in media if each is not None]
    assert len(names) == 5
    assert len(set(names)) == 4
    assert names[0] == names[4]
    other = provisioning(
        made(KEY._replace(name="other"), {"provisioning": ANSWERS}),
        view_of({(OBJECT, SECRET): told[0]}),
    )[0]
    assert other is not None
    assert media[0] is not None
    assert other.digest != media[0].digest
