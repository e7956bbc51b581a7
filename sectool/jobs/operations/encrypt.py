"""``encrypt``: every message of the job to the new recipients, wherever the mailbox is now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sectool.errors import NotThisMailbox, UsageError
from sectool.joblog import JobMessage
from sectool.jobs.passes.match import Matcher
from sectool.jobs.passes.reseal import Resealing
from sectool.jobs.session.job import Job
from sectool.jobs.session.owner import is_shared
from sectool.jobs.session.reopen import check_not_rolled_back
from sectool.jobs.session.spec import Cancel, JobSpec, Operation
from sectool.jobs.session.succession import read_history
from sectool.jobs.work.sealers import FromCheckpoints
from sectool.keys import KeyHistory, NewRecipient
from sectool.mailbox import Mailbox
from sectool.progress import Progress
from sectool.summary import Summary


class _Encryption:
    """One run of ``encrypt`` on one job."""

    def __init__(
        self,
        spec: JobSpec,
        job: Job,
        mailbox: Mailbox,
        recipients: Sequence[NewRecipient],
        *,
        new_keys: KeyHistory | None,
        cancel: Cancel,
    ) -> None:
        self._spec = spec
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._cancel = cancel
        self._checkpoints = FromCheckpoints(job.place)
        self._resealing = Resealing(
            spec,
            job,
            mailbox,
            recipients,
            method=self._checkpoints,
            waiting=self._waiting,
            new_keys=new_keys,
            workers=spec.workers,
            cancel=cancel,
        )

    def _waiting(self) -> Iterator[JobMessage]:
        yield from self._log.waiting.sealable()
        if self._spec.include_clear:
            yield from self._log.waiting.never_encrypted()

    def run(self, progress: Progress) -> Summary:
        self._check_phases()
        self._resealing.check(read_history(self._job), progress)
        self._resealing.sweep()
        self._match(progress)
        self._resealing.recover()
        self._resealing.begin()
        self._resealing.run(progress)
        self._settle_losses(progress)
        self._finish()
        self._resealing.prove(progress)
        return self._summary()

    def _check_phases(self) -> None:
        """Holds that decrypting is over."""
        check_not_rolled_back(self._log)
        if self._spec.restore_subject and is_shared(self._job):
            raise UsageError(
                "a restored Subject is there for all who read the mailbox, whoever could read it",
                hint="leave out --restore-subject: this job is on a shared mailbox",
            )
        decrypted = self._log.phase(Operation.DECRYPT)
        if decrypted is None and self._spec.include_clear:
            return  # the one job that has nothing to decrypt first
        if decrypted is None:
            raise UsageError(
                "this job has no decrypt phase", hint="run `sectool decrypt` on it first"
            )
        if decrypted[0] != "finished" and not self._spec.partial:
            raise UsageError(
                "decrypting is not finished on this job",
                hint="run `sectool decrypt` on the whole mailbox, with a higher --max-failures if"
                " it left a folder; or add --partial to do without",
            )

    def _match(self, progress: Progress) -> None:
        matcher = Matcher(self._job, self._mailbox, workers=self._spec.workers, cancel=self._cancel)
        match = matcher.run(progress)
        if match.found * 2 < match.messages and not self._spec.partial:
            raise NotThisMailbox(
                f"only {match.found} of the {match.messages} messages of the job are in"
                f" {self._mailbox.specification.url}",
                hint="name the mailbox the user was moved to, or add --partial if this is it",
            )

    def _settle_losses(self, progress: Progress) -> None:
        with self._log.group():
            self._log.messages.end_walk(unseen="lost")
        if self._spec.restore_lost:
            self._resealing.restore_lost(self._checkpoints, progress)

    def _finish(self) -> None:
        with self._log.group():
            if self._spec.accept_lost:
                self._log.messages.forgive_losses()
            self._resealing.finish_if_done()

    def _summary(self) -> Summary:
        summary = Summary()
        self._resealing.describe(summary)
        if self._log.purges.count_abandoned():
            summary.failure_code = summary.failure_code or 3
        return summary


def encrypt(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    recipients: Sequence[NewRecipient],
    *,
    new_keys: KeyHistory | None,
    progress: Progress,
    cancel: Cancel,
) -> Summary:
    """Replaces every message of the job by one for the new recipients.

    In a dry run the job is a rehearsal; the mailbox is matched and nothing is
    sealed. With ``new_keys`` all that was replaced is opened in the end.

    Raises:
        UsageError: the job is not ready, or was begun with other recipients.
        CertificateUnusable: the new certificates are not of the person whose mail it is.
        NotThisMailbox: less than half of the job is found here.
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    return _Encryption(spec, job, mailbox, recipients, new_keys=new_keys, cancel=cancel).run(
        progress
    )
