"""One job directory, opened: its lock, its log, its checkpoints and originals."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path

from sectool import durable
from sectool.checkpoint import INCOMING_NAME, CheckpointStore, OriginalStore
from sectool.errors import NotThisMailbox, SectoolError, UsageError
from sectool.joblog import MIGRATED_VERSIONS, JobLog
from sectool.jobs.session.spec import Operation
from sectool.jobs.work.checkpoint_access import CheckpointPlace, fixed_recipients
from sectool.locks import Lock
from sectool.mailbox import Mailbox
from sectool.trust import PLACE, Trust, Way
from sectool.values import dataclass

LOG_NAME = "job.db"
LOCK_NAME = "lock"
STATUS_NAME = "status.json"
"""What a run keeps beside the job, for whoever asks meanwhile."""
CHECKPOINTS_NAME = "checkpoints"
ORIGINALS_NAME = "originals"
SPOOL_NAME = "spool"
MAILBOX_VALUE = "mailbox"

_FILES = (
    *(f"{LOG_NAME}{end}" for end in ("", "-journal", "-wal", "-shm")),
    *(f"{LOG_NAME}.v{version}" for version in MIGRATED_VERSIONS),
    STATUS_NAME,
    LOCK_NAME,
)
"""Files of a job directory that are read or written under these names: SQLite follows a link,
and takes back what a journal says. All others in it are made anew, or count by their digest."""

_DIRECTORIES = (
    CHECKPOINTS_NAME,
    f"{CHECKPOINTS_NAME}/{INCOMING_NAME}",
    ORIGINALS_NAME,
    SPOOL_NAME,
)

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
    trust: Trust = field(default_factory=Trust)
    """Who may write to the directory beside root and the caller."""

    def keeping(self, place: CheckpointPlace) -> Job:
        """The same job, whose checkpoints are written and read in this way."""
        return replace(self, place=place, checkpoints=place.store())

    def finish_purge(self) -> None:
        """Carries out what an interrupted purge had decided; without effect where nothing waits."""
        removal = self.log.purges.intended()
        if removal:
            self.checkpoints.purge(removal.checkpoints)
            self.originals.purge(removal.originals)
            with self.log.group():
                self.log.purges.finish()

    @property
    def name(self) -> str:
        """Unique name of the job, wherever its directory is moved to."""
        return self.log.value("job") or ""

    @property
    def mailbox(self) -> str | None:
        """URL of the mailbox the job was at last."""
        return self.log.value(MAILBOX_VALUE)


def _job(directory: Path, log: JobLog, trust: Trust) -> Job:
    place = CheckpointPlace(directory / CHECKPOINTS_NAME, fixed_recipients(log) or ())
    originals = OriginalStore(directory / ORIGINALS_NAME)
    return Job(directory, log, place, place.store(), originals, trust)


@contextmanager
def open_job(directory: Path, *, create: bool, trust: Trust | None = None) -> Iterator[Job]:
    """Locks and opens a job directory for a run.

    Args:
        directory: the job directory.
        create: make it when it is not there.
        trust: who may write to it beside root and the caller; None: nobody.

    Raises:
        UsageError: it is not a job directory, or lies where none may lie.
        UnsafeDirectory: others could change it, or what leads to it.
        Locked: another run holds it.
        JobLogDamaged: its log is not whole.
    """
    trust = trust or Trust()
    real = _find(directory, trust)
    if real is None:
        if not create:
            raise _no_job(directory)
        real = _make(directory, trust)
    path = real / LOG_NAME
    holder = f"sectool, process {os.getpid()} on {platform.node()}"
    with ExitStack() as stack:
        with durable.explained(f"lock the job directory {directory}", denied=UsageError):
            stack.enter_context(Lock(real / LOCK_NAME, what=f"job {directory}", holder=holder))
        log = JobLog.open(path) if path.exists() else JobLog.create(path)
        job = _job(real, stack.enter_context(log), trust)
        job.checkpoints.prepare()
        job.originals.prepare()
        try:
            yield job
        finally:
            # What a worker that died has left is plaintext that nobody needs.
            with suppress(SectoolError):
                job.checkpoints.sweep()


@contextmanager
def rehearse_job(directory: Path | None, trust: Trust | None = None) -> Iterator[Job]:
    """A copy of a job in memory, for a dry run: takes no lock, writes nothing.

    Raises:
        UnsafeDirectory: others could change the job directory, or what leads to it.
    """
    trust = trust or Trust()
    real = None if directory is None else _find(directory, trust)
    place = real or directory or Path("/nonexistent")
    with JobLog.rehearsal(real and real / LOG_NAME) as log:
        yield _job(place, log, trust)


def is_job(directory: Path) -> bool:
    """Whether a job lies there, as far as can be seen."""
    try:
        return _is_there(directory / LOG_NAME)
    except OSError:
        return False


@contextmanager
def look_at_job(directory: Path, trust: Trust | None = None) -> Iterator[Job]:
    """A job directory for reading only, also while a run is on.

    Raises:
        UsageError: it is not a job directory.
        UnsafeDirectory: others could change it, or what leads to it.
    """
    if _find(directory, trust or Trust()) is None:
        raise _no_job(directory)
    with rehearse_job(directory, trust) as job:
        yield job


def _no_job(directory: Path) -> UsageError:
    return UsageError(
        f"{directory} is not a job directory",
        hint="give the directory that `sectool decrypt --job` made",
    )


def _find(directory: Path, trust: Trust) -> Path | None:
    """The real path of a job directory; None where no job lies.

    Everything is judged here before SQLite opens a file of it or a sweep removes one. What
    was judged stays so: nobody else can exchange it, or a directory that leads to it.

    Raises:
        UnsafeDirectory: others could change it, or what leads to it.
    """
    with durable.explained(f"look at the job directory {directory}", denied=UsageError):
        way = trust.walk(directory)
        if way.missing or not _is_there(way.real / LOG_NAME):
            return None
        _check(way.real, trust)
    return way.real


def _check(real: Path, trust: Trust) -> None:
    trust.check_own_directory(real)
    trust.check_own_names(real, files=_FILES, directories=_DIRECTORIES)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _make(directory: Path, trust: Trust) -> Path:
    with durable.explained(f"make the job directory {directory}", denied=UsageError):
        _check_place(directory, trust.walk(directory))
        real = make_directory(directory, trust)
        _check(real, trust)
    return real


def make_directory(directory: Path, trust: Trust) -> Path:
    """Makes a directory, and its parents, where it is not there, and answers its real path.

    Each directory on the way is judged before the next one is made. Somebody who may make
    names in one of them can be quicker, but what they made is theirs, and is told.

    Raises:
        UnsafeDirectory: others could change what leads to it.
        OSError: it cannot be made.
    """
    while (way := trust.walk(directory)).missing:
        durable.make_directory(way.real / way.missing[0])
    return way.real


def _check_place(directory: Path, way: Way) -> None:
    if not way.real.is_dir():
        raise UsageError(f"{directory} is not a directory", hint="name a new directory")
    if not way.missing and any(entry.name not in _HALF_MADE for entry in way.real.iterdir()):
        raise UsageError(
            f"{directory} is not empty and not a job directory",
            hint="name a new directory; sectool makes it",
        )
    if durable.on_network_file_system(way.real):
        raise UsageError(
            f"{directory} lies on a network file system, where locks and syncs cannot be trusted",
            hint="put the job directory on a local disk",
        )


def check_apart(directory: Path, mailbox: Mailbox) -> None:
    """Refuses a job directory inside the mailbox, or the other way round.

    Raises:
        UsageError: one lies in the other.
    """
    if mailbox.overlaps(directory):
        raise UsageError(
            f"the job directory {directory} and the mailbox {mailbox.specification.location}"
            " lie one inside the other",
            hint="put the job directory elsewhere: as root below"
            f" {PLACE}, else into a directory of your own",
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


# --- where decrypting walked ------------------------------------------------------------------
# What is missing where the mailbox has been all the time was deleted by its owner. What is
# missing anywhere else may have been dropped on the way there.

_WALKED_FIRST = "walked first"
_WALKED_LAST = "walked last"
"""Named values of the job: where the mailbox lay when it was walked to be taken in."""


def note_walk(job: Job, mailbox: Mailbox) -> None:
    """Takes down that the mailbox was walked to be taken in; inside a group."""
    here = _place_of(mailbox)
    if job.log.value(_WALKED_FIRST) is None:
        job.log.set_value(_WALKED_FIRST, here)
    job.log.set_value(_WALKED_LAST, here)


def has_stayed(job: Job, mailbox: Mailbox) -> bool:
    """Whether the mailbox lies where it was walked last; in doubt it does not."""
    here = _place_of(mailbox)
    return here != mailbox.specification.url and job.log.value(_WALKED_LAST) == here


def never_moved(job: Job, mailbox: Mailbox) -> bool:
    """Whether it lies where it was walked first, or is walked for the first time."""
    return job.log.value(_WALKED_FIRST) in {None, _place_of(mailbox)}


def _place_of(mailbox: Mailbox) -> str:
    """Names the very directory a mailbox is or lies in; on a server it cannot be told."""
    specification = mailbox.specification
    path = Path(specification.location)
    if not path.is_absolute():
        return specification.url
    # A file is replaced by another one when it is written.
    status = (path if path.is_dir() else path.parent).stat()
    return f"{specification.url} {status.st_dev} {status.st_ino}"


def end_walk(job: Job, mailbox: Mailbox) -> None:
    """What a walk that held the mailbox against the job did not find is lost; inside a group.

    Mail in clear is so only where the mailbox has moved.
    """
    job.log.messages.end_walk(unseen="lost", forgives_clear=has_stayed(job, mailbox))


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
