"""``decrypt``: a plaintext checkpoint of every encrypted part that the key history opens.

The mailbox stays as it is, unless in place. What a group of workers wrote is made durable
first, then logged, so the log never claims a checkpoint that is not there.
"""

from __future__ import annotations

import time
from dataclasses import replace

from sectool.joblog import REPLACED, Examination, JobLog, MessageRecord
from sectool.jobs.passes.in_place import InPlace, check_in_place, check_options
from sectool.jobs.passes.preflight import (
    LOG_OF_MESSAGE,
    Survey,
    free_bytes,
    readable_if_opened,
    space_for_checkpoint,
    tell_room,
)
from sectool.jobs.passes.take_in import SAME_AGAIN, Group, Intake, is_released, keep_first
from sectool.jobs.replacing.replacer import check_writable
from sectool.jobs.session.acknowledge import read_acknowledgements
from sectool.jobs.session.job import has_stayed, never_moved, note_walk
from sectool.jobs.session.owner import keys_for
from sectool.jobs.session.reopen import close_reopening, reopen
from sectool.jobs.session.sealed_checkpoints import (
    fix_recipients,
    keep_sealed,
    load_transport_certificates,
)
from sectool.jobs.session.session import JobSession, Session, name_shut_key_files
from sectool.jobs.session.spec import Decrypt, Operation
from sectool.jobs.session.status_file import tell_what_lies
from sectool.jobs.session.succession import note_history, old_side
from sectool.jobs.work.examine import ExamineArgument
from sectool.jobs.work.open_with import is_tried_with, tried_with, workers_for
from sectool.keys import KeyHistory
from sectool.mailbox import Unit
from sectool.message import Listing, MessageRef
from sectool.outcome import State
from sectool.progress import Progress
from sectool.smime import ClearSelection
from sectool.summary import DecryptSummary, Preflight

DONE = REPLACED | {State.CLEAR, State.SIGNED, State.CHECKPOINTED, State.DECRYPTED}
"""States that decrypting has nothing to add to."""


