"""One job directory, opened: its lock, its log, its checkpoints and originals."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sectool import durable
from sectool.checkpoint import CheckpointStore, OriginalStore
from sectool.errors import NotThisMailbox, SectoolError, UsageError
from sectool.joblog import JobLog
from sectool.jobs.running.spec import Operation
from sectool.jobs.worker.checkpoints import CheckpointPlace, fixed_recipients
from sectool.locks import Lock
from sectool.mailbox import Mailbox, MailboxSpecification

LOG_NAME = "job.db"
LOCK_NAME = "lock"
MAILBOX_VALUE = "mailbox"

_HALF_MADE = frozenset({LOCK_NAME, f"{LOG_NAME}.new", f"{LOG_NAME}.new-journal"})
"""What a run that was killed while it made the job may have left."""


@dataclass(frozen=True, slots=True)
class Job:
    """An open job; ``log`` may be a rehearsal that no disk sees."""

    directory: Path
    log: JobLog
    place: CheckpointPlace
    """How checkpoints are kept; workers make their store from it."""
    checkpoints: CheckpointStore
    originals: OriginalStore

    def keeping(self, place: CheckpointPlace) -> Job:
        """The same job, whose checkpoints are written and read in this way."""
        return replace(self, place=place, checkpoints=place.store())

    @property
    def name(self) -> str:
        """Unique name of the job, wherever its directory is moved to."""
        return self.log.value("job") or ""

    @property
    def mailbox(self) -> str | None:
        """URL of the mailbox the job was at last."""
        return self.log.value(MAILBOX_VALUE)


def _job(directory: Path, log: JobLog) -> Job:
    place = CheckpointPlace(directory / "checkpoints", fixed_recipients(log) or ())
    return Job(directory, log, place, place.store(), OriginalStore(directory / "originals"))


@contextmanager
def open_job(directory: Path, *, create: bool) -> Iterator[Job]:
    """Locks and opens a job directory for a run.

    Args:
        directory: the job directory.
        create: make it when it is not there.

    Raises:
        UsageError: it is not a job directory, or lies where none may lie.
        Locked: another run holds it.
        JobLogDamaged: its log is not whole.
    """
    path = directory / LOG_NAME
    if not path.exists():
        if not create:
            raise UsageError(
                f"{directory} is not a job directory",
                hint="give the directory that `sectool decrypt --job` made",
            )
        _check_place(directory)
        with durable.explained(f"make the job directory {directory}", denied=UsageError):
            durable.make_directory(directory)
    holder = f"sectool, process {os.getpid()} on {platform.node()}"
    with ExitStack() as stack:
        with durable.explained(f"lock the job directory {directory}", denied=UsageError):
            stack.enter_context(Lock(directory / LOCK_NAME, what=f"job {directory}", holder=holder))
        log = JobLog.open(path) if path.exists() else JobLog.create(path)
        job = _job(directory, stack.enter_context(log))
        job.checkpoints.prepare()
        job.originals.prepare()
        try:
            yield job
        finally:
            # What a worker that died has left is plaintext that nobody needs.
            with suppress(SectoolError):
                job.checkpoints.sweep()


@contextmanager
def rehearse_job(directory: Path | None) -> Iterator[Job]:
    """A copy of a job in memory, for a dry run: takes no lock, writes nothing."""
    place = directory or Path("/nonexistent")
    with JobLog.rehearsal(directory and directory / LOG_NAME) as log:
        yield _job(place, log)


def is_job(directory: Path) -> bool:
    """Whether a job lies there."""
    return (directory / LOG_NAME).exists()


@contextmanager
def look_at_job(directory: Path) -> Iterator[Job]:
    """A job directory for reading only, also while a run is on.

    Raises:
        UsageError: it is not a job directory.
    """
    if not is_job(directory):
        raise UsageError(
            f"{directory} is not a job directory",
            hint="give the directory that `sectool decrypt --job` made",
        )
    with rehearse_job(directory) as job:
        yield job


def _check_place(directory: Path) -> None:
    if directory.is_dir() and any(entry.name not in _HALF_MADE for entry in directory.iterdir()):
        raise UsageError(
            f"{directory} is not empty and not a job directory",
            hint="name a new directory; sectool makes it",
        )
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", hint="name a new directory")
    if durable.on_network_file_system(_existing(directory)):
        raise UsageError(
            f"{directory} lies on a network file system, where locks and syncs cannot be trusted",
            hint="put the job directory on a local disk",
        )


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def check_apart(directory: Path, specification: MailboxSpecification) -> None:
    """Refuses a job directory inside the mailbox, or the other way round.

    Raises:
        UsageError: one lies in the other.
    """
    # Not resolve(), to which links in a circle are no OSError.
    job, mailbox = (Path(os.path.realpath(path)) for path in (directory, specification.location))
    if job.is_relative_to(mailbox) or mailbox.is_relative_to(job):
        raise UsageError(
            f"the job directory {directory} and the mailbox {specification.location}"
            " lie one inside the other",
            hint="put the job directory elsewhere, such as beside the mailbox",
        )


def check_way(log: JobLog, operation: Operation) -> None:
    """Holds that a job goes on the way it was begun: by checkpoints, or by exchanging recipients.

    Raises:
        UsageError: it was begun the other way.
    """
    by_checkpoints = {Operation.DECRYPT, Operation.ENCRYPT}
    if operation is Operation.REWRAP and any(map(log.phase, by_checkpoints)):
        raise UsageError(
            "this job decrypts and encrypts anew",
            hint="go on with `sectool encrypt`, or begin another job with another --job directory",
        )
    if operation in by_checkpoints and log.phase(Operation.REWRAP) is not None:
        raise UsageError(
            "this job exchanges recipients",
            hint="go on with `sectool rewrap`, or begin another job with another --job directory",
        )


def check_mailbox(job: Job, mailbox: Mailbox) -> None:
    """Holds that ``mailbox`` is where the job was begun; notes it on a new job.

    Raises:
        NotThisMailbox: the job belongs to another mailbox.
    """
    here = mailbox.specification.url
    if job.mailbox is None:
        with job.log.group():
            job.log.set_value(MAILBOX_VALUE, here)
    elif job.mailbox != here:
        raise NotThisMailbox(
            f"this job was begun on {job.mailbox}, not on {here}",
            hint="name that mailbox, or begin another job with another --job directory",
        )
