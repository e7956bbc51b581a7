"""verify, rollback and purge killed at every named point: the same end, and nothing twice (F01)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify, fitting


class Finished:
    """A mailbox and a job whose mail is encrypted, in one directory."""

    def __init__(self, directory: Path, sample: list[Mail], specify: Specify, keys: Keys) -> None:
        self.directory = directory / "trial"
        self._specify = specify
        self._new = KeySpecification((keys.new.certificate, keys.new.private_key))
        self.maildir = self.directory / "Maildir"
        self.job = self.directory / "job"
        fill(self.maildir, sample)
        jobs.run(specify("decrypt", self.maildir, job=self.job))
        jobs.run(specify("encrypt", self.maildir, job=self.job))

    def specification(self, operation: str) -> jobs.Specification:
        mailbox = self.maildir if operation == "decrypt" else None
        usual: Fields = {"job": self.job, "verify_keys": self._new}
        return self._specify(operation, mailbox, **fitting(operation, usual))

    def files(self) -> set[str]:
        """Names of all checkpoints and originals."""
        return {path.name for path in self.job.rglob("*.eml")}


@pytest.fixture
def finished(sample: list[Mail], tmp_path: Path, specify: Specify, keys: Keys) -> Finished:
    return Finished(tmp_path, sample, specify, keys)


@pytest.fixture
def trial(finished: Finished, whole: bool) -> crash.Trial:
    return crash.Trial(finished.directory, whole=whole)


@pytest.fixture
def before(sample: list[Mail], tmp_path: Path) -> Counter[tuple[object, ...]]:
    """The mailbox byte for byte, as it was before anything happened."""
    directory = tmp_path / "untouched"
    fill(directory, sample)
    return checker.meanings(directory, [])


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


# Budget of all that is killed here: 15 seconds.
def test_rollback_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    finished: Finished,
    trial: crash.Trial,
    before: Counter[tuple[object, ...]],
    keys: Keys,
) -> None:
    spec = finished.specification("rollback")
    owner = [keys.old, keys.new]
    meant = checker.meanings(finished.maildir, owner)
    wanted = counts(jobs.run(spec))
    assert wanted[State.ROLLED_BACK] == 5
    for where in trial.kills(spec):
        at_the_kill = checker.meanings(finished.maildir, owner)
        for mail, copies in meant.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.meanings(finished.maildir, []) == before, where
        assert not list((finished.maildir / "tmp").iterdir()), where
        if trial.is_run_once_more():
            census = checker.census(finished.maildir)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(finished.maildir) == census, where


def told(summary: Summary) -> tuple[dict[State, int], int]:
    """The states of the messages, and of how many the job data were removed."""
    return counts(summary), summary.job_data_removed


def test_purge_killed_at_every_point_removes_no_more_and_no_less(
    finished: Finished, trial: crash.Trial
) -> None:
    spec = finished.specification("purge")
    census = checker.census(finished.maildir)
    wanted = told(jobs.run(spec))
    assert wanted[1] == 5
    for where in trial.kills(spec):
        assert told(jobs.run(spec)) == wanted, where
        assert finished.files() == set(), where
        if trial.is_run_once_more():
            assert told(jobs.run(spec)) == wanted, where
        assert checker.census(finished.maildir) == census, where


def test_after_a_purge_that_was_killed_every_other_command_says_purged(
    finished: Finished, whole: bool
) -> None:
    trial = crash.Trial(finished.directory, whole=whole, beside=True)
    verify = finished.specification("verify")
    untouched = told(jobs.run(verify))
    wanted = told(jobs.run(finished.specification("purge")))
    for where in trial.kills(finished.specification("purge")):
        found = told(jobs.run(verify))
        assert found in (untouched, wanted), where
        assert (finished.files() == set()) == (found == wanted), where


def test_verify_killed_at_every_point_leaves_the_mailbox_and_resumes(
    finished: Finished, trial: crash.Trial
) -> None:
    spec = finished.specification("verify")
    census = checker.census(finished.maildir)
    files = finished.files()
    wanted = counts(jobs.run(spec))
    assert wanted[State.VERIFIED] == 5
    for where in trial.kills(spec):
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(finished.maildir) == census, where
        assert finished.files() == files, where


def test_a_rollback_that_was_killed_is_ended_before_decrypt_reopens_the_job(
    finished: Finished,
) -> None:
    crash.killed_at(finished.specification("rollback"), "maildir.directory.after")
    decrypt = finished.specification("decrypt")
    with pytest.raises(UsageError, match="interrupted"):
        jobs.run(decrypt)
    jobs.run(finished.specification("rollback"))
    assert jobs.run(decrypt).counts[State.CHECKPOINTED] == 5


class Interrupted:
    """A mailbox and a job whose replacing is going to be killed, in one directory."""

    def __init__(
        self, directory: Path, sample: list[Mail], specify: Specify, operation: str
    ) -> None:
        self.operation = operation
        self.directory = directory / "trial"
        self._specify = specify
        self.maildir = self.directory / "Maildir"
        fill(self.maildir, sample)
        if operation == "encrypt":
            jobs.run(self.specification("decrypt"))

    def specification(self, operation: str) -> jobs.Specification:
        mailbox = self.maildir if operation in {"decrypt", "rewrap"} else None
        usual: Fields = {"job": self.directory / "job", "or_reencrypt": True}
        return self._specify(operation, mailbox, **fitting(operation, usual))


@pytest.fixture(params=["encrypt", "rewrap"])
def interrupted(
    request: pytest.FixtureRequest, sample: list[Mail], tmp_path: Path, specify: Specify
) -> Interrupted:
    return Interrupted(tmp_path, sample, specify, request.param)


def test_replacing_that_was_killed_is_ended_and_undone_by_rollback(
    interrupted: Interrupted, before: Counter[tuple[object, ...]], whole: bool
) -> None:
    trial = crash.Trial(interrupted.directory, whole=whole, beside=True)
    undone = 0
    for where in trial.kills(interrupted.specification(interrupted.operation)):
        try:
            summary = jobs.run(interrupted.specification("rollback"))
        except UsageError:
            continue  # nothing was replaced yet
        undone += summary.counts[State.ROLLED_BACK]
        assert checker.meanings(interrupted.maildir, []) == before, where
    assert undone


def test_verifying_after_a_kill_does_no_harm(interrupted: Interrupted, whole: bool) -> None:
    trial = crash.Trial(interrupted.directory, whole=whole, beside=True)
    spec = interrupted.specification(interrupted.operation)
    verified = 0
    for where in trial.kills(spec):
        census = checker.census(interrupted.maildir)
        try:
            summary = jobs.run(interrupted.specification("verify"))
        except UsageError:
            continue  # the job was not begun yet
        verified += 1
        assert summary.messages == sum(summary.counts.values()) == 8, where
        assert checker.census(interrupted.maildir) == census, where
        finished = jobs.run(spec)
        states = finished.counts
        assert states[State.REENCRYPTED] + states[State.REWRAPPED] == 5, where
        assert finished.messages == 8, where
        assert len(list(checker.stored_mail(interrupted.maildir))) == 8, where
    assert verified
