"""Holds that a job directory is the only one of its job that is in use.

A job directory may be moved: paths are hints. A copy of it is another matter:
two logs of one job would each go on from what they know, and neither would
know what the other replaced. The log counts its runs (its generation) and
notes where its directory was. Where that is another directory than the one at
hand, and a job directory of the same job with as many runs still lies there,
the one at hand is the copy.
"""

from __future__ import annotations

import json
from pathlib import Path

from sectool.errors import SectoolError, UnsafeDirectory, UsageError
from sectool.jobs.session.job import Job, look_at_job

GENERATION = "generation"
"""Named value of the job: how many runs it has had."""

DIRECTORY = "directory"
"""Named value of the job: path, device and inode of its directory at the last run."""


def begin_generation(job: Job) -> None:
    """Counts a run and notes where the job is; the job is locked.

    Raises:
        UsageError: it is a copy of a job directory that is still there.
    """
    here = _place(job.directory)
    known = job.log.value(DIRECTORY)
    if known is not None and known != here:
        _check_moved(job, json.loads(known), json.loads(here))
    with job.log.group():
        job.log.set_value(GENERATION, str(_generation(job) + 1))
        job.log.set_value(DIRECTORY, here)


def _generation(job: Job) -> int:
    return int(job.log.value(GENERATION) or 0)


def _place(directory: Path) -> str:
    status = directory.stat()
    place = [str(directory.resolve()), status.st_dev, status.st_ino]
    return json.dumps(place)


def _check_moved(job: Job, known: list[object], here: list[object]) -> None:
    there = Path(str(known[0]))
    if there == Path(str(here[0])) or known[1:] == here[1:]:
        return  # restored from a backup in its own place, or renamed
    if _is_live(there, job):
        raise UsageError(
            f"{job.directory} is a copy of the job in {there}, which is still there",
            hint="go on with that one; to go on with the copy, remove that one first",
        )


def _is_live(directory: Path, job: Job) -> bool:
    """Whether the same job lies there, and has come as far as this one at least."""
    try:
        with look_at_job(directory, job.trust) as other:
            return other.name == job.name and _generation(other) >= _generation(job)
    except UnsafeDirectory:
        return True  # it cannot be told, and two logs of one job are the worse mistake
    except (SectoolError, OSError):
        return False  # whatever lies there now
