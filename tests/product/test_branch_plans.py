"""The plans of branches that are not merged yet, and that a hostile one costs the agent nothing."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.core.ledger import PLANS
from agent.gitrepo.refs import Spaces
from agent.gitrepo.repository import RepositoryError
from agent.kinds.virtual_machine_class.validation import IS_DEFAULT
from agent.reconcile.plans import process
from agent.reconcile.plans.branches import path_of
from tests.memory_repository import MemoryRepository
from tests.plans import branch
from tests.rig import MAIN, START, STATUS, Rig, disk, encoded, machine, manifest

DAY = 86400.0


def settle(rig: Rig) -> None:
    """Until nothing is left to do, and every branch has its plan."""
    rig.settle()
    for _ in range(200):
        if not rig.agent.reconciler.planning:
            return
        rig.now += min(rig.step(), 1.0)
    raise AssertionError("some branch has no plan")


def plans(rig: Rig) -> dict[str, str]:
    found = rig.documents()
    return {
        path.removeprefix(PLANS): data.decode()
        for path, data in found.items()
        if path.startswith(PLANS)
    }


def refs(rig: Rig) -> dict[str, str]:
    assert isinstance(rig.repo, MemoryRepository)
    return rig.repo.refs


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()], "other.yaml": disk("other")})
    rig.settle()
    rig.verbs()
    return rig


def test_each_open_branch_has_its_plan(on: Rig) -> None:
    two = branch(on, "two-cores", {"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    branch(on, "team/more", {"new.yaml": [disk("new"), machine("new", disks=("new",))]})
    settle(on)
    assert plans(on).keys() == {"two-cores.md", "team%2Fmore.md"}
    assert plans(on)["two-cores.md"] == (
        "### Plan: 1 to change, 1 needs a restart\n"
        "\n"
        f"Branch **two-cores** at commit `{two}`.\n"
        "\n"
        "- **change** VirtualMachine default/vm\n"
        "  - restart: cpu.cores: 1 → 2\n"
        "  - because a guest has the cores, and the share of them, that it was started with\n"
        "  - does: DefineDomain\n"
    )
    assert plans(on)["team%2Fmore.md"].startswith("### Plan: 2 to create\n")
    assert "StartDomain" in plans(on)["team%2Fmore.md"]
    assert on.verbs() == []


def test_a_branch_that_is_behind_shows_only_what_it_changes_itself(on: Rig) -> None:
    start = refs(on)[MAIN]
    on.push(
        {
            "other.yaml": None,
            "late.yaml": disk("late"),
            "vm.yaml": [disk(), machine(cpu={"cores": 4})],
        }
    )
    on.settle()
    branch(on, "behind", {"mine.yaml": disk("mine")}, start)
    branch(on, "removes", {"late.yaml": None})
    settle(on)
    page = plans(on)["behind.md"]
    assert page.startswith("### Plan: 1 to create\n")
    assert "default/mine" in page
    assert "late" not in page
    assert "other" not in page
    assert "default/vm" not in page
    assert "- **delete** VirtualDisk default/late" in plans(on)["removes.md"]


def test_a_branch_that_has_merged_main_is_compared_from_there(on: Rig) -> None:
    branch(on, "topic", {"mine.yaml": disk("mine")})
    on.push({"late.yaml": disk("late")})
    on.settle()
    merge(on, "topic", {"late.yaml": disk("late")})
    settle(on)
    assert plans(on)["topic.md"].startswith("### Plan: 1 to create\n")
    assert "late" not in plans(on)["topic.md"]


def test_a_branch_and_main_that_change_one_machine_are_planned_together(on: Rig) -> None:
    start = refs(on)[MAIN]
    on.push({"vm.yaml": [disk(), machine(metadata={"labels": {"a": "b"}})]})
    on.settle()
    branch(on, "topic", {"vm.yaml": [disk(), machine(memory={"size": "512Mi"})]}, start)
    settle(on)
    page = plans(on)["topic.md"]
    assert page.startswith("### Plan: 1 to change, 1 needs a restart\n")
    assert "labels" not in page
    assert "memory.size: 256Mi → 512Mi" in page


def test_a_branch_that_does_not_merge_says_so(on: Rig) -> None:
    start = refs(on)[MAIN]
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})], "other.yaml": None})
    on.settle()
    topic = {"vm.yaml": [disk(), machine(cpu={"cores": 4})], "other.yaml": disk("other", "2Gi")}
    branch(on, "topic", topic, start)
    settle(on)
    page = plans(on)["topic.md"]
    assert page.startswith("### Plan: 1 to bring back, 1 to change, 1 needs a restart, 2 problems")
    assert "- **problem** vm.yaml: does not merge: its lines are changed here and" in page
    assert "- **problem** other.yaml: does not merge: it is changed here and removed" in page
    assert "cpu.cores: 2 → 4" in page
    assert on.verbs().count("start") == 0


def merge(rig: Rig, name: str, files: dict[str, Any]) -> None:
    """A merge of main into a branch, whose tree is the branch's with these files."""
    from dulwich.objects import Commit, ObjectID

    assert isinstance(rig.repo, MemoryRepository)
    ref = f"refs/heads/{name}"
    first, second = rig.repo.refs[ref], rig.repo.refs[MAIN]
    made = rig.push(files, ref)
    commit = Commit.from_string(rig.repo.objects[made][1])
    assert isinstance(commit, Commit)
    commit.parents = [ObjectID(first.encode()), ObjectID(second.encode())]
    rig.repo.objects[commit.id.decode()] = (1, commit.as_raw_string())
    rig.repo.refs[ref] = commit.id.decode()


