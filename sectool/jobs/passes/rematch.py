"""Finds a job in the mailbox again for what comes after encrypting, and in no wrong one."""

from __future__ import annotations

from sectool.errors import NotThisMailbox
from sectool.jobs.passes.match import Match, Matcher
from sectool.jobs.session.job import MAILBOX_VALUE, Job, rehearse_job
from sectool.jobs.session.session import JobSession
from sectool.progress import NoProgress, Progress


def match_again(on: JobSession, *, partial: bool, deep: bool) -> Match:
    """Walks the mailbox and gives the job's messages their present places.

    A mailbox that the job was never at is tried on a copy of the log first, so
    that a wrong one leaves no trace in it.

    Args:
        on: whose messages are looked for, and where; noted as the job's place from now on.
        partial: go on although most of the job is missing.
        deep: no hint is trusted, every message is read.

    Returns:
        What was found; a message that cannot be read counts as found.

    Raises:
        NotThisMailbox: less than half of the job is found here.
    """

    def match(job: Job, tell: Progress) -> Match:
        matcher = Matcher(job, on.mailbox, workers=on.workers, cancel=on.cancel, deep=deep)
        return matcher.run(tell)

    job, here = on.job, on.mailbox.specification.url
    if job.mailbox != here and not on.dry_run:
        with rehearse_job(job.directory, job.trust) as rehearsal:
            check_found(match(rehearsal, NoProgress()), here, partial=partial)
    found = match(job, on.progress)
    check_found(found, here, partial=partial)
    with job.log.group():
        job.log.set_value(MAILBOX_VALUE, here)
    return found


def check_found(match: Match, here: str, *, partial: bool) -> None:
    """Holds that this is the mailbox of the job.

    Args:
        match: what was found.
        here: URL of the mailbox.
        partial: it is, whatever was found.

    Raises:
        NotThisMailbox: less than half of the job is found here.
    """
    if match.found * 2 < match.messages and not partial:
        raise NotThisMailbox(
            f"only {match.found} of the {match.messages} messages of the job are in {here}",
            hint="name the mailbox the user was moved to, or add --partial if this is it",
        )
