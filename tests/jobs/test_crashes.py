"""Killed at every named point: nothing is lost, and the same command resumes (F01, F02)."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, Specify, fill


@pytest.fixture
def before(sample: list[Mail], tmp_path: Path, keys: Keys) -> Counter[tuple[object, ...]]:
    """What the mailbox means to its owner before anything happened."""
    directory = tmp_path / "untouched"
    fill(directory, sample)
    return checker.meanings(directory, [keys.old])


class Trial:
    """A mailbox and a job, set up anew for every crash point."""

    def __init__(self, sample: list[Mail], tmp_path: Path, specify: Specify) -> None:
        self._sample = sample
        self._directory = tmp_path / "trial"
        self._specify = specify
        self.maildir = self._directory / "Maildir"
        self.job = self._directory / "job"

    def set_up(self, operation: str) -> jobs.JobSpec:
        if self._directory.exists():
            shutil.rmtree(self._directory)
        fill(self.maildir, self._sample)
        if operation == "encrypt":
            jobs.run(self.specification("decrypt"))
        return self.specification(operation)

    def specification(self, operation: str) -> jobs.JobSpec:
        changes = {"or_reencrypt": True} if operation == "rewrap" else {}
        return self._specify(operation, self.maildir, job=self.job, **changes)

    def in_clear(self) -> list[Path]:
        """Files of mailbox and job with the plaintext of encrypted mail."""
        files = [path for path in self._directory.rglob("*") if path.is_file()]
        return [path for path in files if b"this is message" in path.read_bytes()]

    def numbers(self, operation: str, trace: Path) -> Iterator[int]:
        trace.unlink(missing_ok=True)
        names = crash.points(self.set_up(operation), trace)
        assert len(names) > 10
        yield from range(1, len(names) + 1)


@pytest.fixture
def trial(sample: list[Mail], tmp_path: Path, specify: Specify) -> Trial:
    return Trial(sample, tmp_path, specify)


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def test_decrypt_killed_at_every_point_resumes_to_the_same_end(
    trial: Trial, tmp_path: Path, before: Counter[tuple[object, ...]], keys: Keys
) -> None:
    wanted = counts(jobs.run(trial.set_up("decrypt")))
    checkpoints = {path.name for path in (trial.job / "checkpoints").glob("*.eml")}
    for number in trial.numbers("decrypt", tmp_path / "trace"):
        spec = trial.set_up("decrypt")
        census = checker.census(trial.maildir)
        crash.killed_at(spec, number)
        assert checker.census(trial.maildir) == census, number
        assert counts(jobs.run(spec)) == wanted, number
        assert {path.name for path in (trial.job / "checkpoints").glob("*.eml")} == checkpoints
        assert list((trial.job / "checkpoints" / "incoming").iterdir()) == [], number
        assert checker.census(trial.maildir) == census, number
    assert checker.meanings(trial.maildir, [keys.old]) == before


def test_encrypt_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    trial: Trial, tmp_path: Path, before: Counter[tuple[object, ...]], keys: Keys
) -> None:
    wanted = counts(jobs.run(trial.set_up("encrypt")))
    assert wanted[State.REENCRYPTED] == 5
    for number in trial.numbers("encrypt", tmp_path / "trace"):
        spec = trial.set_up("encrypt")
        crash.killed_at(spec, number)
        at_the_kill = checker.meanings(trial.maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, number
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.meanings(trial.maildir, [keys.new]) == before, number
        census = checker.census(trial.maildir)
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number


def test_rewrap_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    sample: list[Mail], tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    # What stays as it is encrypted, what is encrypted anew, mail to oneself, and one in clear.
    trial = Trial([sample[number] for number in (0, 1, 3, 4, 5)], tmp_path, specify)
    spec = trial.set_up("rewrap")
    before = checker.meanings(trial.maildir, [keys.old])
    wanted = counts(jobs.run(spec))
    assert wanted[State.REENCRYPTED] == 4
    for number in trial.numbers("rewrap", tmp_path / "trace"):
        spec = trial.set_up("rewrap")
        crash.killed_at(spec, number)
        assert trial.in_clear() == [], number
        at_the_kill = checker.meanings(trial.maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, number
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.meanings(trial.maildir, [keys.new]) == before, number
        assert trial.in_clear() == [], number
        census = checker.census(trial.maildir)
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number
