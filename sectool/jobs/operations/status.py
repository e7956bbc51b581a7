"""``status``: where a job stands, what is left, what failed and why; reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sectool.joblog import FormerPlaintext, UnfinishedMessage
from sectool.jobs.session.job import LOCK_NAME, STATUS_NAME, Job, look_at_job
from sectool.jobs.session.status_file import summarise_job
from sectool.locks import is_held
from sectool.message import open_regular_file
from sectool.summary import Activity, StatusSummary
from sectool.trust import Trust
from sectool.values import dataclass

SIZE_LIMIT = 256 * 1024 * 1024
"""Bytes of that file that are read."""


def status(directory: Path, trust: Trust | None = None) -> StatusSummary:
    """The counts of a job as its log tells them, also while a run is on.

    Args:
        directory: the job directory.
        trust: who may write to it beside root and the caller; None: nobody.

    Raises:
        UsageError: it is not a job directory.
        UnsafeDirectory: others could change it; root does not look at another's job.
        JobLogDamaged: its log is not whole.
    """
    with look_at_job(directory, trust) as job:
        return _summarise(job)


def _summarise(job: Job) -> StatusSummary:
    summary = summarise_job(job)
    summary.activity = last_activity(job.directory)
    return summary


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that the log of a job tells of it."""

    summary: StatusSummary
    checkpoints: FormerPlaintext
    """Those in clear that were purged."""
    in_mailbox: FormerPlaintext
    """Messages that were decrypted in place, and are encrypted or as they were again."""
    unfinished: Iterator[UnfinishedMessage]
    """The messages that are not done."""


@contextmanager
def inspect(directory: Path, trust: Trust | None = None) -> Iterator[Inspection]:
    """As ``status``, with each message that is not done and what lay in clear before.

    Args:
        directory: the job directory.
        trust: who may write to it beside root and the caller; None: nobody.

    Raises:
        SectoolError: as ``status`` has it.
    """
    with look_at_job(directory, trust) as job:
        lay = job.log.plaintext
        yield Inspection(
            _summarise(job),
            lay.former_checkpoints(),
            lay.formerly_in_mailbox(),
            job.log.counts.unfinished(),
        )


def last_activity(directory: Path) -> Activity | None:
    """What the run that wrote the status file was doing, and whether it still is.

    Args:
        directory: of the job.

    Returns:
        None where there is no such file, or nothing in it that a run would write.
    """
    try:
        with open_regular_file(directory / STATUS_NAME) as stream:
            document = json.loads(stream.read(SIZE_LIMIT))
        told = document["activity"]
        activity = Activity(
            operation=str(told["operation"]),
            pid=int(told["pid"]),
            started=datetime.fromisoformat(told["started"]),
            updated=datetime.fromisoformat(told["updated"]),
            stage=str(told["stage"]),
            done=int(told["done"]),
            total=None if told["total"] is None else int(told["total"]),
            ended=None if told["ended"] is None else datetime.fromisoformat(told["ended"]),
            exit_code=None if told["exit_code"] is None else int(told["exit_code"]),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    moments = (activity.started, activity.updated, activity.ended)
    if any(one and (one.tzinfo is None or not 1970 <= one.year < 9999) for one in moments):
        return None
    if activity.ended is not None:
        return activity
    return replace(activity, is_on=is_held(directory / LOCK_NAME))
