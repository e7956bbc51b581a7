"""``verify``: holds the mailbox against the job log, and changes nothing in the mailbox."""

from __future__ import annotations

from sectool.errors import MessageError
from sectool.jobs.passes.match import match_again
from sectool.jobs.passes.prove import prove_replaced
from sectool.jobs.passes.retire_keys import retire
from sectool.jobs.session.acknowledge import read_acknowledgements, read_give_ups
from sectool.jobs.session.job import end_walk
from sectool.jobs.session.session import JobSession, Session, name_shut_key_files
from sectool.jobs.session.spec import Operation, Verify
from sectool.jobs.session.status_file import tell_what_lies
from sectool.outcome import State
from sectool.summary import VerifySummary


def verify(spec: Verify, session: Session) -> VerifySummary:
    """Finds every message of the job by identity, and says what became of it.

    In a dry run the job is a rehearsal.

    Raises:
        NotThisMailbox: less than half of the job is found here.
        Interrupted: the run was asked to stop.
    """
    acknowledged = read_acknowledgements(spec.acknowledge)
    keys = session.any_history(spec.verify_keys)
    retired = session.any_history(spec.retire)
    given_up = read_give_ups(spec.give_up, retired)
    seal_keys = session.seal_keys(spec.seal_keys)
    on = session.find_again(spec)
    if seal_keys is not None:
        on = on.opening_sealed(seal_keys)
    elif retired is not None and keys is None and on.job.place.sealed_to:
        session.progress.warn(
            "the job's checkpoints are sealed, so nothing is looked for in them",
            hint="give --seal-keys, or --verify-keys",
        )
    on.acknowledge(acknowledged)
    match = match_again(on, partial=spec.partial, deep=spec.deep)
    if keys is not None:
        prove_replaced(on, keys, again=spec.deep, unread=match.unread)
    with on.job.log.group():
        end_walk(on.job, on.mailbox)
    summary = _summary(on, opens=keys is not None)
    # They are counted as what they were: nothing else is known of them.
    match.tell_left(on.progress, summary)
    if retired is not None:
        summary.retire = retire(
            on, retired, keys, given_up=given_up, accept_unproven=spec.accept_unproven
        )
        name_shut_key_files(summary, retired)
    return summary


def _summary(on: JobSession, *, opens: bool) -> VerifySummary:
    job = on.job
    summary = on.summary(VerifySummary)
    job.log.counts.summarise(summary)
    tell_what_lies(summary, job)
    summary.opens = opens
    summary.has_begun = any(map(job.log.phase, (Operation.ENCRYPT, Operation.REWRAP)))
    waiting = summary.any_of(State.CHECKPOINTED, State.DECRYPTED, State.READABLE)
    # Who gives new keys asks whether they open all of it.
    if job.log.purges.count_abandoned() or (waiting and (summary.has_begun or opens)):
        summary.failure_code = MessageError.exit_code
    return summary
