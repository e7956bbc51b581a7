"""``rollback``: puts the originals back, wherever the mailbox is now.

A message is put back in place of its replacement, with the flags and in the
folder that this has now; what the user deleted stays deleted. The order of
acts is that of every replacement (``replacer``).
"""

from __future__ import annotations

from collections.abc import Iterator

from sectool.errors import MessageError, UsageError
from sectool.joblog import JobMessage, Purpose
from sectool.jobs.passes.in_place import InPlace, is_in_place
from sectool.jobs.passes.match import match_again
from sectool.jobs.passes.replacing_pass import ReplacingPass
from sectool.jobs.passes.selection import Selector
from sectool.jobs.replacing.grouping import in_order, space_to_rewrite
from sectool.jobs.replacing.replacer import check_writable
from sectool.jobs.session.job import end_walk
from sectool.jobs.session.session import JobSession, Session
from sectool.jobs.session.spec import Operation, Rollback
from sectool.jobs.session.status_file import tell_what_lies
from sectool.jobs.work.fetch_original import FETCH_ORIGINAL, OriginalArgument
from sectool.jobs.work.work import NotDone
from sectool.progress import Progress
from sectool.summary import Summary


class _Rollback:
    """One run of ``rollback`` on one job."""

    def __init__(self, spec: Rollback, on: JobSession) -> None:
        self._spec = spec
        self._on = on
        self._job = on.job
        self._log = on.job.log
        self._mailbox = on.mailbox
        self._replacing = ReplacingPass(on, Purpose.ROLLBACK)
        self._failure_code = 0
        self._space = 0
        self._would_change = 0

    def run(self, progress: Progress) -> Summary:
        self._check()
        self._replacing.sweep()
        match_again(self._on, partial=self._spec.partial, deep=False)
        self._replacing.recover()
        if self._spec.to_stage == "decrypted":
            self._decrypt_again(progress)
        elif next(self._log.replaced.to_roll_back(), None) is not None:
            with self._log.group():
                self._log.set_phase(Operation.ROLLBACK, "begun", "")
            progress.warn("the mail that is put back needs the old keys again", hint="keep them")
            self._put_back_all(progress)
        self._finish()
        if self._spec.to_stage == "original":
            self._tell_what_stays(progress)
        return self._summary()

    def _check(self) -> None:
        if self._spec.to_stage == "decrypted" and not is_in_place(self._log):
            raise UsageError(
                "this job was not decrypted in place, so there is no plaintext to go back to",
                hint="without --to-stage the originals are put back",
            )
        replacing = (Operation.ENCRYPT, Operation.REWRAP)
        if not any(map(self._log.phase, replacing)) and not is_in_place(self._log):
            raise UsageError(
                "no message of this job was replaced, so there is nothing to put back",
                hint="`sectool status` shows where the job stands",
            )
        check_writable(self._mailbox, dry_run=self._spec.dry_run)

    def _decrypt_again(self, progress: Progress) -> None:
        if next(self._log.replaced.to_decrypt(), None) is None:
            return
        with self._log.group():
            self._log.set_phase(Operation.ROLLBACK, "begun", "")
        in_place = InPlace(self._on, again=True)
        in_place.run(progress)
        self._space = in_place.space
        self._would_change = in_place.rehearsed
        self._failure_code = in_place.failure_code

    def _put_back_all(self, progress: Progress) -> None:
        if self._spec.dry_run:
            tasks = list(self._tasks())
            self._would_change = len(tasks)
            self._space = sum(self._job.originals.size(one.original) for one in tasks)
            self._space += space_to_rewrite(self._mailbox, tasks)
            return
        tasks = list(self._tasks())
        progress.begin(Operation.ROLLBACK, len(tasks))
        argument = OriginalArgument(
            self._mailbox.access,
            self._job.directory / "originals",
            self._replacing.files,
            # To a plaintext copy a server may have added, and nobody asked for that.
            keeps_header=not is_in_place(self._log),
        )
        self._replacing.run(
            FETCH_ORIGINAL,
            tasks,
            argument,
            take=lambda _, new: new,
            give_up=self._take_down,
            act=self._replacing.replacer.carry_out,
            progress=progress,
        )

    def _tasks(self) -> Iterator[JobMessage]:
        selector = Selector(self._spec.selection)
        for message in in_order(self._mailbox, self._log.replaced.to_roll_back()):
            if selector.takes(message.listing):
                yield message

    def _take_down(self, message: JobMessage, answer: NotDone) -> None:
        self._failure_code = self._failure_code or answer.failure_code
        with self._log.group():
            self._log.messages.advance(message.message, answer.state, reason=answer.reason)

    def _finish(self) -> None:
        with self._log.group():
            end_walk(self._on.job, self._mailbox)
            begun = self._log.phase(Operation.ROLLBACK) is not None
            left = self._log.replaced.to_roll_back()
            if self._spec.to_stage == "decrypted":
                left = self._log.replaced.to_decrypt()
            is_left = next(left, None) is not None
            if begun and not is_left and not self._log.replacements.open():
                self._log.set_phase(Operation.ROLLBACK, "finished", "")

    def _tell_what_stays(self, progress: Progress) -> None:
        purged = self._log.replaced.count_purged()
        if purged:
            self._failure_code = self._failure_code or MessageError.exit_code
            progress.warn(
                f"{purged} messages stay as they are: their originals were purged",
                hint="a backup from before the purge is the only way back",
            )
        staying = self._log.replaced.count_without_original()
        if staying:
            self._failure_code = self._failure_code or MessageError.exit_code
            progress.warn(
                f"{staying} messages stay as they are: there never was an original of them",
                hint="keep the new keys as well: what was lost and came back needs those",
            )

    def _summary(self) -> Summary:
        summary = self._on.summary(Summary)
        phase = self._log.phase(Operation.ROLLBACK)
        summary.is_finished = phase is None or phase[0] == "finished"
        summary.failure_code = self._failure_code
        self._log.counts.summarise(summary)
        if self._log.replaced.count_purged():
            # Without their originals they stay as they are.
            summary.failure_code = summary.failure_code or 3
        tell_what_lies(summary, self._on.job)
        if self._spec.dry_run:
            summary.space = self._space
            summary.would_change = self._would_change
        return summary


def rollback(spec: Rollback, session: Session) -> Summary:
    """Puts back what was there before the first replacement, and closes the job to ``encrypt``.

    In a dry run the job is a rehearsal and nothing is put back.

    Raises:
        UsageError: nothing of the job was replaced.
        NotThisMailbox: less than half of the job is found here.
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    seal_keys = session.seal_keys(spec.seal_keys)
    on = session.find_again(spec)
    if spec.to_stage == "decrypted":
        on = on.opening_sealed(seal_keys)
    return _Rollback(spec, on).run(session.progress)
