"""A job directory may be moved; a second one of the same job is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.outcome import State
from tests.support import checker
from tests.support.specifications import Specify


@pytest.fixture
def job(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    jobs.run(specify("decrypt", maildir))
    return tmp_path / "job"


def test_a_moved_job_goes_on(job: Path, maildir: Path, specify: Specify, tmp_path: Path) -> None:
    moved = job.rename(tmp_path / "elsewhere")
    assert jobs.run(specify("encrypt", maildir, job=moved)).counts[State.REENCRYPTED] == 5


def test_a_job_that_was_copied_to_another_disk_and_removed_goes_on(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    moved = shutil.copytree(job, tmp_path / "elsewhere")
    shutil.rmtree(job)
    assert jobs.run(specify("encrypt", maildir, job=moved)).counts[State.REENCRYPTED] == 5


def test_a_job_restored_from_a_backup_in_its_own_place_goes_on(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    backup = shutil.copytree(job, tmp_path / "backup")
    jobs.run(specify("verify", None))
    shutil.rmtree(job)
    shutil.copytree(backup, job)
    assert jobs.run(specify("encrypt", maildir)).counts[State.REENCRYPTED] == 5


@pytest.mark.parametrize("operation", ["decrypt", "encrypt", "verify", "rollback", "purge"])
def test_a_copy_is_refused_while_the_job_it_was_made_from_is_there(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path, operation: str
) -> None:
    copy = shutil.copytree(job, tmp_path / "copy")
    jobs.run(specify("encrypt", maildir))
    census = checker.census(maildir)
    with pytest.raises(UsageError, match=r"copy of the job in .*/job, which is still there"):
        jobs.run(specify(operation, maildir, job=copy))
    assert checker.census(maildir) == census
    assert jobs.run(specify("verify", None)).counts[State.REENCRYPTED] == 5


def test_a_copy_that_never_ran_is_refused_as_well(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    copy = shutil.copytree(job, tmp_path / "copy")
    with pytest.raises(UsageError, match="copy of the job"):
        jobs.run(specify("encrypt", maildir, job=copy))


def test_looking_at_a_copy_and_rehearsing_on_it_are_not_refused(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    copy = shutil.copytree(job, tmp_path / "copy")
    assert jobs.status(copy).counts[State.CHECKPOINTED] == 5
    assert jobs.run(specify("encrypt", maildir, job=copy, dry_run=True)).space


def test_another_job_in_the_former_place_of_a_moved_one_does_not_matter(
    job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    moved = shutil.copytree(job, tmp_path / "elsewhere")
    shutil.rmtree(job)
    jobs.run(specify("decrypt", maildir))
    assert jobs.run(specify("encrypt", maildir, job=moved)).counts[State.REENCRYPTED] == 5
