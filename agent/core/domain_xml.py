"""A domain's XML as a tree, and our metadata in it."""

from __future__ import annotations

from lxml import etree

from agent.core.metadata import DomainMetadata, to_xml
from agent.core.xml import Element

_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    remove_comments=True,
    huge_tree=True,
    collect_ids=False,  # an index that nothing asks, and a fifth of the time
)


def parse(xml: str) -> Element:
    """A domain's XML as a tree. Entities and the network are off: parts of it come from people."""
    root: Element = etree.fromstring(xml.encode(), _PARSER)
    return root


def with_metadata(xml: str, metadata: DomainMetadata) -> str:
    """A domain's XML with other metadata of ours, and all else as it stands there, what we do not
    know included.
    """
    return with_metadata_xml(xml, to_xml(metadata))


def bare(name: str, uuid: str, metadata: DomainMetadata) -> str:
    """The XML of a domain of which no more is known than what it remembers."""
    root = etree.Element("domain")
    etree.SubElement(root, "name").text = name
    etree.SubElement(root, "uuid").text = uuid
    return with_metadata(etree.tostring(root, encoding="unicode"), metadata)


def with_metadata_xml(xml: str, metadata: str) -> str:
    """As with_metadata, for metadata that is written already."""
    root = parse(xml)
    new = etree.fromstring(metadata)  # made by us
    parent = root.find("metadata")
    if parent is None:
        parent = etree.Element("metadata")
        uuid = root.find("uuid")
        root.insert(0 if uuid is None else root.index(uuid) + 1, parent)
    old = parent.find(new.tag)
    if old is None:
        parent.append(new)
    else:
        parent.replace(old, new)
    return etree.tostring(root, encoding="unicode")
