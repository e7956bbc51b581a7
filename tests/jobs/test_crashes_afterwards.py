"""verify, rollback and purge killed at every named point: the same end, and nothing twice (F01)."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, Specify, fill


class Trial:
    """A mailbox and a job whose mail is encrypted, put back as they were for every point."""

    def __init__(self, directory: Path, sample: list[Mail], specify: Specify, keys: Keys) -> None:
        self._prepared = directory / "prepared"
        self._directory = directory / "trial"
        self._specify = specify
        self._new = KeySpecification((keys.new.certificate, keys.new.private_key))
        self.maildir = self._directory / "Maildir"
        self.job = self._directory / "job"
        fill(self.maildir, sample)
        jobs.run(specify("decrypt", self.maildir, job=self.job))
        jobs.run(specify("encrypt", self.maildir, job=self.job))
        self._directory.rename(self._prepared)

    def set_up(self, operation: str) -> jobs.JobSpec:
        if self._directory.exists():
            shutil.rmtree(self._directory)
        shutil.copytree(self._prepared, self._directory)
        return self.specification(operation)

    def specification(self, operation: str) -> jobs.JobSpec:
        keys = None if operation == "rollback" else self._new
        mailbox = self.maildir if operation == "decrypt" else None
        return self._specify(operation, mailbox, job=self.job, verify_keys=keys)

    def numbers(self, operation: str, trace: Path) -> range:
        names = crash.points(self.set_up(operation), trace)
        assert len(names) > 9
        return range(1, len(names) + 1)

    def files(self) -> set[str]:
        """Names of all checkpoints and originals."""
        return {path.name for path in self.job.rglob("*.eml")}


@pytest.fixture
def trial(sample: list[Mail], tmp_path: Path, specify: Specify, keys: Keys) -> Trial:
    return Trial(tmp_path, sample, specify, keys)


@pytest.fixture
def before(sample: list[Mail], tmp_path: Path) -> Counter[tuple[object, ...]]:
    """The mailbox byte for byte, as it was before anything happened."""
    directory = tmp_path / "untouched"
    fill(directory, sample)
    return checker.meanings(directory, [])


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def test_rollback_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    trial: Trial,
    tmp_path: Path,
    sample: list[Mail],
    before: Counter[tuple[object, ...]],
    keys: Keys,
) -> None:
    wanted = counts(jobs.run(trial.set_up("rollback")))
    assert wanted[State.ROLLED_BACK] == 5
    owner = [keys.old, keys.new]
    meant = checker.meanings(trial.maildir, owner)
    for number in trial.numbers("rollback", tmp_path / "trace"):
        spec = trial.set_up("rollback")
        crash.killed_at(spec, number)
        at_the_kill = checker.meanings(trial.maildir, owner)
        for mail, copies in meant.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, number
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.meanings(trial.maildir, []) == before, number
        assert not list((trial.maildir / "tmp").iterdir()), number
        census = checker.census(trial.maildir)
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number


def test_purge_killed_at_every_point_removes_no_more_and_no_less(
    trial: Trial, tmp_path: Path
) -> None:
    wanted = counts(jobs.run(trial.set_up("purge")))
    assert wanted[State.PURGED] == 5
    for number in trial.numbers("purge", tmp_path / "trace"):
        spec = trial.set_up("purge")
        census = checker.census(trial.maildir)
        crash.killed_at(spec, number)
        assert counts(jobs.run(spec)) == wanted, number
        assert trial.files() == set(), number
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number


def test_after_a_purge_that_was_killed_every_other_command_says_purged(
    trial: Trial, tmp_path: Path
) -> None:
    wanted = counts(jobs.run(trial.set_up("purge")))
    untouched = counts(jobs.run(trial.set_up("verify")))
    for number in trial.numbers("purge", tmp_path / "trace"):
        crash.killed_at(trial.set_up("purge"), number)
        found = counts(jobs.run(trial.specification("verify")))
        assert found in (untouched, wanted), number
        assert (trial.files() == set()) == (found == wanted), number


def test_verify_killed_at_every_point_leaves_the_mailbox_and_resumes(
    trial: Trial, tmp_path: Path
) -> None:
    wanted = counts(jobs.run(trial.set_up("verify")))
    assert wanted[State.VERIFIED] == 5
    for number in trial.numbers("verify", tmp_path / "trace"):
        spec = trial.set_up("verify")
        census = checker.census(trial.maildir)
        files = trial.files()
        crash.killed_at(spec, number)
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number
        assert trial.files() == files, number


def test_a_rollback_that_was_killed_is_ended_before_decrypt_reopens_the_job(
    trial: Trial, tmp_path: Path
) -> None:
    spec = trial.set_up("rollback")
    names = crash.points(spec, tmp_path / "trace")
    placed = names.index("maildir.directory.after") + 1
    crash.killed_at(trial.set_up("rollback"), placed)
    decrypt = trial.specification("decrypt")
    with pytest.raises(UsageError, match="interrupted"):
        jobs.run(decrypt)
    jobs.run(trial.specification("rollback"))
    assert jobs.run(decrypt).counts[State.CHECKPOINTED] == 5


class Interrupted:
    """A job whose replacing is killed, put back as it was before for every point."""

    def __init__(
        self, directory: Path, sample: list[Mail], specify: Specify, operation: str
    ) -> None:
        self.operation = operation
        self._safe = directory / "safe"
        self._directory = directory / "trial"
        self._specify = specify
        self._trace = directory / "trace"
        self.maildir = self._directory / "Maildir"
        fill(self.maildir, sample)
        if operation == "encrypt":
            jobs.run(self.specification("decrypt"))
        self._directory.rename(self._safe)

    def specification(self, operation: str) -> jobs.JobSpec:
        mailbox = self.maildir if operation in {"decrypt", "rewrap"} else None
        changes = {"or_reencrypt": True} if operation == "rewrap" else {}
        return self._specify(operation, mailbox, job=self._directory / "job", **changes)

    def _put_back(self) -> None:
        if self._directory.exists():
            shutil.rmtree(self._directory)
        shutil.copytree(self._safe, self._directory)

    def kills(self) -> Iterator[int]:
        """Kills the run at every point in turn."""
        self._put_back()
        names = crash.points(self.specification(self.operation), self._trace)
        for number in range(1, len(names) + 1):
            self._put_back()
            crash.killed_at(self.specification(self.operation), number)
            yield number


@pytest.fixture(params=["encrypt", "rewrap"])
def interrupted(
    request: pytest.FixtureRequest, sample: list[Mail], tmp_path: Path, specify: Specify
) -> Interrupted:
    return Interrupted(tmp_path / "interrupted", sample, specify, request.param)


def test_replacing_that_was_killed_is_ended_and_undone_by_rollback(
    interrupted: Interrupted, before: Counter[tuple[object, ...]]
) -> None:
    undone = 0
    for number in interrupted.kills():
        try:
            summary = jobs.run(interrupted.specification("rollback"))
        except UsageError:
            continue  # nothing was replaced yet
        undone += summary.counts[State.ROLLED_BACK]
        assert checker.meanings(interrupted.maildir, []) == before, number
    assert undone


def test_verifying_after_a_kill_does_no_harm(interrupted: Interrupted) -> None:
    for number in interrupted.kills():
        census = checker.census(interrupted.maildir)
        try:
            summary = jobs.run(interrupted.specification("verify"))
        except UsageError:
            continue  # the job was not begun yet
        assert summary.messages == sum(summary.counts.values()) == 8, number
        assert checker.census(interrupted.maildir) == census, number
        finished = jobs.run(interrupted.specification(interrupted.operation))
        assert finished.counts[State.REENCRYPTED] == 5, number
        assert finished.messages == 8, number
        assert len(list(checker.stored_mail(interrupted.maildir))) == 8, number
