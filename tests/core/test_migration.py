"""A machine between two nodes: a line for each pair of states that both can show, and what holds for all of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from agent.core.domain_xml import bare
from agent.core.host import RawDomain
from agent.core.metadata import DomainMetadata, Migration, Power
from agent.core.migration import (
    Shows,
    Side,
    Step,
    decided,
    instead,
    mark_of,
    migration_of,
    source_side,
    step,
    target_side,
)

SIDES = {
    "?": Shows.UNKNOWN,
    "fenced": Shows.FENCED,
    "-": Shows.ABSENT,
    "off": Shows.OFF,
    "handed": Shows.HANDED,
    "undone": Shows.UNDONE,
    "ended": Shows.ENDED,
    "incoming": Shows.INCOMING,
    "paused": Shows.PAUSED,
    "stopped": Shows.STOPPED,
    "runs": Shows.RUNS,
}
STEPS = {
    ".": Step.WAIT,
    "stay": Step.STAY,
    "land": Step.LAND,
    "adopt": Step.ADOPT,
    "come": Step.ARRIVED,
    "drop": Step.DISCARD,
    "on": Step.GO_ON,
    "split": Step.SPLIT,
    "begin": Step.BEGIN,
}
TABLE = """
         ?        fenced   -        off      handed   undone   ended    incoming paused   stopped  runs
?        .        .        .        .        .        .        .        .        .        .        .
fenced   .        .        .        .        .        .        .        .        land     .        come
-        .        .        .        adopt    adopt    adopt    .        .        land     .        come
off      .        .        stay     .        .        drop     .        drop     land     .        come
handed   .        .        .        adopt    adopt    drop     .        .        land     .        come
undone   .        .        stay     .        .        drop     .        drop     land     .        come
ended    .        .        stay     drop     drop     drop     .        drop     drop     .        .
incoming .        .        .        .        .        .        .        .        .        .        .
paused   .        stay     stay     drop     drop     drop     .        drop     drop     .        split
stopped  .        on       on       drop     drop     drop     .        .        land     .        come
runs     .        stay     stay     drop     drop     drop     .        drop     drop     .        split
"""
"""What the source shows, down, what the target shows, across: no job, and the target's epoch not raised."""


def rows(table: str = TABLE) -> list[tuple[Shows, Shows, Step]]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return [
        (SIDES[name], SIDES[other], STEPS[word])
        for name, *words in lines
        for other, word in zip(head, words, strict=True)
    ]


INSTEAD = """
         off      ended    handed   undone   stopped  runs     paused   -        incoming ?        fenced
?        .        come     come     .        .        come     come     .        .        .        .
fenced   begin    come     come     begin    begin    come     come     .        .        .        .
-        begin    come     come     begin    begin    come     come     .        .        .        .
off      drop     come     come     drop     .        come     come     .        .        .        .
handed   drop     come     come     drop     .        come     come     .        .        .        .
undone   drop     come     come     drop     .        come     come     .        .        .        .
ended    drop     come     come     drop     .        come     come     .        .        .        .
incoming .        .        .        .        .        .        .        .        .        .        .
paused   drop     split    split    drop     .        split    split    .        .        .        .
stopped  drop     split    split    drop     .        split    split    .        .        .        .
runs     drop     split    split    drop     .        split    split    .        .        .        .
"""
"""What a lost node shows, down, what is in its place shows, across. Neither copy's epoch was raised."""


@pytest.mark.parametrize(("source", "target", "expected"), rows(INSTEAD))
def test_a_row_of_the_table_of_substitutes(source: Shows, target: Shows, expected: Step) -> None:
    assert instead(Side(source), Side(target)) is expected
    assert instead(Side(source, raised=True), Side(target)) is Step.WAIT


@pytest.mark.parametrize(("source", "target", "expected"), rows(INSTEAD))
def test_what_counts_is_never_given_up_for_what_was_lost(
    source: Shows, target: Shows, expected: Step
) -> None:
    """Once its epoch is raised it stands as one that has run."""
    seen = instead(Side(source), Side(target, raised=True))
    assert seen not in (Step.DISCARD, Step.BEGIN)
    if expected in (Step.ARRIVED, Step.SPLIT):
        assert seen is expected


