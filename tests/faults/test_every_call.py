"""Every file call of every command goes wrong: nothing is lost, and the same command resumes.

F01, F14, F16, F17, F19-F28 and F33; the calls are counted and met by ``injector.c``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.every_call import Judge, Stage, Trial, note_figures, trials
from tests.support.faults import Call, FaultyProcess, seeing_each_change
from tests.support.mailboxes import Keys

OPERATIONS = (
    "scan",
    "decrypt",
    "in place",
    "encrypt",
    "encrypt what is in clear",
    "rewrap",
    "verify",
    "rollback",
    "purge",
)
PARTS = 12
"""Of which the normal run has a sample of the first."""

SAMPLE = 3
"""Trials of each operation in the normal run."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: Keys, faulty: FaultyProcess) -> Stage:
    place = tmp_path_factory.mktemp("calls")
    return Stage(place, faulty, keys, place / "work", seeing_each_change)


# Budget: 15 seconds for the sample.
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.all_only) for n in range(1, PARTS))]
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_call_that_goes_wrong_costs_no_message_and_the_same_command_resumes(
    operation: str, part: int, stage: Stage, whole: bool
) -> None:
    judge = Judge(stage, operation)
    calls = judge.calls()
    chosen = list(trials(calls))
    chosen = chosen[part::PARTS] if whole else chosen[:: len(chosen) // SAMPLE]
    violations = [text for trial in chosen for text in judge.violations(trial)]
    note_figures(operation, calls, chosen, violations)
    assert violations == []


@pytest.fixture(scope="module", params=["eml", "mbox"])
def stage_of_files(
    tmp_path_factory: pytest.TempPathFactory,
    keys: Keys,
    faulty: FaultyProcess,
    request: pytest.FixtureRequest,
) -> Stage:
    place, kind = tmp_path_factory.mktemp("calls"), str(request.param)
    return Stage(place, faulty, keys, place / "work", seeing_each_change, kind=kind)


# In the normal run each act of the stores fails instead (``tests/jobs``).
@pytest.mark.all_only
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("operation", ["encrypt", "in place", "rewrap", "rollback"])
def test_a_call_that_goes_wrong_costs_no_file_of_mail_and_the_same_command_resumes(
    operation: str, part: int, stage_of_files: Stage
) -> None:
    judge = Judge(stage_of_files, operation)
    calls = judge.calls()
    chosen = [trial for trial in trials(calls) if "/job/" not in trial.call.path][part::PARTS]
    violations = [text for trial in chosen for text in judge.violations(trial)]
    note_figures(f"{operation}, of {stage_of_files.kind} files", calls, chosen, violations)
    assert violations == []


# Budget: 5 seconds for the sample.
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(name, marks=() if name == "encrypt" else pytest.mark.all_only)
        for name in ("scan", "decrypt", "in place", "encrypt", "rewrap", "verify")
    ],
)
def test_a_call_of_a_worker_that_goes_wrong_costs_no_message_and_the_same_command_resumes(
    operation: str, stage: Stage, whole: bool
) -> None:
    judge = Judge(stage, operation)
    calls = judge.calls(workers=1)
    chosen = [*trials(calls), *(Trial(call, "delay") for call in calls if call.changes)]
    chosen = chosen if whole else chosen[len(chosen) // 4 :: len(chosen) // 2]
    violations = [text for trial in chosen for text in judge.violations(trial, workers=1)]
    note_figures(f"{operation}, in a worker", calls, chosen, violations)
    assert violations == []


def test_what_takes_the_place_of_a_message_is_durable_before_that_is_removed(stage: Stage) -> None:
    """No power cut tells on a file system that keeps all its acts in their order."""
    calls = Judge(stage, "encrypt").calls()
    removals = [at for at, call in enumerate(calls) if call.kind == "rename" and _is_mail(call)]
    assert removals
    for at in removals:
        folder = Path(calls[at].path).parent
        named = _last(calls[:at], "rename", partial(_lies_in, folder.parent / "tmp"))
        staged = Path(calls[named].path)
        original = _last(calls[:named], "link", lambda path: path.parent.name in {"cur", "new"})
        order = [
            (original, stage.work / "job/originals"),
            (_last(calls[:named], "rename", lambda path: path.name.startswith("sectool.")), staged),
            (named, folder),
        ]
        for first, synced in order:
            assert any(each.kind == "sync" and each.path == str(synced) for each in calls[first:at])
        logged = _last(calls[:at], "sync", lambda path: path.name.startswith("job.db"))
        assert logged > _last(calls[:at], "sync", folder.__eq__)


def test_a_new_copy_of_a_worker_is_durable_with_all_that_it_has(stage: Stage) -> None:
    calls = Judge(stage, "encrypt").calls(workers=1)
    written = [call for call in calls if call.kind == "write"]
    new = {call.path for call in written if Path(call.path).name.startswith("sectool.")}
    assert new
    for path in new:
        kinds = [call.kind for call in calls if call.path == path and call.changes]
        assert kinds[-1] == "sync"
        assert "times" in kinds


def test_a_checkpoint_is_durable_before_the_log_tells_of_it(stage: Stage) -> None:
    calls = Judge(stage, "decrypt").calls()
    named = _last(calls, "rename", lambda path: path.parent.name == "incoming")
    synced = _last(calls, "sync", lambda path: path.name == "checkpoints")
    first = next(at for at, call in enumerate(calls) if call.path == calls[named].path)
    written = [call.kind for call in calls[first:named] if call.path == calls[named].path]
    assert written.index("sync") > written.index("write")
    assert named < synced < _last(calls, "sync", lambda path: path.name.startswith("job.db"))


def _lies_in(directory: Path, path: Path) -> bool:
    return path.parent == directory


def _is_mail(call: Call) -> bool:
    return Path(call.path).parent.name in {"cur", "new"}


def _last(calls: list[Call], kind: str, fits: Callable[[Path], bool]) -> int:
    """Number of the last call of a kind that is about a file that fits."""
    return max(at for at, call in enumerate(calls) if call.kind == kind and fits(Path(call.path)))
