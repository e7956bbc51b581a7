"""Answers for each old key whether anything in the mailbox still needs it.

Every message is read and its recipients are held against the old keys; what
the new keys really open counts as free of them. What opens is also looked into,
since an envelope inside the envelope kept its old recipients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sectool.jobs.running.job import Job
from sectool.jobs.running.pool import Died, run_tasks
from sectool.jobs.running.spec import Cancel, JobSpec
from sectool.jobs.running.walk import count, walk
from sectool.jobs.worker.keyring import workers_for
from sectool.jobs.worker.needs import NeedArgument, NeedContext, NeedTask, find_needs
from sectool.keys import HeldKey, KeyHistory, newest_entry
from sectool.mailbox import Mailbox
from sectool.outcome import RecipientKey, RetiredKey, State
from sectool.progress import Progress


def retire(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    retired: KeyHistory,
    current: KeyHistory | None,
    *,
    progress: Progress,
    cancel: Cancel,
) -> list[RetiredKey]:
    """One answer for each key of ``retired``, after a walk that matched the job.

    Args:
        spec: ``accept_unproven``: a structural proof is enough.
        job: its log says which messages were replaced, and how that was proven.
        mailbox: read whole, whatever the selection is.
        retired: the old keys.
        current: the new keys; None: what names an old key needs it.
        progress: told of each message.
        cancel: asked between messages.
    """
    argument = NeedArgument(
        mailbox=mailbox.specification,
        retired=retired.material,
        current=None if current is None else current.material,
        checkpoints=job.place,
    )
    progress.begin("retire", count(mailbox, progress, cancel))
    needed: Counter[int] = Counter()
    unread = 0
    for answer in run_tasks(
        find_needs,
        _tasks(job, mailbox, cancel),
        make_context=NeedContext,
        context_argument=argument,
        workers=workers_for(spec.workers, retired, current),
    ):
        if isinstance(answer, Died):
            unread += 1
        else:
            unread += answer.unread
            needed.update(answer.keys)
        progress.advance()
    progress.end()
    unknown = _Unknown(
        unread=unread,
        passed_over=len(mailbox.passed_over),
        lost=job.log.replaced.count_lost_encrypted(),
        unproven=0 if spec.accept_unproven else job.log.replaced.count_unproven(),
        without_new_keys=current is None,
    )
    sealed_to = frozenset(job.place.sealed_to if job.log.messages.parts.sealed(1) else ())
    return [
        _answer(key, needed[number], unknown, sealed_to) for number, key in enumerate(retired.keys)
    ]


def _tasks(job: Job, mailbox: Mailbox, cancel: Cancel) -> Iterator[NeedTask]:
    for listing in walk(mailbox, cancel):
        known = job.log.messages.at(listing.ref)
        checkpoints: tuple[tuple[str, str], ...] = ()
        resealed = frozenset[str]()
        if known is not None and known.replaced:
            resealed = job.log.messages.parts.layers.resealed(known.message)
            parts = job.log.messages.parts.of(known.message)
            checkpoints = tuple((part.path, part.checkpoint.content_digest) for part in parts)
        is_new = known is not None and known.state is State.NEW
        yield NeedTask(listing, checkpoints, resealed, is_new)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """What speaks for every old key, since nobody could look whether it is needed."""

    unread: int
    passed_over: int
    lost: int
    unproven: int
    without_new_keys: bool

    @property
    def reason(self) -> str:
        """The first there is; empty where there is none."""
        if self.unread:
            remedy = "; add --verify-keys" if self.without_new_keys else ""
            return f"messages that could not be read: {self.unread}{remedy}"
        if self.passed_over:
            return (
                f"links and other files that may be mail and were passed over: {self.passed_over}"
            )
        if self.lost:
            return f"messages that were never replaced and are lost: {self.lost}"
        if self.unproven:
            return f"replaced messages that were not opened with the new key: {self.unproven}"
        return ""


def _answer(
    key: HeldKey, messages: int, unknown: _Unknown, sealed_to: frozenset[str]
) -> RetiredKey:
    reason = unknown.reason
    if not sealed_to.isdisjoint(certificate.fingerprint for certificate in key.certificates):
        reason = reason or "the job's checkpoints are sealed to it: purge them first"
    if messages:
        reason = f"messages that need it: {messages}"
    elif not key.certificates:
        # Mail names a certificate by issuer and serial number, as a rule.
        reason = "without a certificate of it nobody can tell which mail needs it: give that, too"
    return RetiredKey(_name(key), key.source.name, messages, not reason, reason)


def _name(key: HeldKey) -> RecipientKey:
    entry = newest_entry(key)
    return RecipientKey(entry.issuer, entry.serial_number, entry.subject_key_identifier)
