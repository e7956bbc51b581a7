"""Killed at every named point: nothing is lost, and the same command resumes (F01, F02)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, Specify, fill


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
        census = checker.census(maildir)
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(maildir) == census, where


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
    assert wanted[State.REENCRYPTED] == 4
    for where in trial.kills(spec):
        assert in_clear(place) == [], where
        at_the_kill = checker.meanings(maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.meanings(maildir, [keys.new]) == before, where
        assert in_clear(place) == [], where
        census = checker.census(maildir)
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(maildir) == census, where