@pytest.mark.parametrize(("source", "target", "expected"), rows(INSTEAD))
def test_nothing_begins_beside_what_may_run(source: Shows, target: Shows, expected: Step) -> None:
    if expected is Step.BEGIN:
        assert source in (Shows.FENCED, Shows.ABSENT)
    if expected is Step.DISCARD:
        assert target in (Shows.OFF, Shows.UNDONE)  # nothing was ever seen to run there


@pytest.mark.parametrize(("source", "target", "expected"), rows())
def test_a_row_of_the_table(source: Shows, target: Shows, expected: Step) -> None:
    assert step(Side(source), Side(target)) is expected


def test_the_table_has_a_row_for_each_pair() -> None:
    assert {(source, target) for source, target, _ in rows()} == set(
        itertools.product(Shows, repeat=2)
    )


EVERY = [
    (Side(source, job=job), Side(target, raised=raised))
    for source, target in itertools.product(Shows, repeat=2)
    for job, raised in itertools.product((False, True), repeat=2)
]


def test_nothing_goes_on_or_is_taken_over_while_the_source_may_run() -> None:
    may_run = {Shows.RUNS, Shows.PAUSED, Shows.UNKNOWN}
    for source, target in EVERY:
        if source.shows in may_run:
            assert step(source, target) not in {Step.LAND, Step.ADOPT}, (source, target)


def test_a_copy_that_runs_or_counts_is_never_thrown_away() -> None:
    for source, target in EVERY:
        if target.shows is Shows.RUNS or target.raised:
            assert step(source, target) is not Step.DISCARD or target.shows in {
                Shows.INCOMING,
                Shows.STOPPED,
            }, (source, target)


def test_the_source_is_left_only_for_a_target_that_has_the_machine() -> None:
    for source, target in EVERY:
        if step(source, target) is Step.ARRIVED:
            assert target.shows is Shows.RUNS or target.raised
            assert source.shows not in {Shows.RUNS, Shows.PAUSED}


def test_the_source_goes_on_only_where_nothing_of_it_is_elsewhere() -> None:
    for source, target in EVERY:
        if step(source, target) is Step.GO_ON:
            assert target.shows in {Shows.ABSENT, Shows.FENCED}


@pytest.mark.parametrize("target", list(Shows))
def test_while_it_is_under_way_nothing_is_done(target: Shows) -> None:
    for source in (Shows.RUNS, Shows.PAUSED, Shows.STOPPED):
        found = step(Side(source, job=True), Side(target))
        split = target is Shows.RUNS and source is not Shows.STOPPED
        assert found is (Step.SPLIT if split else Step.GOES)


RAISED = [
    (Shows.RUNS, Shows.RUNS, Step.SPLIT),
    (Shows.RUNS, Shows.OFF, Step.SPLIT),
    (Shows.PAUSED, Shows.PAUSED, Step.SPLIT),
    (Shows.STOPPED, Shows.PAUSED, Step.LAND),
    (Shows.STOPPED, Shows.RUNS, Step.ARRIVED),
    (Shows.OFF, Shows.PAUSED, Step.LAND),
    (Shows.OFF, Shows.OFF, Step.ARRIVED),
    (Shows.OFF, Shows.UNDONE, Step.ARRIVED),
    (Shows.ABSENT, Shows.OFF, Step.ARRIVED),
    (Shows.UNKNOWN, Shows.PAUSED, Step.WAIT),
    (Shows.UNKNOWN, Shows.RUNS, Step.ARRIVED),
    (Shows.UNKNOWN, Shows.OFF, Step.ARRIVED),
]


@pytest.mark.parametrize(("source", "target", "expected"), RAISED)
def test_the_copy_with_the_higher_epoch_counts(
    source: Shows, target: Shows, expected: Step
) -> None:
    assert step(Side(source), Side(target, raised=True)) is expected


KEPT = [
    (Shows.RUNS, Shows.UNKNOWN, Step.STAY),
    (Shows.OFF, Shows.FENCED, Step.STAY),
    (Shows.OFF, Shows.ABSENT, Step.STAY),
    (Shows.OFF, Shows.PAUSED, Step.DISCARD),
    (Shows.RUNS, Shows.INCOMING, Step.DISCARD),
    (Shows.HANDED, Shows.OFF, Step.DISCARD),
    (Shows.OFF, Shows.RUNS, Step.SPLIT),
    (Shows.RUNS, Shows.RUNS, Step.SPLIT),
    (Shows.ABSENT, Shows.PAUSED, Step.LAND),
]


