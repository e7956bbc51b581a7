"""``purge``: removes checkpoints and originals that nothing needs any more.

Every message is read and found by its content first, whatever was known
before: what is removed here cannot be made again. The intent is logged before
a file is removed, and the removal after it is durable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from sectool.joblog import Removal
from sectool.jobs.operations.status import plaintext_of
from sectool.jobs.passes.match import match_again
from sectool.jobs.passes.prove import prove_replaced
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, JobSpec, Operation
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.progress import Progress
from sectool.summary import Purged, Summary

GROUP_MESSAGES = 256
"""Messages whose files go together."""


def finish_purge(job: Job) -> None:
    """Carries out what an interrupted purge had decided; without effect where nothing waits."""
    removal = job.log.purges.intended()
    if removal:
        job.checkpoints.purge(removal.checkpoints)
        job.originals.purge(removal.originals)
        with job.log.group():
            job.log.purges.finish()


class _Purge:
    """One run of ``purge`` on one job."""

    def __init__(self, spec: JobSpec, job: Job, unread: Iterable[int], cancel: Cancel) -> None:
        self._spec = spec
        self._unread = unread
        self._job = job
        self._log = job.log
        self._cancel = cancel
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
        released = self._log.purges.released()
        progress.begin(Operation.PURGE, len(released))
        messages = iter(released)
        while group := list(itertools.islice(messages, GROUP_MESSAGES)):
            self._cancel.check()
            self._remove(self._log.purges.removal(group))
            progress.advance(len(group))
        progress.end()
        kept = self._log.purges.count_kept()
        return Purged(
            self._checkpoints,
            self._originals,
            self._bytes,
            kept,
            is_rehearsal=self._spec.dry_run,
        )

    def _remove(self, removal: Removal) -> None:
        if not removal:
            return
        self._count(removal)
        with self._log.group():
            self._log.purges.intend(removal)
        if self._spec.dry_run:
            self._log.purges.finish()  # in the rehearsal only
        else:
            finish_purge(self._job)

    def _count(self, removal: Removal) -> None:
        sizes = [self._job.checkpoints.size(digest) for digest in removal.checkpoints]
        sizes += [self._job.originals.size(digest) for digest in removal.originals]
        self._checkpoints += len(removal.checkpoints)
        self._originals += len(removal.originals)
        self._bytes += sum(sizes)


def purge(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    keys: KeyHistory | None,
    *,
    progress: Progress,
    cancel: Cancel,
) -> Summary:
    """Removes what belongs to messages whose replacement is in the mailbox now, and proven.

    Args:
        spec: ``accept_unproven``, ``abandon``.
        job: in a dry run a rehearsal; then nothing is removed.
        mailbox: where the job's mail is now; read whole, and not changed.
        keys: the new private keys, to open what was not opened before; None: none is opened.
        progress: told of each message.
        cancel: asked between groups.

    Raises:
        NotThisMailbox: less than half of the job is found here; nothing was removed.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    match = match_again(spec, job, mailbox, deep=True, progress=progress, cancel=cancel)
    if keys is not None:
        prove_replaced(
            spec, job, mailbox, keys, unread=match.unread, progress=progress, cancel=cancel
        )
    with job.log.group():
        job.log.messages.end_walk(unseen="lost")
    summary = Summary(
        mailbox=mailbox.specification.url, job=str(spec.job or ""), phase=Operation.PURGE
    )
    summary.purged = _Purge(spec, job, match.unread, cancel).run(progress)
    job.log.counts.summarise(summary)
    summary.plaintext = plaintext_of(job)
    given_up = {identity for _, identity in job.log.give_ups.settled()}
    needing = [one for one in summary.needs_old_keys if one.identity not in given_up]
    if needing:
        progress.warn(
            f"messages that an old key is still needed for: {len(needing)}",
            hint="keep the old keys, and the checkpoints of these messages, which stay",
        )
    if summary.purged.kept:
        _tell_why(job, progress, is_told=bool(needing or match.unread))
        summary.failure_code = 3
    match.tell_unread(progress, summary)
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