def test_a_plan_goes_when_its_branch_is_merged_deleted_or_old(on: Rig) -> None:
    for name in ("merged", "deleted", "old"):
        branch(on, name, {f"{name}.yaml": disk(name)})
        settle(on)
    assert plans(on).keys() == {"merged.md", "deleted.md", "old.md"}
    refs(on)[MAIN] = refs(on)["refs/heads/merged"]
    del refs(on)["refs/heads/deleted"]
    settle(on)
    assert plans(on).keys() == {"old.md"}
    on.now += 31 * DAY
    on.push({"news.yaml": disk("news")})
    settle(on)
    assert plans(on) == {}


def test_a_plan_that_is_the_same_is_not_written_again(on: Rig) -> None:
    branch(on, "topic", {"mine.yaml": disk("mine")})
    settle(on)
    before = on.repo.resolve(STATUS)
    on.start()
    settle(on)
    assert on.repo.resolve(STATUS) == before
    assert plans(on).keys() == {"topic.md"}


def test_a_plan_follows_its_branch_and_the_fleet(on: Rig) -> None:
    branch(on, "topic", {"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    settle(on)
    assert "restart: cpu.cores" in plans(on)["topic.md"]
    on.host.guest_poweroff(on.uuid())
    settle(on)
    on.now += 60
    settle(on)
    assert "next start: cpu.cores" in plans(on)["topic.md"]
    branch(on, "topic", {"vm.yaml": [disk(), machine(memory={"size": "1Gi"})]})
    settle(on)
    assert "cpu.cores" not in plans(on)["topic.md"]
    assert "memory.size" in plans(on)["topic.md"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("virtualization.", "virtualisation.", "did you mean virtualization.deckhouse.io/v1alpha2?"),
        ("kind: VirtualMachine", "kind: VM", "did you mean VirtualMachine?"),
        ("virtualization.deckhouse.io", "kubevirt.io", " may be meant to be it"),
    ],
)  # fmt: skip
def test_a_slip_is_no_deletion_in_a_plan(on: Rig, old: str, new: str, words: str) -> None:
    text = (encoded([disk(), machine()]) or b"").decode()
    head, _, last = text.rpartition("---\n")
    branch(on, "slip", {"vm.yaml": f"{head}---\n{last.replace(old, new, 1)}"})
    settle(on)
    page = plans(on)["slip.md"]
    assert words in page
    assert "to delete" not in page.partition("\n")[0]


def test_problems_stand_in_the_plan_with_their_place(on: Rig) -> None:
    branch(
        on,
        "topic",
        {"bad.yaml": machine("bad", cpu={"cores": "many"}), "twice.yaml": disk("other")},
    )
    settle(on)
    page = plans(on)["topic.md"]
    assert re.search(
        r"- \*\*problem\*\* bad.yaml:[0-9]+: VirtualMachine default/bad: spec.cpu.cores: must be",
        page,
    )
    assert "declared in other.yaml too" in page
    assert "No changes" not in page


def test_a_branch_that_marks_a_second_default_class_is_told(on: Rig) -> None:
    def marked(name: str) -> dict[str, Any]:
        cpu = {"cpu": {"type": "Host"}}
        return manifest("VirtualMachineClass", name, cpu, annotations={IS_DEFAULT: "true"})

    on.push({"class.yaml": marked("first")})
    on.settle()
    branch(on, "second", {"more.yaml": marked("second")})
    settle(on)
    page = plans(on)["second.md"]
    assert "marks a second default class beside first" in page
    assert "create" not in page


def test_a_secret_is_in_no_plan(on: Rig) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "type": "Opaque"}
    on.push({"secret.yaml": {**secret, "stringData": {"word": "pass-1"}}})
    on.settle()
    branch(on, "topic", {"secret.yaml": {**secret, "stringData": {"word": "pass-2"}}})
    settle(on)
    assert "- **change** Secret default/key" in plans(on)["topic.md"]
    assert "pass-" not in plans(on)["topic.md"]