@pytest.mark.parametrize(("source", "target", "expected"), KEPT)
def test_nothing_lands_from_a_source_that_has_gone_on_without_it(
    source: Shows, target: Shows, expected: Step
) -> None:
    assert step(Side(source, raised=True), Side(target)) is expected


# -- taken along while it is off -----------------------------------------------------------------

COLD_TABLE = """
         ?        fenced   -        off      on
?        .        .        .        .        .
fenced   .        .        .        .        .
-        .        .        .        .        .
off      .        stay     stay     .        .
on       .        stay     stay     .        split
"""
"""As above, of one that is taken there cold."""
COLD_RAISED = """
         off      on
?        come     come
fenced   come     come
-        come     come
off      come     come
on       split    split
"""
"""The same where the target's epoch is raised."""
COLD_KEPT = """
         ?        fenced   -        off      on
off      stay     stay     stay     drop     split
on       stay     stay     stay     drop     split
"""
"""The same where the source's epoch is raised."""
AT_REST = {
    "?": [Shows.UNKNOWN],
    "fenced": [Shows.FENCED],
    "-": [Shows.ABSENT],
    "off": [Shows.OFF, Shows.HANDED, Shows.UNDONE, Shows.ENDED],
    "on": [Shows.RUNS, Shows.PAUSED, Shows.STOPPED, Shows.INCOMING],
}


def cold_rows(table: str) -> list[tuple[Shows, Shows, Step]]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return [
        (source, target, STEPS[word])
        for name, *words in lines
        for other, word in zip(head, words, strict=True)
        for source, target in itertools.product(AT_REST[name], AT_REST[other])
    ]


@pytest.mark.parametrize(("source", "target", "expected"), cold_rows(COLD_TABLE))
def test_a_row_of_one_that_is_off(source: Shows, target: Shows, expected: Step) -> None:
    assert step(Side(source), Side(target), cold=True) is expected


@pytest.mark.parametrize(("source", "target", "expected"), cold_rows(COLD_RAISED))
def test_what_was_taken_along_counts(source: Shows, target: Shows, expected: Step) -> None:
    assert step(Side(source), Side(target, raised=True), cold=True) is expected


@pytest.mark.parametrize(("source", "target", "expected"), cold_rows(COLD_KEPT))
def test_what_was_given_up_is_thrown_away(source: Shows, target: Shows, expected: Step) -> None:
    for raised in (False, True):
        found = step(Side(source, raised=True), Side(target, raised=raised), cold=True)
        assert found is expected


def test_none_is_started_ended_or_let_go_on_that_is_off() -> None:
    for source, target in EVERY:
        found = step(source, target, cold=True)
        assert found not in {Step.LAND, Step.ADOPT, Step.GO_ON, Step.GOES}, (source, target)


# -- what a domain shows -------------------------------------------------------------------------

MOVE = Migration(operation="op", source="a", target="b", at=5, epoch=2, converge=True)
BASE = DomainMetadata(
    "default",
    "default",
    "vm",
    "u",
    "",
    1,
    "",
    "one",
    Power(True, "policy", 0, "one"),
    home="a",
    epoch=2,
)
UUID = "11111111-1111-4111-8111-111111111111"


def raw(
    state: str, reason: str, memory: DomainMetadata = BASE, *, persistent: bool = True
) -> RawDomain:
    xml = bare("default.vm", UUID, memory)
    active = "" if state == "shutoff" else xml
    return RawDomain(UUID, "default.vm", state, reason, xml if persistent else "", active)


SHOWN = [
    (raw("running", "booted"), Shows.RUNS),
    (raw("paused", "ioerror"), Shows.RUNS),
    (raw("pmsuspended", "unknown"), Shows.RUNS),
    (raw("paused", "user"), Shows.PAUSED),
    (raw("paused", "migration"), Shows.STOPPED),
    (raw("paused", "migration", persistent=False), Shows.INCOMING),
    (raw("paused", "starting-up", persistent=False), Shows.INCOMING),
    (raw("shutoff", "migrated"), Shows.HANDED),
    (raw("shutoff", "daemon"), Shows.UNDONE),
    (raw("shutoff", "failed"), Shows.UNDONE),
    (raw("shutoff", "destroyed"), Shows.OFF),
    (raw("crashed", "panicked"), Shows.OFF),
    (None, Shows.ABSENT),
]


