"""What README says of adding a field and a kind is all that it takes: done in a copy of the project, and run there. What is forgotten is named by a test."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PARTS = ("agent", "schemas", "examples", "tests", "pyproject.toml", "README.md", "CHANGELOG.md")
FOLDER = "usb_device"
KIND = "USBDevice"

RECORD = """\
from agent.core.facts import Decision, View
from agent.core.known import USERS
from agent.core.model import Object
from agent.kinds.record import KindRecord


def decide(obj: Object, view: View) -> Decision:
    phase = "Bound" if view.read(USERS, obj.key) else "Available"
    return Decision(status={"phase": phase}, export=obj.spec["address"], gone=bool(obj.deleted))


RECORD = KindRecord(decide=lambda _: decide)
"""
EXAMPLE = f"""\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: {KIND}
metadata: {{name: spare}}
spec: {{address: "02:00:00:00:00:01"}}
"""
TESTS = f"""\
import yaml
from pathlib import Path
from agent.core.model import Key, Manifest
from agent.core.references import references
from agent.core.schema import Catalogue
from tests.rig import Rig
from tests.product.conftest import *

EXAMPLE = yaml.safe_load(Path("examples/usb-device.yaml").read_text())


def test_it_has_a_status_and_goes_with_its_manifest(rig: Rig) -> None:
    rig.push({{"usb.yaml": EXAMPLE}})
    rig.settle()
    path = "namespaces/default/usbdevices/spare.yaml"
    assert rig.document(path)["status"]["phase"] == "Available"
    rig.push({{"usb.yaml": None, "other.yaml": {{**EXAMPLE, "metadata": {{"name": "other"}}}}}})
    rig.settle()
    assert path not in rig.documents()


def test_a_machine_that_names_one_refers_to_it() -> None:
    spec = {{"usbDevices": [{{"name": "spare"}}]}}
    vm = Manifest(Key("VirtualMachine", "default", "vm"), {{}}, {{}}, {{"spec": spec}})
    assert [key for _, key in references(Catalogue.load(), vm)] == [Key("{KIND}", "default", "spare")]
