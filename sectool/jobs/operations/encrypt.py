"""``encrypt``: every message of the job to the new recipients, wherever the mailbox is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sectool.errors import UsageError
from sectool.joblog import JobMessage
from sectool.jobs.passes.bring_back_lost import BroughtBack
from sectool.jobs.passes.match import Matcher, check_found
from sectool.jobs.passes.reseal import Resealing
from sectool.jobs.session.acknowledge import read_acknowledgements
from sectool.jobs.session.job import end_walk
from sectool.jobs.session.new_certificates import load_certificates
from sectool.jobs.session.owner import is_shared
from sectool.jobs.session.reopen import check_not_rolled_back
from sectool.jobs.session.session import JobSession, Session
from sectool.jobs.session.spec import Encrypt, Operation
from sectool.jobs.session.succession import read_history
from sectool.jobs.work.sealers import FromCheckpoints
from sectool.keys import KeyHistory, NewRecipient, exposed_secrets
from sectool.outcome import State
from sectool.progress import Progress
from sectool.summary import EncryptSummary
from sectool.trust import Trust


class _Encryption:
    """One run of ``encrypt`` on one job."""

    def __init__(
        self,
        spec: Encrypt,
        on: JobSession,
        recipients: Sequence[NewRecipient],
        new_keys: KeyHistory | None,
    ) -> None:
        self._spec = spec
        self._on = on
        self._job = on.job
        self._log = on.job.log
        self._checkpoints = FromCheckpoints(on.job.place)
        self._brought_back: BroughtBack | None = None
        self._resealing = Resealing(
            on,
            spec,
            recipients,
            undone=spec,
            method=self._checkpoints,
            waiting=self._waiting,
            new_keys=new_keys,
            restart_phase=spec.restart_phase,
            restore_subject=spec.restore_subject,
        )

    def _waiting(self) -> Iterator[JobMessage]:
        yield from self._log.waiting.sealable()
        if self._spec.include_clear:
            yield from self._log.waiting.never_encrypted()

    def run(self, progress: Progress) -> EncryptSummary:
        self._check_phases()
        self._resealing.check(read_history(self._job), progress)
        self._resealing.replacing.sweep()
        self._match(progress)
        self._resealing.replacing.recover()
        self._resealing.begin()
        self._resealing.run(progress)
        self._settle_losses(progress)
        self._finish()
        self._resealing.prove()
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
        if self._is_decrypted_in_part and not self._spec.partial:
            raise UsageError(
                "decrypting is not finished on this job",
                hint="run `sectool decrypt` on the whole mailbox, with a higher --max-failures if"
                " it left a folder; or add --partial to do without",
            )

    def _match(self, progress: Progress) -> None:
        mailbox = self._on.mailbox
        matcher = Matcher(self._job, mailbox, workers=self._on.workers, cancel=self._on.cancel)
        match = matcher.run(progress)
        check_found(match, mailbox.specification.url, partial=self._spec.partial)
        if self._is_decrypted_in_part:
            progress.warn(
                "decrypting is not finished, and what it did not come to is left as it is",
                hint="run `sectool decrypt` on the whole mailbox, then this again",
            )
        if self._spec.include_clear:
            self._take_in(match.in_clear)

    @property
    def _is_decrypted_in_part(self) -> bool:
        decrypted = self._log.phase(Operation.DECRYPT)
        return decrypted is not None and decrypted[0] != "finished"

    def _take_in(self, newcomers: Mapping[int, State]) -> None:
        """Mail in clear is of the job now; not before it is certain that this is its mailbox."""
        known = self._log.standings.of(newcomers)
        with self._log.group():
            for message, state in newcomers.items():
                if known[message] is State.NOT_IN_JOB:
                    self._log.messages.advance(message, state)

    def _settle_losses(self, progress: Progress) -> None:
        with self._log.group():
            end_walk(self._job, self._on.mailbox)
        if self._spec.restore_lost:
            self._brought_back = self._resealing.bring_back_lost(self._checkpoints, progress)

    def _finish(self) -> None:
        with self._log.group():
            if self._spec.accept_lost:
                self._log.messages.forgive_losses()
            self._resealing.finish_if_done()

    def _summary(self) -> EncryptSummary:
        summary = self._on.summary(EncryptSummary)
        self._resealing.describe(summary)
        if self._brought_back is not None:
            summary.brought_back = self._brought_back.messages
            summary.failure_code = summary.failure_code or self._brought_back.failure_code
            summary.not_brought_back = self._brought_back.not_brought_back
        if self._is_decrypted_in_part or self._log.purges.count_abandoned():
            summary.failure_code = summary.failure_code or 3
        return summary


def encrypt(spec: Encrypt, session: Session) -> EncryptSummary:
    """Replaces every message of the job by one for the new recipients.

    In a dry run the job is a rehearsal; the mailbox is matched and nothing is
    sealed. With new keys all that was replaced is opened in the end.

    Raises:
        UsageError: the job is not ready, or was begun with other recipients.
        CertificateUnusable: the new certificates are not of the person whose mail it is.
        NotThisMailbox: less than half of the job is found here.
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    if spec.passphrases is not None:
        trust = Trust.in_group(spec.passphrases.trust_group)
        session.tell(exposed_secrets(spec.passphrases, trust))
    acknowledged = read_acknowledgements(spec.acknowledge)
    recipients = load_certificates(spec, spec.passphrases, session.progress, session.ask)
    new_keys = session.any_history(spec.verify_keys)
    seal_keys = session.seal_keys(spec.seal_keys)
    on = session.find_again(spec, create=spec.include_clear).opening_sealed(seal_keys)
    on.acknowledge(acknowledged)
    return _Encryption(spec, on, recipients, new_keys).run(session.progress)