@pytest.mark.parametrize(("domain", "expected"), SHOWN)
def test_what_a_domain_shows(domain: RawDomain | None, expected: Shows) -> None:
    assert source_side(domain, MOVE) == Side(expected)
    assert target_side(domain, MOVE) == Side(expected)


def test_a_job_is_told_by_the_source_and_an_epoch_by_the_target() -> None:
    gone = replace(raw("running", "booted"), migrating=True)
    assert source_side(gone, MOVE).job
    later = replace(BASE, epoch=3, home="b")
    assert target_side(raw("paused", "user", later), MOVE).raised
    assert target_side(raw("shutoff", "crashed", later), MOVE).raised
    assert source_side(raw("running", "booted", later), MOVE).raised
    half = replace(raw("paused", "user"), inactive_xml=bare("default.vm", UUID, later))
    assert target_side(half, MOVE).raised


def test_the_mark_is_found_in_whichever_definition_bears_it() -> None:
    bearing, plain = (
        raw("running", "booted", replace(BASE, migration=MOVE)),
        raw("running", "booted"),
    )
    assert migration_of(bearing) == MOVE
    assert migration_of(replace(plain, active_xml=bearing.active_xml)) == MOVE
    assert migration_of(replace(plain, inactive_xml=bearing.active_xml)) == MOVE
    assert migration_of(plain) is None
    assert migration_of(None) is None


def marked_as(epoch: int, mark: Migration | None = None) -> RawDomain:
    return raw("shutoff", "destroyed", replace(BASE, epoch=epoch, migration=mark))


IN_PLACE = Migration(operation="", source="a", target="c", at=9, epoch=2)
FOREIGN = replace(raw("shutoff", "destroyed"), inactive_xml="<domain/>")
COPIES = [
    # one alone stands by its own mark
    ({"a": marked_as(2)}, None),
    ({"a": marked_as(2, MOVE), "b": None}, MOVE),
    # of two marks of one time that of what was started in place of a lost one counts
    ({"a": marked_as(2, MOVE), "c": marked_as(2, IN_PLACE)}, IN_PLACE),
    ({"a": marked_as(2), "c": marked_as(3, IN_PLACE)}, IN_PLACE),
    # without marks the epochs tell, and where these are the same nothing does
    ({"a": marked_as(2), "b": marked_as(4)}, Migration("", "a", "b", 0, 3)),
    ({"a": marked_as(4), "b": marked_as(3), "c": marked_as(1)}, Migration("", "b", "a", 0, 3)),
    ({"a": marked_as(2), "b": marked_as(2)}, None),
    ({"a": marked_as(2), "b": FOREIGN}, None),
    # a mark of an earlier time says nothing of what was moved since
    ({"c": marked_as(3, IN_PLACE), "d": marked_as(5)}, Migration("", "c", "d", 0, 4)),
    ({"c": marked_as(3, IN_PLACE), "d": FOREIGN}, IN_PLACE),
]


@pytest.mark.parametrize(("copies", "expected"), COPIES)
def test_how_copies_stand_to_each_other(
    copies: dict[str, RawDomain | None], expected: Migration | None
) -> None:
    assert mark_of(copies) == expected


@pytest.mark.parametrize("reason", ["shutdown", "crashed", "destroyed", "saved"])
def test_what_has_ended_in_place_of_a_lost_one_has_run(reason: str) -> None:
    ended = raw("shutoff", reason)
    assert target_side(ended, IN_PLACE).shows is Shows.ENDED
    assert target_side(raw("shutoff", "unknown"), IN_PLACE).shows is Shows.OFF
    assert decided(IN_PLACE, Side(Shows.OFF), target_side(ended, IN_PLACE)) is Step.ARRIVED
    assert decided(MOVE, Side(Shows.OFF), target_side(ended, MOVE)) is Step.WAIT


def test_what_is_saved_where_it_was_lost_can_go_on_from_there() -> None:
    saved = replace(raw("shutoff", "saved"), managed_save=True)
    here = source_side(saved, IN_PLACE)
    assert decided(IN_PLACE, here, Side(Shows.OFF)) is Step.DISCARD
    assert decided(IN_PLACE, here, Side(Shows.RUNS)) is Step.SPLIT
    assert source_side(saved, MOVE).shows is Shows.OFF
