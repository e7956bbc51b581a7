"""``decrypt``: a plaintext checkpoint of every encrypted part that the key history opens.

The mailbox stays as it is, unless in place. What a group of workers wrote is made durable
first, then logged, so the log never claims a checkpoint that is not there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from sectool.checkpoint import IncomingCheckpoint
from sectool.errors import Interrupted
from sectool.joblog import Examination, JobLog, MessageRecord
from sectool.jobs.examine import (
    ExamineArgument,
    ExamineContext,
    Examined,
    ExamineTask,
    examine,
    unread,
)
from sectool.jobs.in_place import InPlace, check_in_place
from sectool.jobs.job import Job
from sectool.jobs.keyring import tried_with, workers_for
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.preflight import Survey, readable_if_opened
from sectool.jobs.reopen import close_reopening, reopen
from sectool.jobs.spec import Cancel, JobSpec, Operation
from sectool.jobs.tally import count_not_selected
from sectool.jobs.walk import Selector, count, walk
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.message import Listing
from sectool.outcome import Preflight, State, Summary
from sectool.progress import Progress

GROUP_MESSAGES = 128
"""Messages made durable and logged together."""

GROUP_BYTES = 32 * 1024 * 1024
"""Plaintext bytes made durable together, unless one message has more."""

DONE = frozenset(
    {
        State.CLEAR,
        State.SIGNED,
        State.CHECKPOINTED,
        State.DECRYPTED,
        State.REENCRYPTED,
        State.VERIFIED,
    }
)
"""States that decrypting has nothing to add to."""

SAME_AGAIN = frozenset(
    {State.MISSING_KEY, State.UNSUPPORTED, State.MALFORMED, State.SEALED, State.REVIEW}
)
"""States that the same bytes and the same keys would only reach again."""


@dataclass(slots=True)
class _Group:
    """What waits to be made durable and logged together."""

    examinations: list[Examination] = field(default_factory=list)
    incoming: list[IncomingCheckpoint] = field(default_factory=list)
    size: int = 0

    def add(self, examined: Examined) -> None:
        if examined.examination is not None:
            self.examinations.append(examined.examination)
            self.incoming.extend(examined.incoming)
            self.size += examined.inner_bytes

    @property
    def is_full(self) -> bool:
        return len(self.examinations) >= GROUP_MESSAGES or self.size >= GROUP_BYTES


class _Decryption:
    """One run of ``decrypt`` on one job."""

    def __init__(
        self, spec: JobSpec, job: Job, mailbox: Mailbox, keys: KeyHistory, cancel: Cancel
    ) -> None:
        self._spec = spec
        self._job = job
        self._log: JobLog = job.log
        self._mailbox = mailbox
        self._keys = keys
        self._cancel = cancel
        self._tried_with = tried_with(keys)
        self._left_out = Summary()
        self._left_out_bytes = 0
        self._leaves_work = False
        self._in_place = InPlace(spec, job, mailbox, cancel)
        self._plaintext_bytes = 0
        self._survey = Survey(keys, None)
        self._started = time.monotonic()

    def run(self, progress: Progress) -> Summary:
        self._begin(progress)
        progress.begin(Operation.DECRYPT, count(self._mailbox, progress, self._cancel))
        self._work(progress)
        progress.end()
        if self._spec.in_place:
            self._in_place.run(progress)
        self._finish()
        return self._summary()

    def _work(self, progress: Progress) -> None:
        group = _Group()
        try:
            for answer in self._answers(progress):
                group.add(answer)
                if group.is_full:
                    self._commit(group)
                    group = _Group()
                progress.advance()
                self._cancel.check()
        except Interrupted:
            # What is opened already need not be opened again.
            self._commit(group)
            raise
        self._commit(group)

    def _begin(self, progress: Progress) -> None:
        options = check_in_place(self._spec, self._job)
        reopen(self._job)
        self._in_place.recover(progress)
        self._log.messages.begin_walk()
        # Also when it was finished before: mail that came since is not done until
        # this run is.
        with self._log.group():
            self._log.set_phase(Operation.DECRYPT, "begun", options)

    def _finish(self) -> None:
        with self._log.group():
            if self._spec.selection.is_everything:
                self._log.messages.end_walk(unseen="gone")
                if self._log.phase(Operation.ENCRYPT) is None:
                    self._log.messages.forgive_losses()
            if self._leaves_work or self._in_place.leaves_work:
                return
            close_reopening(self._log)
            phase = self._log.phase(Operation.DECRYPT)
            self._log.set_phase(Operation.DECRYPT, "finished", phase[1] if phase else "")

    def _answers(self, progress: Progress) -> Iterator[Examined]:
        argument = ExamineArgument(
            mailbox=self._mailbox.specification,
            material=self._keys.material,
            tried_with=self._tried_with,
            checkpoints=None if self._spec.dry_run else self._job.directory / "checkpoints",
            released=self._spec.released,
            job=self._job.name,
        )
        for answer in run_tasks(
            examine,
            self._tasks(progress),
            make_context=ExamineContext,
            context_argument=argument,
            workers=workers_for(self._spec.workers, self._keys),
        ):
            if isinstance(answer, Died):
                yield Examined(unread(answer.task.listing, answer.reason))
            else:
                yield answer

    def _tasks(self, progress: Progress) -> Iterator[ExamineTask]:
        selector = Selector(self._spec.selection)
        for listing in walk(self._mailbox, self._cancel):
            if self._log.replacements.at(listing.ref) is not None:
                progress.advance()  # the second copy of a message that has two
                continue
            known = self._log.messages.at(listing.ref)
            if known is not None and known.state is State.CHECKPOINTED:
                known = self._with_checkpoints(known)
            if known is not None and self._is_done(known, listing):
                self._log.messages.see(known.message)
                progress.advance()
            elif selector.takes(listing):
                yield ExamineTask(listing)
            else:
                self._leave(listing, known)

    def _leave(self, listing: Listing, known: MessageRecord | None) -> None:
        """There is work on this message, and it is not for this run."""
        self._leaves_work = True
        if known is not None:
            self._log.messages.see(known.message)
        else:
            count_not_selected(self._left_out, listing)

    def _with_checkpoints(self, known: MessageRecord) -> MessageRecord:
        """``known``, or what it is without the checkpoints that someone removed."""
        digests = self._log.messages.parts.content_digests(known.message)
        if all(self._job.checkpoints.path(digest).is_file() for digest in digests):
            return known
        reason = "its checkpoint is missing"
        with self._log.group():
            self._log.messages.advance(known.message, State.FAILED, reason=reason)
        return replace(known, state=State.FAILED, reason=reason)

    def _is_done(self, known: MessageRecord, listing: Listing) -> bool:
        if known.hint != listing.hint:
            return False
        if known.state is State.REVIEW and self._is_released(known):
            return False
        return (known.state in DONE or known.replaced) or (
            known.state in SAME_AGAIN and known.tried_with == self._tried_with
        )

    def _is_released(self, known: MessageRecord) -> bool:
        digests = self._log.messages.parts.content_digests(known.message)
        return not self._spec.released.isdisjoint(digests)

    def _commit(self, group: _Group) -> None:
        self._plaintext_bytes += group.size
        if not group.examinations:
            return
        if self._spec.dry_run:
            for examination in group.examinations:
                self._survey.add(examination, readable_if_opened(examination.state))
        else:
            self._job.checkpoints.adopt(group.incoming)
        with self._log.group():
            for examination in group.examinations:
                self._log.messages.record(examination)

    def _summary(self) -> Summary:
        summary = self._left_out
        self._left_out_bytes = summary.bytes
        summary.mailbox = self._mailbox.specification.url
        summary.job = str(self._spec.job or "")
        summary.phase = Operation.DECRYPT
        summary.is_finished = (self._log.phase(Operation.DECRYPT) or ("",))[0] == "finished"
        self._log.counts.summarise(summary)
        summary.failure_code = summary.failure_code or self._in_place.failure_code
        if self._spec.dry_run:
            summary.space = self._plaintext_bytes + self._in_place.space
            summary.preflight = self._verdict(summary)
        return summary

    def _verdict(self, summary: Summary) -> Preflight:
        """What was decrypted by an earlier run is safe already."""
        self._survey.not_selected = summary.counts[State.NOT_SELECTED]
        places = [Path(self._mailbox.specification.location)]
        if self._spec.job is not None:
            places.append(self._spec.job)
        whole = self._survey.examined_bytes + self._left_out_bytes
        return self._survey.verdict(places, time.monotonic() - self._started, whole)


def decrypt(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    keys: KeyHistory,
    *,
    progress: Progress,
    cancel: Cancel,
) -> Summary:
    """Takes every message of the mailbox that is not done yet into the job.

    In a dry run the job is a rehearsal and nothing that was opened is kept.

    Raises:
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    return _Decryption(spec, job, mailbox, keys, cancel).run(progress)
