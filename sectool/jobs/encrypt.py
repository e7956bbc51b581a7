"""``encrypt``: every message of the job to the new recipients, wherever the mailbox is now."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from sectool.errors import NotThisMailbox, ReadOnlyMailbox, SectoolError, UsageError
from sectool.jobs.certificates import (
    describe_certificates,
    losing_access,
    record_certificates,
)
from sectool.jobs.job import MAILBOX_VALUE, Job
from sectool.jobs.matching import Matcher
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.reopen import check_not_rolled_back
from sectool.jobs.replace import NewMessage, Replacer
from sectool.jobs.seal import (
    NotSealed,
    SealArgument,
    SealContext,
    SealedMessage,
    SealTask,
    seal,
)
from sectool.jobs.spec import Cancel, JobSpec, Operation
from sectool.jobs.spool import Spool
from sectool.jobs.walk import Selector
from sectool.keys import NewRecipient
from sectool.mailbox import Mailbox
from sectool.message import Flags, Listing
from sectool.outcome import RecipientKey, State, Summary
from sectool.progress import Progress

GROUP_MESSAGES = 64
"""Messages replaced together: so many have two copies at once at most."""

GROUP_BYTES = 32 * 1024 * 1024
"""Bytes of new messages replaced together, unless one message has more."""

_NOT_FIXED = ""
"""Options of a phase that has replaced nothing yet: a later run may choose others."""

GROWTH = 1.02
"""New size of a message by its old one, at most, in the estimate of a dry run."""


class _Encryption:
    """One run of ``encrypt`` on one job."""

    def __init__(
        self,
        spec: JobSpec,
        job: Job,
        mailbox: Mailbox,
        recipients: Sequence[NewRecipient],
        cancel: Cancel,
    ) -> None:
        self._spec = spec
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._recipients = tuple(recipients)
        self._cancel = cancel
        self._replacer = Replacer(job, mailbox)
        self._spool = Spool(job, mailbox)
        self._failure_code = 0
        self._space = 0
        self._losing_access: dict[RecipientKey, int] = {}

    def run(self, progress: Progress) -> Summary:
        self._check_phases()
        if not self._spec.dry_run:
            self._spool.sweep()
        matcher = Matcher(self._job, self._mailbox, workers=self._spec.workers, cancel=self._cancel)
        match = matcher.run(progress)
        if match.found * 2 < match.messages and not self._spec.partial:
            raise NotThisMailbox(
                f"only {match.found} of the {match.messages} messages of the job are in"
                f" {self._mailbox.specification.url}",
                hint="name the mailbox the user was moved to, or add --partial if this is it",
            )
        # Not before it is certain that this is the mailbox: what is open is
        # given up where no copy of it is found.
        if not self._spec.dry_run:
            self._replacer.recover()
        self._begin()
        try:
            self._encrypt(progress)
        finally:
            if not self._spec.dry_run:
                with contextlib.suppress(SectoolError):
                    self._spool.sweep()
        self._finish()
        return self._summary()

    # --- phases -------------------------------------------------------------------

    def _check_phases(self) -> None:
        """Holds that decrypting is over, and that nothing fixed by an earlier run differs."""
        check_not_rolled_back(self._log)
        decrypted = self._log.phase(Operation.DECRYPT)
        if decrypted is None:
            raise UsageError(
                "this job has no decrypt phase", hint="run `sectool decrypt` on it first"
            )
        if decrypted[0] != "finished" and not self._spec.partial:
            raise UsageError(
                "decrypting is not finished on this job",
                hint="run `sectool decrypt` on the whole mailbox, or add --partial to do without",
            )
        begun = self._log.phase(Operation.ENCRYPT)
        if begun is not None and begun[1] not in {_NOT_FIXED, self._options()}:
            raise UsageError(
                f"this job was begun with other recipients or another profile ({begun[1]})",
                hint="give the same --to and --profile as before",
            )
        if not self._mailbox.capabilities.writable and not self._spec.dry_run:
            raise ReadOnlyMailbox(
                f"the mailbox {self._mailbox.specification.location} cannot be written",
                hint="check its owner, mode and mount options",
            )

    def _options(self) -> str:
        fingerprints = sorted(recipient.fingerprint for recipient in self._recipients)
        return json.dumps({"to": fingerprints, "profile": self._spec.profile.value}, sort_keys=True)

    def _begin(self) -> None:
        with self._log.group():
            self._log.set_value(MAILBOX_VALUE, self._mailbox.specification.url)
            self._log.set_phase(Operation.ENCRYPT, "begun", self._fixed_options())

    def _fixed_options(self) -> str:
        phase = self._log.phase(Operation.ENCRYPT)
        return _NOT_FIXED if phase is None else phase[1]

    def _carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces a group; the first one fixes recipients and profile for the whole job."""
        if self._fixed_options() == _NOT_FIXED:
            with self._log.group():
                self._log.set_phase(Operation.ENCRYPT, "begun", self._options())
                record_certificates(self._log, self._recipients, self._spec.owner)
        self._replacer.carry_out(group)

    def _finish(self) -> None:
        with self._log.group():
            self._log.messages.end_walk(unseen="lost")
            if self._spec.accept_lost:
                self._log.messages.forgive_losses()
            is_left = next(self._log.messages.sealable(), None) is not None
            if not is_left and not self._log.replacements.open():
                self._log.set_phase(Operation.ENCRYPT, "finished", self._fixed_options())

    # --- the work -------------------------------------------------------------------

    def _encrypt(self, progress: Progress) -> None:
        if self._spec.dry_run:
            tasks = list(self._tasks())
            self._space = sum(int(task.size * GROWTH) * 2 for task in tasks)
            rows = [task.message.message for task in tasks]
            self._losing_access = losing_access(self._log, rows, self._recipients)
            return
        progress.begin(Operation.ENCRYPT, sum(1 for _ in self._log.messages.sealable()))
        group: list[NewMessage] = []
        size = 0
        for answer in self._answers():
            self._cancel.check()
            progress.advance()
            if not isinstance(answer, SealedMessage):
                self._take_down(answer)
                continue
            group.append(_new_message(answer))
            size += answer.content.size
            if len(group) >= GROUP_MESSAGES or size >= GROUP_BYTES:
                self._carry_out(group)
                group, size = [], 0
        if group:
            self._carry_out(group)
        progress.end()

    def _answers(self) -> Iterator[SealedMessage | NotSealed]:
        argument = SealArgument(
            mailbox=self._mailbox.specification,
            checkpoints=self._job.directory / "checkpoints",
            spool=self._spool.directory,
            prefix=self._spool.prefix,
            recipients=self._recipients,
            profile=self._spec.profile,
        )
        for answer in run_tasks(
            seal,
            self._tasks(),
            make_context=SealContext,
            context_argument=argument,
            workers=self._spec.workers,
        ):
            if isinstance(answer, Died):
                yield NotSealed(answer.task.message, State.FAILED, answer.reason)
            else:
                yield answer

    def _tasks(self) -> Iterator[SealTask]:
        selector = Selector(self._spec.selection)
        for message in self._log.messages.sealable():
            date = datetime.fromisoformat(message.internal_date)
            if selector.takes(Listing(message.ref, message.size, Flags(), "", date)):
                yield SealTask(message)

    def _take_down(self, answer: NotSealed) -> None:
        self._failure_code = self._failure_code or answer.failure_code
        with self._log.group():
            self._log.messages.advance(answer.message.message, answer.state, reason=answer.reason)

    def _summary(self) -> Summary:
        summary = Summary(
            mailbox=self._mailbox.specification.url,
            job=str(self._spec.job or ""),
            phase=Operation.ENCRYPT,
            is_finished=(self._log.phase(Operation.ENCRYPT) or ("",))[0] == "finished",
            failure_code=self._failure_code,
        )
        self._log.counts.summarise(summary)
        if self._log.purges.count_abandoned():
            summary.failure_code = summary.failure_code or 3
        describe_certificates(summary, self._recipients, self._spec.owner)
        if self._spec.dry_run:
            summary.space = self._space
            summary.losing_access = self._losing_access
        return summary


def _new_message(sealed: SealedMessage) -> NewMessage:
    return NewMessage(
        message=sealed.message.message,
        ref=sealed.message.ref,
        revision=sealed.revision,
        content=sealed.content,
        identity=sealed.identity,
        keeps_original=not sealed.message.in_clear,
    )


def encrypt(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    recipients: Sequence[NewRecipient],
    *,
    progress: Progress,
    cancel: Cancel,
) -> Summary:
    """Replaces every message of the job by one for the new recipients.

    In a dry run the job is a rehearsal; the mailbox is matched and nothing is
    sealed.

    Raises:
        UsageError: the job is not ready, or was begun with other recipients.
        NotThisMailbox: less than half of the job is found here.
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    return _Encryption(spec, job, mailbox, recipients, cancel).run(progress)
