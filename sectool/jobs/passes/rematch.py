"""Finds a job in the mailbox again for what comes after encrypting, and in no wrong one."""

from __future__ import annotations

from sectool.errors import NotThisMailbox
from sectool.jobs.passes.match import Match, Matcher
from sectool.jobs.session.job import MAILBOX_VALUE, Job, rehearse_job
from sectool.jobs.session.spec import Cancel, JobSpec
from sectool.mailbox import Mailbox
from sectool.progress import NoProgress, Progress


def match_again(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    *,
    deep: bool,
    progress: Progress,
    cancel: Cancel,
) -> Match:
    """Walks the mailbox and gives the job's messages their present places.

    A mailbox that the job was never at is tried on a copy of the log first, so
    that a wrong one leaves no trace in it.

    Args:
        spec: ``partial``: go on although most of the job is missing.
        job: whose messages are looked for.
        mailbox: where; noted as the job's from now on.
        deep: no hint is trusted, every message is read.
        progress: told of each message.
        cancel: asked between messages.

    Returns:
        What was found; a message that cannot be read counts as found.

    Raises:
        NotThisMailbox: less than half of the job is found here.
    """

    def match(on: Job, tell: Progress) -> Match:
        matcher = Matcher(on, mailbox, workers=spec.workers, cancel=cancel, deep=deep)
        return matcher.run(tell)

    here = mailbox.specification.url
    if job.mailbox != here and not spec.dry_run:
        with rehearse_job(job.directory, job.trust) as rehearsal:
            _check(spec, here, match(rehearsal, NoProgress()))
    found = match(job, progress)
    _check(spec, here, found)
    with job.log.group():
        job.log.set_value(MAILBOX_VALUE, here)
    return found


def _check(spec: JobSpec, here: str, match: Match) -> None:
    if match.found * 2 < match.messages and not spec.partial:
        raise NotThisMailbox(
            f"only {match.found} of the {match.messages} messages of the job are in {here}",
            hint="name the mailbox the user was moved to, or add --partial if this is it",
        )
