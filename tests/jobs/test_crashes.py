"""Killed at every named point: nothing is lost, and the same command resumes (F01, F02)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash, faults
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Specify


@pytest.fixture
def place(sample: list[Mail], tmp_path: Path) -> Path:
    """A directory with the mailbox, where the job will be too."""
    fill(tmp_path / "trial" / "Maildir", sample)
    return tmp_path / "trial"


def in_clear(place: Path) -> list[Path]:
    """Files of mailbox and job with the plaintext of encrypted mail."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return [path for path in files if b"this is message" in path.read_bytes()]


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


# Budget of the three together: 20 seconds.
def test_decrypt_killed_at_every_point_resumes_to_the_same_end(
    place: Path, specify: Specify, whole: bool
) -> None:
    maildir, job = place / "Maildir", place / "job"
    spec = specify("decrypt", maildir, job=job)
    trial = crash.Trial(place, whole=whole)
    census = checker.census(maildir)
    wanted = counts(jobs.run(spec))
    checkpoints = {path.name for path in (job / "checkpoints").glob("*.eml")}
    assert (wanted[State.CHECKPOINTED], len(checkpoints)) == (5, 4)
    for where in trial.kills(spec):
        assert checker.census(maildir) == census, where
        assert counts(jobs.run(spec)) == wanted, where
        assert {path.name for path in (job / "checkpoints").glob("*.eml")} == checkpoints
        assert list((job / "checkpoints" / "incoming").iterdir()) == [], where
        assert checker.census(maildir) == census, where


@pytest.mark.long
def test_encrypt_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    place: Path, specify: Specify, keys: Keys, whole: bool
) -> None:
    maildir, job = place / "Maildir", place / "job"
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir, job=job))
    trial = crash.Trial(place, whole=whole)
    spec = specify("encrypt", maildir, job=job)
    wanted = counts(jobs.run(spec))
    assert wanted[State.REENCRYPTED] == 5
    for where in trial.kills(spec):
        at_the_kill = checker.meanings(maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.meanings(maildir, [keys.new]) == before, where
        assert not list(maildir.glob("**/tmp/*")), where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(maildir) == census, where


@pytest.mark.long
def test_rewrap_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    sample: list[Mail], tmp_path: Path, specify: Specify, keys: Keys, whole: bool
) -> None:
    # What stays as it is encrypted, what is encrypted anew, mail to oneself, and one in clear.
    place = tmp_path / "trial"
    maildir = place / "Maildir"
    fill(maildir, [sample[number] for number in (0, 1, 3, 4, 5)])
    trial = crash.Trial(place, whole=whole)
    spec = specify("rewrap", maildir, job=place / "job", or_reencrypt=True)
    before = checker.meanings(maildir, [keys.old])
    wanted = counts(jobs.run(spec))
    assert (wanted[State.REWRAPPED], wanted[State.REENCRYPTED]) == (3, 1)
    for where in trial.kills(spec):
        assert in_clear(place) == [], where
        at_the_kill = checker.meanings(maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.meanings(maildir, [keys.new]) == before, where
        assert in_clear(place) == [], where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(maildir) == census, where


@pytest.mark.parametrize("which", ["new", "old"])
def test_a_copy_that_cannot_be_read_after_a_kill_is_neither_made_again_nor_taken_for_gone(
    place: Path, specify: Specify, keys: Keys, which: str
) -> None:
    maildir, job = place / "Maildir", place / "job"
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir, job=job))
    old = set(checker.census(maildir))
    spec = specify("encrypt", maildir, job=job)
    crash.killed_at(spec, "maildir.retire.before")
    both = checker.census(maildir)
    new = set(both) - old
    assert len(new) == 5
    shut = new if which == "new" else {name for name in old if "M1P1" in name}
    for name in shut:
        (maildir / name).chmod(0)

    def run_shut() -> None:
        faults.without_privileges()
        assert jobs.run(spec).counts[State.FAILED] == len(shut)

    assert crash.in_child(run_shut) == 0
    for name in shut:
        (maildir / name).chmod(0o600)
    assert set(both) - set(checker.census(maildir)) <= old - shut
    assert set(checker.census(maildir)) <= set(both)
    assert jobs.run(spec).counts[State.REENCRYPTED] == 5
    assert checker.meanings(maildir, [keys.new]) == before
