"""``verify``: holds the mailbox against the job log, and changes nothing in the mailbox."""

from __future__ import annotations

from collections.abc import Sequence

from sectool.jobs.passes.match import match_again
from sectool.jobs.passes.prove import prove_replaced
from sectool.jobs.passes.retire_keys import retire
from sectool.jobs.session.give_up import GiveUp
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, JobSpec, Operation
from sectool.keys import KeyHistory
from sectool.mailbox import Mailbox
from sectool.outcome import State
from sectool.progress import Progress
from sectool.summary import Summary


def verify(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    keys: KeyHistory | None,
    retired: KeyHistory | None,
    *,
    given_up: Sequence[GiveUp],
    progress: Progress,
    cancel: Cancel,
) -> Summary:
    """Finds every message of the job by identity, and says what became of it.

    Args:
        spec: its selection decides which messages are opened.
        job: in a dry run a rehearsal.
        mailbox: where the job's mail is now.
        keys: the new private keys, to open replaced messages with; None: none is opened.
        retired: old keys to answer for; None: nobody asked.
        given_up: messages that count against a key of ``retired`` no more.
        progress: told of each message.
        cancel: asked between messages.

    Raises:
        NotThisMailbox: less than half of the job is found here.
        Interrupted: the run was asked to stop.
    """
    match = match_again(spec, job, mailbox, deep=spec.deep, progress=progress, cancel=cancel)
    if keys is not None:
        prove_replaced(
            spec, job, mailbox, keys, unread=match.unread, progress=progress, cancel=cancel
        )
    with job.log.group():
        job.log.messages.end_walk(unseen="lost")
    summary = _summary(spec, job, mailbox)
    # They are counted as what they were: nothing else is known of them.
    match.tell_unread(progress, summary)
    if retired is not None:
        summary.retire = retire(
            spec,
            job,
            mailbox,
            retired,
            keys,
            given_up=given_up,
            progress=progress,
            cancel=cancel,
        )
    return summary


def _summary(spec: JobSpec, job: Job, mailbox: Mailbox) -> Summary:
    summary = Summary(
        mailbox=mailbox.specification.url, job=str(spec.job or ""), phase=Operation.VERIFY
    )
    job.log.counts.summarise(summary)
    if job.log.purges.count_abandoned():
        summary.failure_code = 3
    phases = (job.log.phase(Operation.ENCRYPT), job.log.phase(Operation.REWRAP))
    waiting = (State.CHECKPOINTED, State.DECRYPTED, State.READABLE)
    if any(phase and phase[0] == "finished" for phase in phases) and any(
        summary.counts[state] for state in waiting
    ):
        # Old mail that came back, as from a backup, and mail in clear are left to the next run.
        summary.failure_code = 3
    return summary
