"""What a run works with: whom it tells and asks, the keys, the mailbox and the job it opens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sectool.durable import explained
from sectool.errors import PassphraseError, SectoolError, UnsafeDirectory, UsageError
from sectool.joblog import Acknowledgement
from sectool.jobs.session.acknowledge import acknowledging
from sectool.jobs.session.job import (
    Job,
    check_apart,
    check_mailbox,
    check_way,
    look_at_job,
    open_job,
    rehearse_job,
)
from sectool.jobs.session.login import credentials_for
from sectool.jobs.session.sealed_checkpoints import open_sealed
from sectool.jobs.session.spec import (
    Cancel,
    JobRun,
    MatchingRun,
    Operation,
    Run,
    Selection,
    TakingRun,
)
from sectool.jobs.session.status_file import Reporter
from sectool.jobs.work.open_with import workers_for
from sectool.keys import (
    Ask,
    KeyHistory,
    KeyProblem,
    KeySpecification,
    ProblemKind,
    exposure,
    load_key_history,
)
from sectool.mailbox import Mailbox, open_mailbox, recognise
from sectool.progress import Progress
from sectool.summary import ShutKeyFile, Summary
from sectool.trust import Trust
from sectool.values import dataclass

AnySummary = TypeVar("AnySummary", bound=Summary)

_ACT_ON_MAIL = frozenset(
    {Operation.DECRYPT, Operation.ENCRYPT, Operation.REWRAP, Operation.ROLLBACK}
)
"""After these nothing is known of what the mail needs."""


@dataclass(frozen=True, slots=True)
class JobSession:
    """A run on a job and on the mailbox with its mail, both open."""

    run: JobRun[Summary]
    job: Job
    """In a dry run a rehearsal."""
    mailbox: Mailbox
    workers: int
    """Worker processes, no more than the keys can serve; 0: this process."""
    progress: Progress
    cancel: Cancel
    stack: ExitStack

    @property
    def operation(self) -> Operation:
        """What the run does."""
        return self.run.operation

    @property
    def selection(self) -> Selection:
        """Which messages it works on."""
        return self.run.selection

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be written."""
        return self.run.dry_run

    def summary(self, kind: type[AnySummary]) -> AnySummary:
        """A summary of this kind, which says what the run does and where."""
        url = self.mailbox.specification.url
        job = str(self.run.job or "")
        access = self.run.account.words
        return kind(mailbox=url, job=job, phase=self.operation, access=access, dry_run=self.dry_run)

    def failure_percent(self, asked: int) -> int:
        """How many percent of a folder may fail; a dry run looks at everything."""
        return 100 if self.dry_run else asked

    def opening_sealed(self, keys: KeyHistory | None) -> JobSession:
        """The same, opening sealed checkpoints with these keys.

        Raises:
            UsageError: there are sealed ones, and the keys do not open them.
        """
        job = open_sealed(self.job, keys)
        return replace(self, job=job, workers=workers_for(self.workers, keys))

    def acknowledge(self, acknowledgements: tuple[Acknowledgement, ...]) -> None:
        """Takes down what a person knows of; tells at the end which of it met no message."""
        self.stack.enter_context(acknowledging(self.job, acknowledgements, self.progress))


