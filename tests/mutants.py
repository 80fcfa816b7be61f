"""Changes to the code, one at a time, each of which has to make a test fail. See mutants.sh.

A change that no test can notice has its reason beside it, on the line that it changes or the last one of that
statement:

    if count <= limit:  # pragma: no mutate: at the limit both ways give the same

cosmic-ray makes the changes: other comparisons, `and` for `or`, a `not` more or less, other
numbers, loops that do nothing. It leaves texts alone, so what is only said is none of its business.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult

KINDS = "agent/kinds/"
DECIDING = (
    *(f"agent/core/{name}.py" for name in ("acceptance", "assembly", "changes", "identity")),
    *(f"agent/core/{name}.py" for name in ("jobs", "meaning", "merge", "metadata")),
    *(f"agent/core/{name}.py" for name in ("recognition", "status", "volumes")),
    *(f"agent/reconcile/{name}.py" for name in ("acting", "book", "housekeeping", "lease")),
    *(f"agent/reconcile/{name}.py" for name in ("origins", "trash", "withdrawal")),
)
"""What is looked at beside the kinds: whatever decides, as opposed to what prints or carries out."""

TESTS: tuple[tuple[str, str], ...] = (
    ("agent/core/acceptance.py", "guards slips"),
    ("agent/core/assembly.py", "manifests"),
    ("agent/core/identity.py", "ownership lifecycle trash"),
    ("agent/core/jobs.py", "imports starts policies"),
    ("agent/core/meaning.py", "slips bad_input"),
    ("agent/core/metadata.py", "ownership operations"),
    ("agent/core/recognition.py", "slips manifests"),
    ("agent/core/volumes.py", "trash snapshots_by_hand"),
    ("agent/kinds/*/validation.py", "validation rivals bad_input image_secrets guards"),
    ("agent/kinds/node/*", "classes without_effect"),
    ("agent/kinds/storage_class/*", "storage_classes"),
    ("agent/kinds/virtual_disk/*", "imports trash lifecycle snapshots_by_hand lost_definitions"),
    ("agent/kinds/virtual_disk_snapshot/*", "disk_snapshots"),
    ("agent/kinds/virtual_image/*", "imports trash image_secrets"),
    ("agent/kinds/virtual_machine/power.py", "operations starts policies"),
    ("agent/kinds/virtual_machine/phase.py", "lifecycle operations starts policies waiting"),
    ("agent/kinds/virtual_machine/files.py", "snapshots_by_hand drift"),
    ("agent/kinds/virtual_machine/operations.py", "operations starts policies"),
    ("agent/kinds/virtual_machine/deeds.py", "lost_definitions"),
    *(
        (f"agent/kinds/virtual_machine/{name}.py", name)
        for name in ("attachments", "growth", "moving", "schedule", "thawing")
    ),
    *(
        (f"agent/kinds/virtual_machine/{name}.py", "golden earlier addresses edits property")
        for name in ("definition", "edits", "elements/*")
    ),
    ("agent/kinds/virtual_machine/*", ""),
    ("agent/kinds/virtual_machine_block_device_attachment/*", "attachments"),
    ("agent/kinds/virtual_machine_class/*", "classes"),
    ("agent/kinds/virtual_machine_operation/*", "operations housekeeping"),
    ("agent/kinds/virtual_machine_snapshot/*", "machine_snapshots"),
    ("agent/kinds/*", "validation bad_input classes guards secrets without_effect"),
    ("agent/reconcile/book.py", "guards slips ownership acting trash faults"),
    ("agent/reconcile/housekeeping.py", "housekeeping trash"),
    ("agent/reconcile/lease.py", "two_agents fleets"),
    ("agent/reconcile/origins.py", "trash ownership"),
    ("agent/reconcile/trash.py", "trash"),
    ("agent/reconcile/withdrawal.py", "operations policies"),
)
"""Which tests of tests/product and tests/golden, beside those of its own folder, show whether a
file is right. Most of VirtualMachine is shown right by its tables alone.
"""

CHANGES = (
    "Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|BitOr_BitAnd|BitAnd_BitOr",
    "Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Is_IsNot|IsNot_Is",
    "Delete_Not|USub_UAdd",
)
_WANTED = re.compile(
    rf"core/(Replace(Binary|Comparison|Unary)Operator_({'|'.join(CHANGES)})|AddNot|ReplaceTrue.*"
    "|ReplaceFalse.*|ReplaceAnd.*|ReplaceOr.*|ReplaceBreak.*|ReplaceContinue.*|ExceptionReplacer"
    "|NumberReplacer|ZeroIterationForLoop)"
)
_PRAGMA = re.compile(r"#\s*pragma:\s*no mutate\b(?::\s*(?P<reason>\S.*))?")
_CONFIG = """[cosmic-ray]
module-path = {module}
timeout = {timeout:.1f}
excluded-modules = []
test-command = {command}
[cosmic-ray.distributor]
name = "local"
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants.sh", description="Change code, run its tests.")
    parser.add_argument(
        "path", nargs="*", type=Path, help="files or folders; default: all that decide"
    )
    parser.add_argument("--tests", nargs="+", help="run these tests, not those of the table")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.path if not path.exists()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}: name files or folders below agent/")
    total: Counter[str] = Counter()
    for path in _files(arguments.path or [Path(KINDS), *map(Path, DECIDING)]):
        total += _examine(path, arguments.tests or tests_of(path))
    print(f"== {_sum(total)}")
    return 1 if total["survived"] or total["unfit"] else 0


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def tests_of(path: Path) -> list[str]:
    """Quick tests that show whether a file is right, the quickest first."""
    near = [Path("tests", *path.parts[1:-1], f"test_{path.name}")]
    if path.is_relative_to(KINDS) and path.parent != Path(KINDS):
        near.append(Path("tests", *path.parts[1:3]))  # the kind's, also for what is further down
    names = next((names for pattern, names in TESTS if fnmatch(str(path), pattern)), "")
    every = [
        *near,
        *(
            Path("tests", where, f"test_{name}.py")
            for name in names.split()
            for where in ("core", "kinds", "golden", "product")
        ),
    ]
    return list(dict.fromkeys(str(each) for each in every if each.exists()))