def test_many_deletions_are_seen_in_proportion_to_the_fleet(on: Rig) -> None:
    on.push({f"{number}.yaml": disk(f"disk-{number}") for number in range(20)})
    on.settle()
    branch(on, "three", {f"{number}.yaml": None for number in range(3)})
    branch(on, "all", {f"{number}.yaml": None for number in range(20)})
    settle(on)
    assert plans(on)["three.md"].startswith("### Plan: 3 to delete\n")
    assert plans(on)["all.md"].startswith("### Plan: 20 held\n")


def test_the_last_file_of_a_small_fleet(rig: Rig) -> None:
    rig.push(
        {
            "a.yaml": disk("a"),
            "b.yaml": manifest("VirtualDisk", "b", {"persistentVolumeClaim": {"size": "1Gi"}}),
        }
    )
    rig.settle()
    branch(rig, "topic", {"a.yaml": None})
    settle(rig)
    assert plans(rig)["topic.md"].startswith("### Plan: 1 to delete\n")


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        ("refs/heads/a", "plans/a.md"),
        ("refs/heads/a/b", "plans/a%2Fb.md"),
        ("refs/heads/ä ö", "plans/%C3%A4%20%C3%B6.md"),
        ('refs/heads/x"><script>', "plans/x%22%3E%3Cscript%3E.md"),
        ("refs/pull/1/head", "plans/refs%2Fpull%2F1%2Fhead.md"),
        ("refs/heads/refs/pull/1/head", "plans/refs%2Fheads%2Frefs%2Fpull%2F1%2Fhead.md"),
    ],
)
def test_the_name_of_a_file(ref: str, path: str) -> None:
    assert path_of(ref) == path


def test_long_names_stay_apart() -> None:
    one, other = path_of("refs/heads/" + "ä" * 100 + "1"), path_of("refs/heads/" + "ä" * 100 + "2")
    assert one != other
    assert len(one.encode()) < 255


# -- hostile branches ---------------------------------------------------------------------------