@dataclass(frozen=True, slots=True)
class Session:
    """One run, with nothing open yet; what it opens is closed with the stack."""

    progress: Reporter
    cancel: Cancel
    ask: Ask | None
    stack: ExitStack

    # --- keys ---------------------------------------------------------------------------

    def tell(self, problems: Iterable[KeyProblem]) -> None:
        """Warns of what is odd about key files."""
        for problem in problems:
            self.progress.warn(f"{problem.path}: {problem.reason}", hint=problem.hint)

    def history(self, keys: KeySpecification) -> KeyHistory:
        """The keys, loaded; tells what is odd about their files, and what trying them costs."""
        history = self._loaded(keys)
        if count := len(history.unnamed_keys):
            self.progress.warn(
                f"--try-keys: each recipient of a message that no other key opens may cost {count}"
                f" private-key operation{'s' if count > 1 else ''}, with all keys without"
                " certificate",
                hint="with its certificate beside it a key is used on its own mail alone",
            )
        return history

    def _loaded(self, keys: KeySpecification) -> KeyHistory:
        history = load_key_history(keys, self.ask)
        self.tell(history.problems)
        unused = (each for each in history.problems if each.kind is ProblemKind.MISLEADING)
        self.progress.unused_key_files.extend(map(_shut, unused))
        return history

    def any_history(self, keys: KeySpecification | None) -> KeyHistory | None:
        """The same; None where none are named."""
        return None if keys is None else self.history(keys)

    def seal_keys(self, keys: KeySpecification | None) -> KeyHistory | None:
        """What opens sealed checkpoints; None where none are named."""
        if keys is None:
            return None
        # A key without certificate is tried, too: what it opens is authenticated.
        history = self._loaded(replace(keys, try_keys=True))
        trust = Trust.in_group(keys.trust_group)
        exposed = (exposure(key.source, trust) for key in history.keys)
        self.tell(filter(None, exposed))
        return history

    # --- the mailbox and the job --------------------------------------------------------

    def mailbox(self, run: Run[Summary], location: str) -> Mailbox:
        """Opens the mailbox."""
        account = run.account
        specification = recognise(location, account.user)
        credentials = credentials_for(specification, account, self.ask)
        if account.password_file is not None:
            self.tell(filter(None, [exposure(account.password_file, Trust())]))
        mailbox = self.stack.enter_context(open_mailbox(specification, credentials, account))
        if not run.selection.takes_any_of(mailbox.folders()):
            self.progress.warn(
                f"the mailbox has no folder {run.selection.folder}",
                hint="scan --json shows the folders; their case counts",
            )
        return mailbox

    def tell_passed_over(self, mailbox: Mailbox) -> None:
        """Tells in the end what the walks passed over; before the job says how the run ended."""
        self.stack.callback(_tell_passed_over, mailbox, self.progress)

    def take_in(self, run: TakingRun[Summary]) -> JobSession:
        """Opens a mailbox and its job, which is made where there is none.

        Raises:
            NotThisMailbox: the job belongs to another mailbox.
        """
        on = self._on_job(run, self.mailbox(run, run.mailbox), create=True)
        check_mailbox(on.job, on.mailbox)
        return on

    def find_again(self, run: MatchingRun[Summary], *, create: bool = False) -> JobSession:
        """Opens a job, and the mailbox that was named, else where the job's mailbox was last.

        Args:
            run: names them.
            create: make the job where there is none.
        """
        mailbox = self.mailbox(run, run.mailbox or _last_mailbox(run))
        return self._on_job(run, mailbox, create=create)

    def _on_job(self, run: JobRun[Summary], mailbox: Mailbox, *, create: bool) -> JobSession:
        trust = Trust.in_group(run.trust_group)
        if run.dry_run:
            job = self.stack.enter_context(rehearse_job(run.job, trust))
            check_way(job.log, run.operation)
        elif run.job is None:
            raise UsageError("no job directory was given", hint="name it with --job")
        else:
            check_apart(run.job, mailbox)
            job = self.stack.enter_context(open_job(run.job, create=create, trust=trust))
            check_way(job.log, run.operation)
            self._lock(job, mailbox, run.operation)
        if self.progress.hears_outcomes:
            job.log.messages.changes.watch(self.progress.outcome)
        self.tell_passed_over(mailbox)
        return JobSession(run, job, mailbox, run.workers, self.progress, self.cancel, self.stack)

    def _lock(self, job: Job, mailbox: Mailbox, operation: Operation) -> None:
        with explained(f"lock the mailbox {mailbox.specification.location}"):
            self.stack.enter_context(mailbox.lock())
        begin_generation(job)
        if operation in _ACT_ON_MAIL:
            with job.log.group():
                job.log.give_ups.forget_answers()
            # A copy that a killed run was about to remove is seen by nobody, and not to stay.
            mailbox.settle(job.log.replacements.intents(mailbox.specification.kind))
        self.stack.enter_context(self.progress.beside(job))
        job.finish_purge()


def _last_mailbox(run: MatchingRun[Summary]) -> str:
    with look_at_job(run.job, Trust.in_group(run.trust_group)) as job:
        if job.mailbox is None:
            raise UsageError(
                f"the job {run.job} has no mailbox yet", hint="run `sectool decrypt` on it first"
            )
        return job.mailbox


def _tell_passed_over(mailbox: Mailbox, progress: Reporter) -> None:
    passed_over = mailbox.passed_over
    progress.passed_over += len(passed_over)
    if passed_over:
        progress.warn(
            f"{len(passed_over)} {mailbox.passed_over_kind} were passed over,"
            f" such as {passed_over[0]}",
            hint=mailbox.passed_over_hint,
        )


def _shut(problem: KeyProblem) -> ShutKeyFile:
    return ShutKeyFile(str(problem.path), problem.reason, problem.hint)


def name_shut_key_files(summary: Summary, keys: KeyHistory | None) -> None:
    """Names the key files that may hold what is missed: what would end with 3 ends with 12."""
    problems = () if keys is None else keys.problems
    shut = (problem for problem in problems if problem.withholds_key)
    summary.shut_key_files = list(dict.fromkeys(map(_shut, shut)))
    if summary.shut_key_files and summary.failure_code in {0, 3}:
        summary.failure_code = PassphraseError.exit_code


# --- the only directory of its job that is in use -------------------------------------------------
# A job directory may be moved: paths are hints. A copy of it is another matter:
# two logs of one job would each go on from what they know, and neither would
# know what the other replaced. The log counts its runs (its generation) and
# notes where its directory was. Where that is another directory than the one at
# hand, and a job directory of the same job with as many runs still lies there,
# the one at hand is the copy.


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
