"""What people, guests and other servers write is shown as text, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from agent.web.pages import visible
from tests.fleets import Fleet, condition, machine, whole
from tests.gitrepo.git import put
from tests.web.sites import HTML, JSON, opened

HTML_TEXT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>&amp;"
ANSI = "\x1b[31mred\x1b]0;title\x07\x9b2J"
BIDI = "safe\u202egnp.exe\u2066\u200f\u2028\u200b"
NASTY = f"{HTML_TEXT}{ANSI}{BIDI}"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
TEMPLATES = Path(__file__).parents[2] / "agent" / "web" / "templates"


class Tags(HTMLParser):
    """What a page is made of that could do something, or come from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[str] = []
        self.scripts: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.add(dict(attrs).get("src"))
        if tag in ("img", "iframe", "object", "embed", "style", "base"):
            self.strange.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.strange.append(f"{tag} {name}")
            if name in ("href", "src", "action") and not (value or "").startswith(
                ("/", "#", "https://git.example.com/")
            ):
                self.strange.append(f"{tag} {name}={value}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    fleet = Fleet(tmp_path_factory.mktemp("nasty") / "fleet.git")
    commit = put(fleet.root, {"vms/vm.yaml": "a: 1\n"})
    node = {"name": NASTY, "ready": False, "message": NASTY}
    fleet.agent(version=NASTY, node=node, repository={"ready": False, "message": NASTY})
    change = {"path": NASTY, "currentValue": {NASTY: NASTY}, "desiredValue": NASTY}
    status = {
        "nodeName": NASTY,
        "ipAddress": NASTY,
        "guestOSInfo": {"name": NASTY, NASTY: [NASTY]},
        "restartAwaitingChanges": [{**change, "operation": "replace"}],
        "runningSpec": {"cpu": NASTY},
        "virtualMachineClassName": NASTY,
        "blockDeviceRefs": [{"kind": "VirtualDisk", "name": NASTY}, {NASTY: NASTY}],
    }
    conditions = (condition(NASTY, "False", NASTY), condition("DriftDetected", "True", NASTY))
    value = machine("vm", conditions=conditions, status=status, labels={NASTY: NASTY})
    value["metadata"]["annotations"] = {"gitvirt.io/source": f"{commit}:vms/{NASTY}", NASTY: NASTY}
    value["spec"]["provisioning"] = {"userData": NASTY}
    named = {**machine("x"), "metadata": {"name": NASTY, "namespace": NASTY}}
    operation = whole("VirtualMachineOperation", "op", {"type": NASTY}, {"phase": NASTY})
    gone = whole("VirtualDisk", "data", {}, {"conditions": [condition("Deleted", "True", NASTY)]})
    gone["metadata"]["name"] = NASTY
    problem = {"file": NASTY, "line": 1, "resource": NASTY, "path": NASTY, "message": NASTY}
    fleet.write(
        value,
        operation,
        files={
            "namespaces/x/virtualmachines/x.yaml": named,
            "trash/namespaces/x/virtualdisks/x.1.yaml": gone,
            f"plans/{quote(NASTY, safe='')}.md": NASTY,
            "problems.yaml": [problem],
        },
        message=f"{NASTY}\n\n{NASTY}",
    )
    with opened(fleet, forge="https://git.example.com/{commit}/{path}") as client:
        yield client


def addresses() -> list[str]:
    place = f"{quote(NASTY, safe='')}"
    return [
        *("/", "/vms", "/vms?wide=1", "/nodes", "/vmops", "/plans", "/trash", "/history"),
        *("/vms/default/vm", "/vmops/default/op", f"/vms?q={place}", f"/vms?label={place}"),
        *(f"/vms?namespace={place}&sort={place}&phase={place}&page={place}", f"/{place}"),
        *(f"/vms/default/{place}", f"/plans/{place}", f"/history?before={place}"),
    ]


@pytest.mark.parametrize("address", addresses())
def test_nothing_of_it_steers_a_page(client: TestClient, address: str) -> None:
    page = client.get(address, headers=HTML).text
    assert "alert(1)" in page or address == "/plans" or "history?" in address or "op" in address
    assert CONTROL.findall(page) == []
    tags = Tags()
    tags.feed(page)
    assert tags.strange == []
    assert tags.scripts == {"/static/page.js"}


@pytest.mark.parametrize("address", addresses())
def test_nothing_of_it_steers_a_terminal_that_prints_json(client: TestClient, address: str) -> None:
    answer = client.get(address, headers=JSON)
    assert answer.headers["content-type"] == "application/json"
    assert answer.text.isascii()
    assert CONTROL.findall(answer.text) == []


def test_a_machine_of_any_name_has_an_address(client: TestClient) -> None:
    found = client.get("/vms", headers=JSON).json()["items"]
    (strange,) = (each for each in found if each["name"] != "vm")
    assert strange["name"].startswith(HTML_TEXT)
    assert strange["href"].isascii()
    assert strange["href"].count("/") == 3


def test_a_command_that_is_copied_holds_a_name_and_no_program(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet.git")
    value = machine("x; reboot", namespace="$(reboot)")
    change = {"path": "cpu.cores", "operation": "replace", "currentValue": 1, "desiredValue": 2}
    value["status"]["restartAwaitingChanges"] = [change]
    value["metadata"]["annotations"] = {"gitvirt.io/source": "1;reboot;:vms/vm.yaml"}
    fleet.write(files={"namespaces/x/virtualmachines/x.yaml": value})
    with opened(fleet) as client:
        (shown,) = client.get("/vms", headers=JSON).json()["items"]
        one = client.get(shown["href"], headers=JSON).json()
    for each in one["commands"]:
        assert "'x; reboot'" in each["command"]
        assert "-n '$(reboot)'" in each["command"]
    assert "Withdraw" not in [each["what"] for each in one["commands"]]


def test_metrics_hold_what_prometheus_can_read(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert CONTROL.findall(text) == []
    assert "\\u202e" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_signs_that_nobody_sees_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_each_answer_lets_nothing_from_elsewhere_run(client: TestClient) -> None:
    for address in ("/", "/vms", "/nothing", "/static/page.css", "/metrics", "/healthz"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_templates_need_nothing_that_the_policy_forbids() -> None:
    for template in TEMPLATES.rglob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert re.findall(r"<script(?![^>]*\ssrc=)|\sstyle=|\son[a-z]+=|<style", text) == []
        assert re.findall(r"\|\s*safe\b|Markup|autoescape", text) == []
        assert re.findall(r"https?://", text) == []


def test_no_secret_is_shown_that_the_status_branch_does_not_have(client: TestClient) -> None:
    """A page knows nothing but that branch, commits and the place of a manifest in its file."""
    answer = client.get("/vms/default/vm", headers=JSON).json()
    assert all(set(each) == {"commit", "author", "time", "subject"} for each in answer["changes"])