def _examine(path: Path, tests: list[str]) -> Counter[str]:
    """Try all changes to one file, print those that no test noticed, and count."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    began = time.monotonic()
    before = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if not tests or before.returncode != 0:
        print(f"{path}: its tests fail as it is, or there are none: {' '.join(tests)}")
        print(before.stdout[-2000:])
        return Counter(unfit=1)
    session = Path(f"{path.stem}.session")
    config = session.with_suffix(".toml")
    text = {"module": json.dumps(str(path)), "command": json.dumps(" ".join(command))}
    config.write_text(_CONFIG.format(timeout=took * 5 + 10, **text))
    subprocess.run(["cosmic-ray", "init", str(config), str(session), "--force"], check=True)
    with use_db(str(session), mode=WorkDB.Mode.open) as db:
        count = _leave_out(db, path)
    subprocess.run(["cosmic-ray", "exec", str(config), str(session)], check=True)
    with use_db(str(session), mode=WorkDB.Mode.open) as db:
        count += _told(db, path)
    print(f"{path}: {_sum(count)}", flush=True)
    return count


def _leave_out(db: WorkDB, path: Path) -> Counter[str]:
    """Changes that are not made: those of other classes, in declarations, and with a reason."""
    count: Counter[str] = Counter()
    source = path.read_text()
    tree = ast.parse(source)
    lines, declared, ends = source.splitlines(), set(_declarations(tree)), _ends(tree)
    for item in list(db.work_items):
        (mutation,) = item.mutations
        last = lines[mutation.end_pos[0] - 1]
        number = mutation.end_pos[0]
        reason = _PRAGMA.search(last) or _PRAGMA.search(lines[ends.get(number, number) - 1])
        star = "Binary" in mutation.operator_name and last[mutation.end_pos[1] :][:1] not in (
            "",
            " ",
        )
        if (
            star  # of an argument
            or not _WANTED.fullmatch(mutation.operator_name)
            or mutation.start_pos in declared
        ):
            pass
        elif reason:
            count["reasoned"] += 1
            if not reason["reason"]:
                print(f"{path}:{mutation.end_pos[0]}: a pragma without a reason")
                count["unfit"] += 1
        else:
            continue
        db.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    return count


def _ends(tree: ast.AST) -> dict[int, int]:
    """By line the last line of the statement that it is part of, where that holds no others."""
    return {
        line: node.end_lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and node.end_lineno
        for line in range(node.lineno, node.end_lineno + 1)
    }


def _declarations(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """Where something stands in an annotation or a decorator, which mypy looks after: line and
    column of each of its characters.
    """
    for node in ast.walk(tree):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for each in (*parts, *getattr(node, "decorator_list", ())):
            if isinstance(each, ast.expr) and each.end_lineno and each.end_col_offset:
                for line in range(each.lineno, each.end_lineno + 1):
                    first = each.col_offset if line == each.lineno else 0
                    last = each.end_col_offset if line == each.end_lineno else 200
                    yield from ((line, column) for column in range(first, last))


def _told(db: WorkDB, path: Path) -> Counter[str]:
    count: Counter[str] = Counter()
    for item in db.completed_work_items:
        _, result = item
        if result.worker_outcome == WorkerOutcome.SKIPPED:
            continue
        count["mutants"] += 1
        if result.test_outcome is not None and result.test_outcome.value == "survived":
            count["survived"] += 1
            line = item[0].mutations[0].start_pos[0]
            print(f"-- {path}:{line}: no test noticed ({item[0].mutations[0].operator_name})")
            changed = [each for each in (result.diff or "").splitlines() if each[:1] in "+-"]
            print("\n".join(changed[2:]), flush=True)
    return count


def _sum(count: Counter[str]) -> str:
    killed = count["mutants"] - count["survived"]
    return (
        f"{count['mutants'] + count['reasoned']} changes, {killed} noticed, "
        f"{count['reasoned']} with a reason, {count['survived']} not noticed"
    )


if __name__ == "__main__":
    sys.exit(main())