class _Decryption:
    """One run of ``decrypt`` on one job."""

    def __init__(self, spec: Decrypt, on: JobSession, keys: KeyHistory) -> None:
        job = on.job
        self._spec = spec
        self._on = on
        self._job = job
        self._log: JobLog = job.log
        self._mailbox = on.mailbox
        self._keys = keys
        self._tried_with = tried_with(keys, spec.part_selection)
        self._in_place = InPlace(
            on,
            selection=ClearSelection(nested=spec.nested, wrapped=spec.wrapped),
            restore_subject=spec.restore_subject,
            max_failures=spec.max_failures,
        )
        self._space = 0
        self._would_change = 0
        self._left_out_bytes = 0
        rewrites = self._mailbox.capabilities.unit is Unit.FOLDER
        overhead = job.checkpoints.size_of(0)
        self._survey = Survey(keys, None, writes_folders=rewrites, overhead=overhead)
        self._shut: dict[MessageRef, Examination] = {}
        self._started = time.monotonic()
        self._total = on.summary(DecryptSummary)
        self._walk = self._intake()

    def run(self, progress: Progress) -> DecryptSummary:
        self._begin(progress)
        if not self._spec.dry_run:
            tell_room(
                self._job.directory,
                self._mailbox,
                self._is_known_done,
                progress,
                self._on.cancel,
            )
        self._walk.run(progress)
        if self._spec.in_place:
            self._in_place.run(progress)
        self._finish()
        return self._summary()

    def _begin(self, progress: Progress) -> None:
        options = check_in_place(self._spec, self._job)
        if self._spec.in_place:
            check_writable(self._mailbox, dry_run=self._spec.dry_run)
        note_history(self._job, old_side(self._job, self._keys))
        if not self._spec.retry:
            reopen(self._job)
        self._in_place.recover(progress)
        self._log.messages.begin_walk()
        if self._spec.retry:
            return
        # Also when it was finished before: mail that came since is not done until
        # this run is.
        with self._log.group():
            self._log.set_phase(Operation.DECRYPT, "begun", options)

    def _finish(self) -> None:
        if self._spec.retry:
            return
        with self._log.group():
            if self._spec.selection.is_everything:
                stayed = never_moved(self._job, self._mailbox)
                if stayed or has_stayed(self._job, self._mailbox):
                    self._log.messages.end_walk(unseen="gone")
                else:
                    self._log.messages.end_walk(unseen="lost")
                if stayed and self._log.phase(Operation.ENCRYPT) is None:
                    self._log.messages.forgive_losses()
            note_walk(self._job, self._mailbox)
            if self._walk.leaves_work or self._in_place.leaves_work:
                return
            close_reopening(self._log)
            phase = self._log.phase(Operation.DECRYPT)
            self._log.set_phase(Operation.DECRYPT, "finished", phase[1] if phase else "")

    # --- the walk -------------------------------------------------------------------

    def _intake(self) -> Intake:
        argument = ExamineArgument(
            mailbox=self._mailbox.access,
            material=self._keys.material,
            tried_with=self._tried_with,
            checkpoints=None if self._spec.dry_run else self._job.place,
            released=self._spec.released,
            job=self._job.name,
            part_selection=self._spec.part_selection,
            shared=self._spec.shared,
            storage=self._job.place.storage,
        )
        return Intake(
            self._on,
            self._spec,
            self._keys,
            left_out=self._total,
            argument=argument,
            tried_with=lambda keys: tried_with(keys, self._spec.part_selection),
            is_done=self._is_done,
            before_logging=self._adopt,
        )

    def _is_done(self, known: MessageRecord, listing: Listing) -> bool:
        if self._log.replacements.is_open(known.message):
            return True  # of its two copies the one that was there first; its state says why
        is_missing = known.state is State.CHECKPOINTED and not self._has_checkpoints(known)
        if is_missing or known.listing.hint != listing.hint:
            return False
        if known.state is State.REVIEW and is_released(self._job, known, self._spec.released):
            return False
        if known.state is State.CHECKPOINTED and self._may_open_more(known):
            return False
        if known.state in DONE or known.is_replaced:
            return True
        same_again = known.state in SAME_AGAIN and is_tried_with(known.tried_with, self._tried_with)
        return same_again and not self._spec.retry

    def _is_known_done(self, listing: Listing) -> bool:
        known = self._log.messages.at(listing.ref)
        return known is not None and known.state in DONE

    def _may_open_more(self, known: MessageRecord) -> bool:
        """Whether a layer inside keeps its recipients, and it was tried with other keys."""
        if known.is_replaced or is_tried_with(known.tried_with, self._tried_with):
            return False
        return bool(self._log.messages.parts.layers.positions(known.message, kept=True))

    def _has_checkpoints(self, known: MessageRecord) -> bool:
        """Whether they are there; the log, in a group, hears where someone removed them."""
        digests = self._log.messages.parts.content_digests(known.message)
        if all(self._job.checkpoints.path(digest).is_file() for digest in digests):
            return True
        reason = "its checkpoint is missing"
        self._log.messages.advance(known.message, State.FAILED, reason=reason)
        return False

    def _adopt(self, group: Group) -> None:
        if self._spec.dry_run:
            for examination in group.examinations:
                self._space += LOG_OF_MESSAGE + sum(
                    space_for_checkpoint(self._job.checkpoints.size_of(checkpoint.inner_size))
                    for checkpoint in examination.checkpoints
                )
                self._would_change += examination.state is State.CHECKPOINTED
                self._shut.pop(examination.ref, None)
                if examination.state is State.MISSING_KEY:
                    # It may be looked at once more, when keys were tried on it.
                    self._shut[examination.ref] = examination
                else:
                    self._survey.add(examination, readable_if_opened(examination.state))
        else:
            if group.incoming:
                fix_recipients(self._job)
            keep_first(self._job, group)
            self._job.checkpoints.adopt(group.incoming)

    def _summary(self) -> DecryptSummary:
        summary = self._total
        self._left_out_bytes = summary.bytes
        summary.is_finished = (self._log.phase(Operation.DECRYPT) or ("",))[0] == "finished"
        self._log.counts.summarise(summary)
        self._walk.describe(summary)
        summary.failure_code = summary.failure_code or self._in_place.failure_code
        failures = (self._walk.failures, self._in_place.failures)
        summary.left_folders = [left for one in failures for left in one.left.values()]
        summary.retried = self._walk.retry.outcome(DONE)
        if not self._spec.dry_run:
            tell_what_lies(summary, self._job)
        else:
            summary.space = self._space + self._in_place.space
            summary.would_change = max(self._would_change, self._in_place.rehearsed)
            summary.preflight = self._verdict(summary)
        return summary

    def _verdict(self, summary: DecryptSummary) -> Preflight:
        """What was decrypted by an earlier run is safe already."""
        for examination in self._shut.values():
            self._survey.add(examination, examination.state)
        self._survey.not_selected = summary.counts[State.NOT_SELECTED]
        self._survey.passed_over = len(self._mailbox.passed_over)
        space_free = free_bytes(self._mailbox, self._spec.job)
        whole = self._survey.examined_bytes + self._left_out_bytes
        return self._survey.verdict(space_free, time.monotonic() - self._started, whole)


def decrypt(spec: Decrypt, session: Session) -> DecryptSummary:
    """Takes every message of the mailbox that is not done yet into the job.

    In a dry run the job is a rehearsal and nothing that was opened is kept.

    Raises:
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    check_options(spec)
    acknowledged = read_acknowledgements(spec.acknowledge)
    transport = load_transport_certificates(spec, session.progress, session.ask)
    seal_keys = session.seal_keys(spec.seal_keys)
    on = session.take_in(spec)
    workers = workers_for(on.workers, seal_keys)
    on = replace(on, job=keep_sealed(on.job, transport), workers=workers)
    if spec.in_place:
        on = on.opening_sealed(seal_keys)
    on.acknowledge(acknowledged)
    keys = keys_for(spec, on.job, session.history(spec.keys), session.progress)
    summary = _Decryption(spec, on, keys.bind(on.job.log.bindings.all())).run(session.progress)
    if summary.missing_a_key:
        name_shut_key_files(summary, keys)
    return summary