"""


def replaced(file: Path, *pairs: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in pairs:
        assert old in text, f"{file.name} has no {old!r} any more"
        text = text.replace(old, new, 1)
    file.write_text(text)


def add_kind(copy: Path) -> None:
    """A schema, a folder below agent/kinds, one line in the registry, an example, and tests."""
    schema = json.loads((copy / "schemas" / "storageclass.json").read_text())
    fields = schema["properties"]
    address = {"type": "string", "maxLength": 17, "description": "Six octets, with colons."}
    spec = {"type": "object", "description": "What is wanted.", "properties": {"address": address}}
    schema |= {
        "title": KIND,
        "description": "An address of an interface.",
        "x-kind": {
            "apiVersions": ["virtualization.deckhouse.io/v1alpha2"],
            "kind": KIND,
            "plural": "usbdevices",
            "singular": "usbdevice",
            "shortNames": ["usb"],
            "scope": "Namespaced",
            "word": "usb",
        },
        "x-columns": schema["x-columns"][-1:],
        "properties": {
            "apiVersion": {
                **fields["apiVersion"],
                "enum": ["virtualization.deckhouse.io/v1alpha2"],
            },
            "kind": {**fields["kind"], "const": KIND},
            "metadata": fields["metadata"],
            "spec": {**spec, "required": ["address"], "additionalProperties": False},
            **{name: fields[name] for name in ("status",) if name in fields},
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
    }
    (copy / "schemas" / "usbdevice.json").write_text(json.dumps(schema))
    package = copy / "agent" / "kinds" / FOLDER
    package.mkdir()
    (package / "__init__.py").write_text(RECORD)
    replaced(
        copy / "agent" / "kinds" / "registry.py",
        (
            '    "VirtualMachineClass": ',
            f'    "{KIND}": {FOLDER}.RECORD,\n    "VirtualMachineClass": ',
        ),
        ("    virtual_machine_class,\n", f"    virtual_machine_class,\n    {FOLDER},\n"),
    )
    (copy / "examples" / "usb-device.yaml").write_text(EXAMPLE)
    tests = copy / "tests" / "kinds" / FOLDER
    tests.mkdir()
    (tests / "__init__.py").touch()
    (tests / "test_addresses.py").write_text(TESTS)


def add_field(copy: Path) -> None:
    """Its schema, the element of the domain that expresses it, and cases."""
    schema = copy / "schemas" / "virtualmachine.json"
    document = json.loads(schema.read_text())
    document["properties"]["spec"]["properties"]["vmPort"] = {
        "type": "string",
        "enum": ["On", "Off"],
        "x-apply-because": "the port is there from the start",
        "description": "Whether the guest finds VMware's port.",
    }
    schema.write_text(json.dumps(document, indent=2))
    elements = copy / "agent" / "kinds" / "virtual_machine" / "elements"
    replaced(
        elements / "features.py",
        ("    @property\n", '    vmport: str = ""\n\n    @property\n'),
        (
            'return Features((), "utc")',
            'return Features((), "utc", wanted.spec.get("vmPort", "").lower())',
        ),
        ('"clock", "offset"))', '"clock", "offset"), attribute(root, "features/vmport", "state"))'),
        ('"clock": {"offset"', '"vmPort": features.vmport or None,\n        "clock": {"offset"'),
    )
    replaced(
        copy / "agent" / "kinds" / "virtual_machine" / "spec.py",
        (
            "    enableParavirtualization: bool\n",
            '    enableParavirtualization: bool\n    vmPort: NotRequired[Literal["On", "Off"]]\n',
        ),
    )
    port = "{% if features.vmport %}<vmport state='{{ features.vmport }}'/>{% endif %}"
    replaced(elements / "features.xml.j2", ("    <apic/>\n", f"    <apic/>{port}\n"))
    replaced(
        copy / "tests" / "product" / "test_fields.py",
        (
            "CASES: dict[str, Case] = {\n",
            """CASES: dict[str, Case] = {
    "vmPort": Case(
        {"vmPort": "On"}, {"vmPort": "Off"}, [replaced("vmPort", "On", "Off")], "<vmport state=\\"off\\"/>"
    ),
""",
        ),
    )
    cases = copy / "tests" / "golden" / "cases"
    shutil.copytree(cases / "one-core", cases / "no-vmport")
    replaced(cases / "no-vmport" / "manifest.yaml", ("  cpu:\n", "  vmPort: Off\n  cpu:\n"))
    replaced(cases / "no-vmport" / "manifest.yaml", ("vmPort: Off", 'vmPort: "Off"'))
    replaced(
        cases / "no-vmport" / "domain.xml",
        ("    <apic/>\n", "    <apic/><vmport state='off'/>\n"),
        ('"virtualMachineClassName":"host"}', '"virtualMachineClassName":"host","vmPort":"Off"}'),
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one field and one kind more."""
    copy = tmp_path_factory.mktemp("project")
    without = shutil.ignore_patterns("__pycache__", "earlier", "e2e", "guest", "benchmarks")
    for part in PARTS:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, copy / part, ignore=without)
        else:
            shutil.copy(PROJECT / part, copy / part)
    add_kind(copy)
    add_field(copy)
    return copy


def run(project: Path, tests: Iterable[str], *named: str) -> tuple[int, str]:
    """Exit code and output of some of the copy's own tests; `named` are words of their names."""
    words = ["-k", " or ".join(named)] if named else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


HOLDS = ("tests/test_layout.py", "tests/test_examples.py", "tests/core/test_schema.py")
FIELD = ("tests/product/test_fields.py", "tests/golden/test_golden.py")


def test_a_kind_takes_just_the_places_that_readme_names(project: Path) -> None:
    code, told = run(project, (*HOLDS, "tests/core/test_references.py", f"tests/kinds/{FOLDER}"))
    assert code == 0, told


def test_a_field_takes_just_the_places_that_readme_names(project: Path) -> None:
    code, told = run(project, FIELD, "vmPort", "every_field", "no-vmport")
    assert code == 0, told


@pytest.mark.parametrize(
    ("forgotten", "old", "named"),
    [
        ("examples/usb-device.yaml", EXAMPLE, "test_each_kind_has_one"),
        ("agent/kinds/registry.py", f'    "{KIND}": {FOLDER}.RECORD,\n', "test_each_kind_that_has_a_schema_has_a_record"),
        ("tests/product/test_fields.py", '    "vmPort": Case(', "test_every_field_has_a_case"),
    ],
)  # fmt: skip
def test_what_is_forgotten_is_named(project: Path, forgotten: str, old: str, named: str) -> None:
    file = project / forgotten
    whole = file.read_text()
    file.write_text(whole.replace(old, '    "cpu": Case(' if "Case" in old else ""))
    try:
        code, told = run(project, (*HOLDS, *FIELD), named)
    finally:
        file.write_text(whole)
    assert code == 1
    assert named in told
    assert "vmPort" in told or KIND in told
