"""The owner moves, flags, edits and deletes copies around a kill: their last word counts (G10)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.support import checker
from tests.support.mailboxes import Keys
from tests.support.owner import ACTS
from tests.support.owner_trial import OPERATIONS, Case, OwnerTrial

SAMPLE = [
    ("maildir", "encrypt"),
    ("maildir", "decrypt in place"),
    ("maildir", "rollback"),
    ("imaplike", "encrypt"),
]
"""Stores and operations of the normal run; with ``--all`` each store with each operation."""

WITH_TWO_COPIES = {"imaplike": "store.look.before", "maildir": "maildir.retire.before"}
"""The last point at which both copies are there, of the stores of the sample."""

REPLACING = ("encrypt", "decrypt in place", "rewrap", "rollback", "rollback to clear")

TOLD = [
    *(("move", "old"), ("move", "new"), ("unread", "old"), ("unread", "new")),
    *(("tag the Subject", "old"), ("tag the Subject", "new"), ("rename the folder", "old")),
    *(("delete", "old"), ("delete", "new"), ("copy", "old"), ("mark as deleted", "old")),
]
"""What the owner does to one of two copies in the normal run, a third of it on each trial."""


def trial_of(tmp_path: Path, kind: str, operation: str, keys: Keys) -> OwnerTrial:
    return OwnerTrial(tmp_path / "trial", kind, operation, keys)


def hold(trial: OwnerTrial, cases: Iterator[Case]) -> None:
    wrong = {}
    for case in cases:
        if problem := trial.judge(case):
            wrong[f"{trial.passed[case.point - 1][0]}, {case}"] = problem
    assert wrong == {}


@pytest.mark.parametrize(("kind", "operation"), SAMPLE)
def test_what_the_owner_does_to_one_of_two_copies_is_the_last_word(
    tmp_path: Path, keys: Keys, kind: str, operation: str
) -> None:
    trial = trial_of(tmp_path, kind, operation, keys)
    point = trial.last(WITH_TWO_COPIES[kind])
    mine = TOLD[SAMPLE.index((kind, operation)) % 3 :: 3]
    cases = [Case(point, act, which, point, is_dead=True) for act, which in mine]
    cases.append(Case(point, "flag", "old", point + 1, then="unflag"))
    hold(trial, iter(cases))


def test_a_flag_that_is_cleared_after_a_kill_does_not_come_back(tmp_path: Path, keys: Keys) -> None:
    trial = trial_of(tmp_path, "maildir", "encrypt", keys)
    placed = trial.last("maildir.directory.after")
    # By the second of these points the new copy has the flag.
    kills = (placed + 3, trial.last("maildir.retire.before") + 1)
    hold(trial, (Case(placed, "flag", "old", kill, then="unflag") for kill in kills))


def test_what_waits_in_a_folder_that_is_renamed_after_a_kill_is_removed(
    tmp_path: Path, keys: Keys
) -> None:
    trial = trial_of(tmp_path, "maildir", "decrypt in place", keys)
    point = trial.last("maildir.sync.before")
    hold(trial, iter([Case(point, "rename the folder", "old", point, is_dead=True)]))


@pytest.mark.parametrize(
    "operation",
    ["encrypt from clear", *(pytest.param(o, marks=pytest.mark.all_only) for o in REPLACING)],
)
def test_a_move_counts_although_the_folder_with_the_new_copy_is_renamed_afterwards(
    tmp_path: Path, keys: Keys, operation: str
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    assert trial.judge_renamed_behind(trial.last("maildir.retire.before")) == ""


@pytest.mark.parametrize(
    "operation",
    ["encrypt", *(pytest.param(o, marks=pytest.mark.all_only) for o in REPLACING[1:])],
)
def test_an_owner_who_acts_on_both_copies_has_one_in_the_end(
    tmp_path: Path, keys: Keys, operation: str
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    point = trial.last("maildir.retire.before")
    cases = [
        Case(point, act, "both", kill, is_dead=kill is not None)
        for act in ("move", "flag", "unread")
        for kill in (point, None)
    ]
    hold(trial, iter(cases))


@pytest.mark.parametrize("operation", ["encrypt", "decrypt in place"])
def test_a_message_that_a_server_moves_in_two_steps_is_there_once(
    tmp_path: Path, keys: Keys, operation: str, whole: bool
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    # A server takes a moment for it, in which the message was read already.
    read, last = trial.last("maildir.sync.before"), trial.last("maildir.retire.before")
    points = [point for point in trial.distinct() if read <= point <= last]
    chosen = points if whole else points[::3]
    wrong = {trial.passed[point - 1][0]: trial.judge_moved_by_server(point) for point in chosen}
    assert {point: problem for point, problem in wrong.items() if problem} == {}


@pytest.mark.parametrize(
    "operation",
    ["encrypt from clear", *(pytest.param(o, marks=pytest.mark.all_only) for o in REPLACING)],
)
def test_what_the_owner_moved_or_edited_goes_although_its_removal_is_killed_as_well(
    tmp_path: Path, keys: Keys, operation: str
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    kill = trial.last("maildir.retire.before")
    judged = {
        (act, which): trial.judge_killed_again(kill, act, which, "maildir.retire.after")
        for act in ("move", "tag the Subject", "unread")
        for which in ("old", "new")
    }
    assert [problem for problem in judged.values() if problem == ""]
    assert {case: problem for case, problem in judged.items() if problem not in {"", "-"}} == {}


def test_a_rollback_puts_the_original_where_the_message_was_and_not_at_a_copy_of_it(
    tmp_path: Path, keys: Keys
) -> None:
    trial = trial_of(tmp_path, "maildir", "rollback from clear", keys)
    hold(trial, iter([Case(1, "copy", "old", 1, is_dead=True), Case(1, "copy", "old", None)]))


@pytest.mark.parametrize("operation", ["encrypt"])
def test_what_the_owner_does_while_an_interrupted_run_is_resumed_is_the_last_word(
    tmp_path: Path, keys: Keys, operation: str
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    kill = trial.last("maildir.retire.before")
    judged = [trial.judge_resumed(kill, point, "move", "new") for point in (3, 6)]
    assert judged == ["", ""]


@pytest.mark.all_only
@pytest.mark.parametrize("act", ["move", "unread", "tag the Subject", "delete"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_every_point_of_a_resumed_run_the_owner_has_the_last_word(
    tmp_path: Path, keys: Keys, operation: str, act: str
) -> None:
    trial = trial_of(tmp_path, "maildir", operation, keys)
    names = [name for name, _ in trial.passed]
    wrong = {}
    for which in ("old", "new") if "maildir.retire.before" in names else ():
        for point in range(1, 100):
            problem = trial.judge_resumed(trial.last("maildir.retire.before"), point, act, which)
            if problem not in {"", "-"}:
                wrong[which, point] = problem
    assert wrong == {}


def at_every_point(trial: OwnerTrial) -> Iterator[Case]:
    points = trial.distinct()
    for index, point in enumerate(points):
        later = points[min(index + 3, len(points) - 1)]
        for act in ACTS:
            for which in ("old", "new"):
                yield Case(point, act, which, point, is_dead=True)
                yield Case(point, act, which, None)
                yield Case(point, act, which, later)
        for which in ("old", "new"):
            yield Case(point, "flag", which, later, then="unflag")
            yield Case(point, "unread", which, later, then="flag")


@pytest.mark.all_only
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["maildir", *checker.KINDS])
def test_at_every_point_of_every_operation_the_owner_has_the_last_word(
    tmp_path: Path, keys: Keys, kind: str, operation: str
) -> None:
    trial = trial_of(tmp_path, kind, operation, keys)
    # Of the stores of the tests every tenth case, of each operation other ones.
    first, step = (0, 1) if kind == "maildir" else (list(OPERATIONS).index(operation), 10)
    hold(trial, islice(at_every_point(trial), first, None, step))
