"""Every file call of every command goes wrong: nothing is lost, and the same command resumes.

F01, F14, F16, F17, F19-F28 and F33; the calls are counted and met by ``injector.c``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.every_call import Judge, Stage, trials
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

SAMPLE = 6
"""Trials of each operation in the normal run."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: Keys, faulty: FaultyProcess) -> Stage:
    return Stage(tmp_path_factory.mktemp("calls"), faulty, keys)


def note_figures(operation: str, calls: int, ways: Counter[str], violations: int) -> None:
    """Adds a line to the file that SECTOOL_WRITE_FIGURES names: what docs/guarantees.md tells."""
    if target := os.environ.get("SECTOOL_WRITE_FIGURES"):
        tried = "\t".join(str(ways[way]) for way in ("kill", "tear", "short", "error"))
        with Path(target).open("a", encoding="ascii") as figures:
            figures.write(f"{operation}\t{calls}\t{tried}\t{violations}\n")


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
    ways = Counter("error" if trial.way.isupper() else trial.way for trial in chosen)
    note_figures(operation, len(calls), ways, len(violations))
    assert violations == []