NAME = 'x"><script>alert(1)<!--@everyone`code`'
ANCHORS = "\n".join(
    [f"a0: &a0 [{', '.join(['x'] * 9)}]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
)
MARKDOWN = "x](javascript:alert) <img src=x> **bold** @everyone `code` ![i](http://evil.example/i)"


def hostile() -> dict[str, dict[str, Any]]:
    loud = disk("loud")
    loud["metadata"]["annotations"] = {"note": MARKDOWN}
    return {
        "brackets": {"deep.yaml": "[" * 50_000},
        "braces": {"deep.json": '{"a":' * 50_000},
        "bomb": {"bomb.yaml": ANCHORS},
        "crowd": {f"{n % 100}/{n}.yaml": "x" for n in range(20_000)},
        "bulk": {"bulk.yaml": b"#" * (5 * 1024**2), "more.yaml": b"#" * (5 * 1024**2)},
        "many": {
            "many.yaml": "---\n".join(
                f"{{kind: VirtualDisk, metadata: {{name: d{n}}}}}\n" for n in range(20_000)
            )
        },
        "binary": {"binary.yaml": bytes(range(256)) * 100},
        NAME: {"fine.yaml": disk("fine")},
        "loud": {"loud.yaml": loud},
    }


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_branch_is_planned_or_says_why_not(on: Rig, name: str) -> None:
    branch(on, name, hostile()[name])
    branch(on, "honest", {"mine.yaml": disk("mine")})
    on.push({"late.yaml": disk("late")})
    summary = on.settle()
    assert not summary.wrong
    assert on.document("namespaces/default/virtualdisks/late.yaml")["status"]["phase"] == "Ready"
    settle(on)
    found = plans(on)
    assert found["honest.md"].startswith("### Plan: 1 to create\n")
    page = found[path_of(f"refs/heads/{name}").removeprefix(PLANS)]
    assert len(page) < 100_000
    for sign in ("<script", "<img", "](", "@every", "`code`", "://"):
        assert sign not in page
    assert not on.settle().wrong


def test_a_symlink_is_a_problem_of_its_branch(on: Rig, tmp_path: Path) -> None:
    from dulwich.objects import Blob, Commit, ObjectID, Tree

    assert isinstance(on.repo, MemoryRepository)
    tip = branch(on, "link", {"mine.yaml": disk("mine")})
    commit = Commit.from_string(on.repo.objects[tip][1])
    assert isinstance(commit, Commit)
    target = Blob.from_string(b"/etc/shadow")
    tree = Tree.from_string(on.repo.objects[commit.tree.decode()][1])
    assert isinstance(tree, Tree)
    tree.add(b"passwords.yaml", 0o120000, target.id)
    commit.tree, commit.parents = tree.id, [ObjectID(tip.encode())]
    for each in (target, tree, commit):
        on.repo.objects[each.id.decode()] = (each.type_num, each.as_raw_string())
    on.repo.refs["refs/heads/link"] = commit.id.decode()
    settle(on)
    assert "passwords.yaml: is a symlink" in plans(on)["link.md"]
    assert "root:" not in plans(on)["link.md"]


def test_hostile_branches_leave_the_agents_memory_as_it_is(on: Rig) -> None:
    for name, files in hostile().items():
        branch(on, name, files)
    settle(on)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for turn in range(2):
            for name in hostile():
                branch(on, name, {f"turn-{turn}.yaml": disk("turn")})
            settle(on)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 8 * 1024**2


def test_a_child_that_is_killed_costs_its_branch_the_plan(
    on: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.reconcile.plans.process.DEADLINE", 0.0)
    branch(on, "slow", {"mine.yaml": disk("mine")})
    settle(on)
    assert "It cannot be planned: it takes longer than 0 seconds" in plans(on)["slow.md"]
    monkeypatch.undo()
    on.push({"late.yaml": disk("late")})
    settle(on)
    assert plans(on)["slow.md"].startswith("### Plan: 1 to create\n")


# -- plans that fail ------------------------------------------------------------------------------


def broken(monkeypatch: pytest.MonkeyPatch, folder: Path, line: str) -> list[str]:
    """Have children run a line where they would read what they are told; gives the log."""
    package = folder / "agent" / "reconcile" / "plans"
    package.mkdir(parents=True)
    start = "import sys; from agent.reconcile.plans import real as it; sys.excepthook = it.complain"
    source = Path(process.ROOT) / "agent" / "reconcile" / "plans" / "child.py"
    for name in ("", "reconcile/", "reconcile/plans/"):
        (folder / "agent" / name / "__init__.py").write_text(
            f"__path__.append({process.ROOT + '/agent/' + name!r})\n"
        )
    (package / "real.py").write_text(source.read_text())
    (package / "child.py").write_text(f"{start}\nit.limit()\n{line}\n")
    monkeypatch.setattr(process, "ROOT", str(folder))
    said: list[str] = []
    monkeypatch.setattr(
        "agent.reconcile.plans.branches.log.warning", lambda form, *rest: said.append(form % rest)
    )
    return said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x = ['x' * 10**6 for _ in range(10**4)]", "it takes more than 512 MiB of memory;"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)",
            "it takes more than 20 seconds of processor time;",
        ),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9."),
        ("open('/pass-1')", "with exit status 1: FileNotFoundError in child.py:3."),
        (
            "raise ValueError('pass-1 <script>')",
            "with exit status 1: ValueError in child.py:3.",
        ),
        ("print('[' * 100)", "gave no answer that could be used."),
        ("print('x' * 10**7)", "gave no answer that could be used."),
    ],
)
def test_why_a_plan_failed_stands_in_it(
    on: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, said: str
) -> None:
    log = broken(monkeypatch, tmp_path / "broken", line)
    branch(on, "topic", {"mine.yaml": disk("mine")})
    settle(on)
    page = plans(on)["topic.md"]
    assert "It cannot be planned: it takes" in page or "planned: the process that plans" in page
    assert said in page
    assert "pass-" not in page
    assert "script" not in page
    assert [entry.split(":")[0] for entry in log] == ["plan of refs/heads/topic failed, try 1 of 3"]


