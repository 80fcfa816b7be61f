"""Which volumes domains and other volumes refer to."""

from __future__ import annotations

import pytest
from lxml import etree

from agent.core.host import RawDomain, RawVolume
from agent.core.volumes import mentions, untold, users_of, volume_xml, written_by


def disk(path: str, driver: str = "qcow2", attribute: str = "file", below: str = "") -> str:
    kind = f"<driver name='qemu' type='{driver}'/>" if driver else "<driver name='qemu'/>"
    return f"<disk>{kind}<source {attribute}='{path}'/>{below}</disk>"


def based_on(path: str, below: str = "<backingStore/>") -> str:
    return f"<backingStore type='file'><source file='{path}'/>{below}</backingStore>"


def domain(defined: str = "", active: str = "", name: str = "vm") -> RawDomain:
    def xml(disks: str) -> str:
        return f"<domain><devices>{disks}</devices></domain>" if disks else ""

    return RawDomain("uuid", name, "running", "booted", xml(defined), xml(active))


def volume(name: str, backing: str = "") -> RawVolume:
    return RawVolume("pool", name, f"/pool/{name}", 1, 1, backing)


def test_a_volume_is_made_as_libvirt_needs_it() -> None:
    made = etree.fromstring(volume_xml("x.qcow2", "qcow2", 1 << 30, "/pool/base", "raw"))
    assert made.findtext("name") == "x.qcow2"
    assert (made.findtext("capacity"), made.findtext("allocation")) == (str(1 << 30), "0")
    assert made.find("capacity[@unit='bytes']") is not None
    assert made.find("target/format[@type='qcow2']") is not None
    assert made.findtext("target/compat") == "1.1"
    assert made.findtext("backingStore/path") == "/pool/base"
    assert made.find("backingStore/format[@type='raw']") is not None


def test_a_raw_volume_has_no_version_and_one_without_a_base_names_none() -> None:
    made = etree.fromstring(volume_xml("x.raw", "raw", 1))
    assert made.find("target/compat") is None
    assert made.find("backingStore") is None


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        (disk("/pool/x.qcow2"), True),
        ("<disk><source volume='x.qcow2'/></disk>", True),
        ('<disk><source volume="x.qcow2"/></disk>', True),
        ("<disk><source><name>x.qcow2</name></source></disk>", True),
        (disk("/pool/x.qcow2.more"), True),  # one that merely looks alike counts too
        (disk("/pool/an-x.qcow2"), False),
        ("", False),
    ],
)
def test_a_domain_on_or_off_mentions_a_volume(xml: str, found: bool) -> None:
    assert mentions(domain(xml), "x.qcow2") is found
    assert mentions(domain(active=xml), "x.qcow2") is found


@pytest.mark.parametrize(
    ("defined", "active", "bases", "told"),
    [
        ("", "", {}, True),
        (disk("/a"), "", {}, False),
        (disk("/a", attribute="dev"), "", {}, False),
        (disk("/a", driver="raw"), "", {}, True),
        (disk("/a", driver=""), "", {}, True),
        ("<disk><source file='/a'/></disk>", "", {}, True),
        ("<disk><driver type='qcow2'/></disk>", "", {}, True),  # an empty drive
        (disk("/a"), "", {"/a": ""}, True),
        (disk("/a"), "", {"/a": "/b"}, False),
        (disk("/a"), "", {"/a": "/b", "/b": ""}, True),
        (disk("/a"), "", {"/a": "/b", "/b": "/a"}, True),  # a loop ends
        (disk("/a"), disk("/a", below="<backingStore/>"), {}, True),
        (disk("/a"), disk("/a"), {}, False),
        (disk("/a"), disk("/a", below=based_on("/b")), {}, True),
        (disk("/a"), disk("/a", below=based_on("/b", "")), {}, False),
        (disk("/a"), disk("/a", below=based_on("/b", "")), {"/b": ""}, True),
        (disk("/a") + disk("/c"), "", {"/a": ""}, False),
        (disk("/a", driver="raw") + disk("/c"), "", {}, False),
    ],
)
def test_a_domain_whose_files_nobody_can_tell_is_named(
    defined: str, active: str, bases: dict[str, str], told: bool
) -> None:
    found = untold([domain(defined, active)], bases)
    assert (found == ()) is told
    assert all(each.startswith("domain vm (/") for each in found)


def test_a_domain_that_cannot_be_read_may_use_any_volume() -> None:
    mute = RawDomain("uuid", "mute", "running", "booted", "", unread=True)
    assert mentions(mute, "x")
    assert untold([mute], {}) == ("domain mute",)
    assert users_of("x", [mute], ()) == (
        "domain mute (which does not answer, so that nobody can tell)",
    )


def test_who_uses_a_volume_is_told_in_words() -> None:
    domains = [domain(disk("/pool/x"), name="vm2"), domain(disk("/pool/x"), name="vm1"), domain()]
    volumes = [volume("y", "/pool/x"), volume("z", "/pool/an-x"), volume("x"), volume("w", "x")]
    assert users_of("x", domains, volumes) == (
        "domain vm1",
        "domain vm2",
        "volume w",
        "volume y",
    )
    assert users_of("unused", domains, volumes) == ()


def test_a_domain_writes_to_the_disks_of_ours_that_are_not_read_only() -> None:
    def ours(number: str, more: str = "") -> str:
        return f"<disk type='file'>{more}<serial>{number * 32}</serial></disk>"

    disks = (ours("1"), ours("2", "<readonly/>"), "<disk type='file'><serial>x</serial></disk>")
    found = written_by(domain("".join(disks), ours("3")))
    assert found == {"1" * 32, "3" * 32}
    assert written_by(domain()) == frozenset()
