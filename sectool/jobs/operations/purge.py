"""``purge``: removes checkpoints and originals that nothing needs any more.

Every message is read and found by its content first, whatever was known
before: what is removed here cannot be made again. The intent is logged before
a file is removed, and the removal after it is durable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime

from sectool.joblog import Removal
from sectool.jobs.passes.match import match_again
from sectool.jobs.passes.prove import prove_replaced
from sectool.jobs.session.job import Job, end_walk
from sectool.jobs.session.session import JobSession, Session
from sectool.jobs.session.spec import Operation, Purge
from sectool.jobs.session.status_file import tell_what_lies
from sectool.progress import Progress
from sectool.summary import Purged, PurgeSummary

GROUP_MESSAGES = 256
"""Messages whose files go together."""


class _Purge:
    """One run of ``purge`` on one job."""

    def __init__(self, spec: Purge, on: JobSession, unread: Iterable[int]) -> None:
        self._spec = spec
        self._unread = unread
        self._job = on.job
        self._log = on.job.log
        self._cancel = on.cancel
        self._checkpoints = 0
        self._originals = 0
        self._bytes = 0

    def run(self, progress: Progress) -> Purged:
        self._log.purges.release(
            accept_unproven=self._spec.accept_unproven,
            abandon=self._spec.abandon,
            given_up=[message for message, _ in self._log.give_ups.settled()],
            unread=self._unread,
        )
        too_young = self._hold_younger()
        released = self._log.purges.released()
        unknown = self._unknown()
        progress.begin(Operation.PURGE, len(released))
        messages = iter(released)
        while group := list(itertools.islice(messages, GROUP_MESSAGES)):
            self._cancel.check()
            self._remove(self._log.purges.removal(group))
            progress.advance(len(group))
        progress.end()
        kept = self._log.purges.count_kept()
        if kept:
            kept += len(unknown.checkpoints) + len(unknown.originals)
        else:
            self._remove_unknown(unknown)
        return Purged(
            self._checkpoints,
            self._originals,
            self._bytes,
            kept,
            too_young,
            is_rehearsal=self._spec.dry_run,
        )

    def _hold_younger(self) -> int:
        """How many files stay for their age alone."""
        if self._spec.older_than is None:
            return 0
        stays = self._log.purges.hold_younger(datetime.now(UTC) - self._spec.older_than)
        return len(stays.checkpoints) + len(stays.originals)

    def _remove(self, removal: Removal) -> None:
        if not removal:
            return
        self._count(removal)
        with self._log.group():
            self._log.purges.intend(removal)
        if self._spec.dry_run:
            self._log.purges.finish()  # in the rehearsal only
        else:
            self._job.finish_purge()

    def _unknown(self) -> Removal:
        """What a kill left before the log had it: no message was replaced on the strength of it."""
        job = self._job
        found = Removal(
            checkpoints=tuple(job.checkpoints.digests()), originals=tuple(job.originals.digests())
        )
        return self._log.purges.unknown(found)

    def _remove_unknown(self, unknown: Removal) -> None:
        """Once nothing else is kept: an older log that was restored knows less than it should."""
        self._count(unknown)
        if not self._spec.dry_run:
            self._job.checkpoints.purge(unknown.checkpoints)
            self._job.originals.purge(unknown.originals)

    def _count(self, removal: Removal) -> None:
        sizes = [self._job.checkpoints.size(digest) for digest in removal.checkpoints]
        sizes += [self._job.originals.size(digest) for digest in removal.originals]
        self._checkpoints += len(removal.checkpoints)
        self._originals += len(removal.originals)
        self._bytes += sum(sizes)


def purge(spec: Purge, session: Session) -> PurgeSummary:
    """Removes what belongs to messages whose replacement is in the mailbox now, and proven.

    The mailbox is read whole, and not changed. In a dry run the job is a rehearsal and
    nothing is removed.

    Raises:
        NotThisMailbox: less than half of the job is found here; nothing was removed.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    keys = session.any_history(spec.verify_keys)
    on = session.find_again(spec)
    job, progress = on.job, on.progress
    match = match_again(on, partial=spec.partial, deep=True)
    if keys is not None:
        prove_replaced(on, keys, unread=match.unread)
    with job.log.group():
        end_walk(job, on.mailbox)
    summary = on.summary(PurgeSummary)
    if spec.dry_run:
        # The rehearsal lets go of what stays.
        job.log.counts.summarise(summary)
        tell_what_lies(summary, job)
    summary.purged = _Purge(spec, on, match.unread).run(progress)
    if not spec.dry_run:
        job.log.counts.summarise(summary)
        tell_what_lies(summary, job)
    given_up = {identity for _, identity in job.log.give_ups.settled()}
    needing = [one for one in summary.needs_old_keys if one.identity not in given_up]
    if needing:
        progress.warn(
            f"messages that an old key is still needed for: {len(needing)}",
            hint="keep the old keys, and the checkpoints of these messages, which stay",
        )
    if summary.purged.kept > summary.purged.too_young:
        _tell_why(job, progress, is_told=bool(needing or match.unread))
        summary.failure_code = 3
    match.tell_left(progress, summary)
    return summary


def _tell_why(job: Job, progress: Progress, *, is_told: bool) -> None:
    """Says what to do, but not to give up what stays for another reason, which is told."""
    unproven = job.log.replaced.count_unproven()
    if unproven:
        progress.warn(
            f"{unproven} replaced messages were never opened with the new key",
            hint="add --verify-keys with the new private key, or --accept-unproven",
        )
    elif not is_told:
        progress.warn(
            "what belongs to messages that were not replaced stays",
            hint="to give that up, add --abandon",
        )
