"""A domain of which only parts are parsed is read as it is where all of it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.host import RawDomain
from agent.core.schema import Catalogue
from agent.hypervisor.host import LibvirtHost
from agent.kinds.virtual_machine.definition import read
from agent.kinds.virtual_machine.seen import Seen, seen
from tests.golden.case import CASES, names
from tests.golden.test_golden import GOLDEN

RULES = Catalogue.load().machine
WHOLE = "<!-- with a comment it is parsed whole -->"
FOREIGN = """
    <app:note xmlns:app="urn:app">of another program
  <memory unit='KiB'>1</memory>
    <disk type='file' device='disk'>
    </disk></app:note>"""
COPY = """
      <mirror type='file' job='copy' ready='yes'>
        <source file='/pool/copy.qcow2'/>
      </mirror>
      <backingStore type='file'>
        <source file='/pool/base.qcow2'/>
      </backingStore>"""
STRANGE = (
    "<!-- <cpu mode='custom'/>\n  -->",
    "<?note\n  <cpu/> ?>",
    "<![CDATA[\n  <vcpu>9</vcpu>\n]]>",
    "<!-- </os>\n  <clock offset='variable'/>\n  <os> -->",
    "<?note </os>\n  <clock offset='variable'/>\n  <os> ?>",
    "\n\n",
    "words",
    "\n  <cpu mode='maximum'/>",
    "\n  <vcpu>7</vcpu><vcpu>8</vcpu>",
    "\n  <description>of two\n  lines</description>",
    "\n    <disk type='block' device='disk'/>",
    "\n    <disk type='block' device='disk'>\n    </disk>",
    "\n    <interface type='user'></interface>",
    "\n  <devices>\n    <interface type='user'/>\n  </devices>",
    "\n    <controller type='usb' index='9'>\n    </controller>",
    "<controller type='usb' index='9'/>",
    "<disk type='block' device='disk'/><controller type='usb' index='9'></controller>",
    "</disk><disk>",
    "</controller><interface/><controller>",
    "</os><vcpu>3</vcpu><os>",
    "</devices><devices>",
    FOREIGN,
    COPY,
)
"""What somebody may put between two lines, or do to them."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The running instance of each case, as libvirt prints it."""
    node = tmp_path_factory.mktemp("node") / "node.xml"
    node.write_text("<node/>")
    printed = {}
    for name in names():
        host = LibvirtHost("node", f"test://{node}")  # empty, and private to this connection
        xml = (CASES / name / GOLDEN).read_text()
        host.define(xml)
        host.start(read(DomainText(xml)).uuid)
        (raw,) = host.read(frozenset()).domains.values()
        printed[name] = raw.active_xml
        host.close()
    return printed


def read_of(xml: str) -> Seen:
    shown = seen(RawDomain("", "", "running", "", xml, xml), RULES)
    return replace(shown, raw=None)


def test_what_libvirt_prints_is_not_parsed_whole(printed: dict[str, str]) -> None:
    for name, xml in printed.items():
        assert DomainText(xml).apart, name
        assert not DomainText(xml + WHOLE).apart
        assert read_of(xml) == read_of(xml + WHOLE), name


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_becomes_of_its_text(printed: dict[str, str], data: st.DataObject) -> None:
    """Edited by hand, by another program, or printed by one."""
    lines = data.draw(st.sampled_from(sorted(printed.values()))).splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, len(lines) - 1))
        until = data.draw(st.integers(at, min(at + 6, len(lines))))
        match data.draw(st.sampled_from(("put", "drop", "repeat", "move", "indent", "join"))):
            case "put":
                lines[at - 1] = lines[at - 1].rstrip() + data.draw(st.sampled_from(STRANGE)) + "\n"
            case "drop":
                del lines[at:until]
            case "repeat":
                lines[at:at] = lines[at:until]
            case "move":
                moved, lines[at:until] = lines[at:until], []
                to = data.draw(st.integers(1, len(lines)))
                lines[to:to] = moved
            case "indent":
                lines[at] = " " * data.draw(st.integers(0, 6)) + lines[at].lstrip()
            case "join":
                lines[at - 1] = lines[at - 1].rstrip()
    xml = "".join(lines)
    try:
        parse(xml)
    except etree.XMLSyntaxError:
        assume(False)
    assert read_of(xml) == read_of(xml + WHOLE)


@pytest.mark.parametrize("strange", STRANGE)
def test_whatever_stands_in_it(printed: dict[str, str], strange: str) -> None:
    """At the end of every line in turn, where it can be."""
    lines = printed["user-data"].splitlines(keepends=True)
    tried = 0
    for at in range(len(lines)):
        xml = "".join((*lines[:at], lines[at].rstrip("\n"), strange, "\n", *lines[at + 1 :]))
        try:
            parse(xml)
        except etree.XMLSyntaxError:
            continue
        tried += 1
        assert read_of(xml) == read_of(xml + WHOLE)
    assert tried
