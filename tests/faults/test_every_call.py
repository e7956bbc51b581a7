"""Every file call of every command goes wrong: nothing is lost, and the same command resumes.

F01, F14, F16, F17, F19-F28 and F33; the calls are counted and met by ``injector.c``.
"""

from __future__ import annotations

import pytest

from tests.support.every_call import Judge, Stage, Trial, note_figures, trials
from tests.support.faults import FaultyProcess
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
    return Stage(place, faulty, keys, place / "work")


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
