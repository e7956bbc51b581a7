"""``status``: where a job stands, what is left, what failed and why; reads only."""

from __future__ import annotations

from pathlib import Path

from sectool.joblog import JobLog
from sectool.jobs.job import look_at_job
from sectool.jobs.spec import Operation
from sectool.outcome import Summary


def status(directory: Path) -> Summary:
    """The counts of a job as its log tells them, also while a run is on.

    Args:
        directory: the job directory.

    Raises:
        UsageError: it is not a job directory.
        JobLogDamaged: its log is not whole.
    """
    with look_at_job(directory) as job:
        phase, is_finished = _phase(job.log)
        summary = Summary(
            mailbox=job.mailbox or "", job=str(directory), phase=phase, is_finished=is_finished
        )
        job.log.counts.summarise(summary)
        return summary


def _phase(log: JobLog) -> tuple[str, bool]:
    for name in (Operation.ROLLBACK, Operation.ENCRYPT, Operation.DECRYPT):
        phase = log.phase(name)
        if phase is not None:
            return name.value, phase[0] == "finished"
    return "", False
