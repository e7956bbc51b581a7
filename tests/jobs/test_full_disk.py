"""A job directory that takes no more, or nothing at all: told as what it is, and resumed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import NoSpace
from sectool.joblog import JobLog
from sectool.outcome import State
from tests.support import checker, crash
from tests.support.documents import parsed
from tests.support.mailboxes import Keys
from tests.support.mounts import Mount, mount
from tests.support.specifications import Specify

__all__ = ["mount"]


def grow(log: JobLog, kilobytes: int) -> None:
    with log.group():
        for number in range(kilobytes):
            log.set_value(f"filler {number}", "x" * 1000)


@pytest.fixture
def small_disk(tmp_path: Path, mount: Mount) -> Path:
    directory = tmp_path / "disk"
    directory.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "none", at=directory)
    return directory


def test_a_log_on_a_full_disk_ends_with_17_and_keeps_what_was_committed(small_disk: Path) -> None:
    log = JobLog.create(small_disk / "job.db")
    grow(log, 10)
    with pytest.raises(NoSpace):
        grow(log, 2000)
    log.close()
    with JobLog.open(small_disk / "job.db") as again:
        assert again.value("filler 9")
        assert again.value("filler 10") is None


def test_a_log_that_may_not_grow_ends_with_17(tmp_path: Path) -> None:
    path = tmp_path / "job.db"
    script = (
        "import resource, sys; from pathlib import Path;"
        "from sectool.errors import NoSpace; from sectool.joblog import JobLog;"
        "from tests.jobs.test_full_disk import grow;"
        "log = JobLog.create(Path(sys.argv[1]));"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY));\n"
        "try: grow(log, 1000)\n"
        "except NoSpace as error: sys.exit(error.exit_code)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, path], cwd=root, check=False)
    assert done.returncode == 17
    assert sorted(p.name for p in tmp_path.iterdir()) == ["job.db", "job.db-journal"]


def test_decrypting_onto_a_disk_that_fills_resumes_where_there_is_room(
    small_disk: Path, maildir: Path, specify: Specify
) -> None:
    filler = small_disk / "filler"
    job = small_disk / "job"
    jobs.run(specify("decrypt", maildir, job=job, selection=jobs.Selection(limit=1)))
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(NoSpace):
        jobs.run(specify("decrypt", maildir, job=job))
    filler.unlink()
    assert jobs.run(specify("decrypt", maildir, job=job)).counts[State.CHECKPOINTED] == 5


@pytest.mark.parametrize("operation", ["decrypt", "encrypt", "verify", "purge"])
def test_a_job_directory_that_cannot_be_written_is_not_told_as_a_mailbox_that_cannot(
    operation: str,
    small_disk: Path,
    mount: Mount,
    maildir: Path,
    specify: Specify,
    keys: Keys,
    tmp_path: Path,
) -> None:
    job = small_disk / "job"
    jobs.run(specify("decrypt", maildir, job=job))
    census = checker.census(maildir)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    words = [operation, "--json", "--workers=0"]
    words += {
        "decrypt": [str(maildir), "--keys", str(keys.history), "--job", str(job)],
        "encrypt": ["--job", str(job), "--to", str(keys.new.certificate)],
    }.get(operation, [str(job)])
    output = tmp_path / "output"
    assert crash.command_in_child(words, output) == 2
    error = parsed(output.read_text(encoding="utf-8"))["error"]
    assert "job" in error["message"]
    assert "mount options" in error["hint"]
    assert checker.census(maildir) == census


def test_looking_at_a_job_that_cannot_be_written_works(
    small_disk: Path, maildir: Path, specify: Specify
) -> None:
    job = small_disk / "job"
    jobs.run(specify("decrypt", maildir, job=job))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert jobs.status(job).counts[State.CHECKPOINTED] == 5