def test_a_plan_that_failed_is_tried_again_a_few_times(
    on: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        log = broken(patch, tmp_path / "broken", "raise SystemExit(3)")
        branch(on, "topic", {"mine.yaml": disk("mine")})
        settle(on)
        assert "ended with exit status 3." in plans(on)["topic.md"]
        for later, tries in ((30, 1), (40, 2), (120, 2), (130, 3), (3600, 3), (86400, 3)):
            on.now += later
            settle(on)
            assert len(log) == tries
        for number in range(3):  # main moves: this commit is not tried any more
            on.push({f"late-{number}.yaml": disk(f"late-{number}")})
            settle(on)
        assert len(log) == 3
        branch(on, "topic", {"other.yaml": disk("other", "2Gi")})
        settle(on)
        assert len(log) == 4
    on.now += 61
    settle(on)
    assert plans(on)["topic.md"].startswith("### Plan: 1 to create, 1 to change\n")


def test_branches_that_could_not_be_looked_at_are_looked_at_again(
    on: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> str:
        raise RepositoryError("PermissionDenied", "objects cannot be read")

    branch(on, "topic", {"mine.yaml": disk("mine")})
    with monkeypatch.context() as patch:
        patch.setattr(MemoryRepository, "commit_info", away)
        settle(on)
        assert plans(on) == {}
    on.now += 11
    settle(on)
    assert plans(on).keys() == {"topic.md"}


# -- what is in the trash -------------------------------------------------------------------------


def test_a_disk_in_the_trash_is_said_to_come_back(on: Rig) -> None:
    on.push({"other.yaml": None})
    on.settle()
    branch(on, "back", {"other.yaml": disk("other"), "new.yaml": disk("new")})
    settle(on)
    page = plans(on)["back.md"]
    assert page.startswith("### Plan: 1 to create, 1 to bring back\n")
    assert (
        "- **restore** VirtualDisk default/other: comes back from the trash with its data" in page
    )
    assert page.count("does: CreateVolume") == 1
    on.now += 8 * DAY  # it is erased
    on.settle()
    on.now += 60
    settle(on)
    assert plans(on)["back.md"].startswith("### Plan: 2 to create\n")


# -- what is too large ----------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_not_even_read(
    on: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"#" * (1024**2 + 1)
    branch(on, "bulk", {"bulk.yaml": large, "fine.yaml": disk("fine")})
    monkeypatch.setattr(on.repo, "read", small(on.repo.read))
    settle(on)
    page = plans(on)["bulk.md"]
    assert "bulk.yaml: is larger than 1 MiB" in page
    assert "- **create** VirtualDisk default/fine" in page


def small(read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    def checked(blob: str) -> bytes:
        found = read(blob)
        assert len(found) <= 1024**2
        return found

    return checked


# -- other refs -----------------------------------------------------------------------------------


@pytest.fixture
def pulls(tmp_path: Path) -> Rig:
    """An agent that plans pull requests too."""
    spaces = Spaces(("refs/pull/*/head",))
    rig = Rig(tmp_path, repository=MemoryRepository(lambda: START, spaces))
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    return rig


def pull(rig: Rig, ref: str, files: dict[str, Any]) -> str:
    refs(rig).setdefault(ref, refs(rig)[MAIN])
    return rig.push(files, ref)


def test_pull_requests_have_their_plans_beside_branches(pulls: Rig) -> None:
    tip = pull(pulls, "refs/pull/1/head", {"a.yaml": disk("a")})
    pull(pulls, "refs/heads/refs/pull/1/head", {"b.yaml": disk("b")})
    refs(pulls)["refs/pull/1/merge"] = branch(pulls, "gone", {"c.yaml": disk("c")})
    del refs(pulls)["refs/heads/gone"]
    settle(pulls)
    found = plans(pulls)
    assert found.keys() == {"refs%2Fpull%2F1%2Fhead.md", "refs%2Fheads%2Frefs%2Fpull%2F1%2Fhead.md"}
    page = found["refs%2Fpull%2F1%2Fhead.md"]
    assert f"Ref **refs/pull/1/head** at commit `{tip}`." in page
    assert "VirtualDisk default/a" in page
    other = found["refs%2Fheads%2Frefs%2Fpull%2F1%2Fhead.md"]
    assert "Branch **refs/pull/1/head** at" in other
    assert "VirtualDisk default/b" in other
    del refs(pulls)["refs/pull/1/head"]
    settle(pulls)
    assert plans(pulls).keys() == {"refs%2Fheads%2Frefs%2Fpull%2F1%2Fhead.md"}


def test_of_thousands_of_pull_requests_the_newest_are_planned(pulls: Rig) -> None:
    files = {"a.yaml": disk("a")}
    tip = pull(pulls, "refs/pull/9999/head", files)
    refs(pulls).update({f"refs/pull/{n}/head": refs(pulls)[MAIN] for n in range(1, 5_000)})
    blob = next(iter(pulls.repo.files(tip))).blob
    refs(pulls).update({f"refs/pull/{n}/head": blob for n in range(5_000, 9_000)})
    refs(pulls).update({f"refs/pull/{n}/head": "0" * 39 + "1" for n in range(9_000, 9_990)})
    settle(pulls)
    assert plans(pulls).keys() == {"refs%2Fpull%2F9999%2Fhead.md"}
    assert plans(pulls)["refs%2Fpull%2F9999%2Fhead.md"].startswith("### Plan: 1 to create\n")


def test_a_damaged_branch_costs_the_others_nothing(on: Rig) -> None:
    from dulwich.objects import Commit, ObjectID

    assert isinstance(on.repo, MemoryRepository)
    tip = branch(on, "honest", {"mine.yaml": disk("mine")})
    changes: dict[str, dict[str, Any]] = {
        "no-tree": {"tree": ObjectID(b"1" * 40)},
        "far": {"commit_time": 10**400},
        "past": {"commit_time": -(10**400)},
    }
    for name, change in changes.items():
        commit = Commit.from_string(on.repo.objects[tip][1])
        assert isinstance(commit, Commit)
        for field, value in change.items():
            setattr(commit, field, value)
        commit.message = name.encode()
        on.repo.objects[commit.id.decode()] = (1, commit.as_raw_string())
        on.repo.refs[f"refs/heads/{name}"] = commit.id.decode()
    settle(on)
    found = plans(on)
    assert found["honest.md"].startswith("### Plan: 1 to create\n")
    assert "damaged, missing or absurdly large" in found["no-tree.md"]
    assert found.keys() == {"honest.md", "no-tree.md", "far.md"}
