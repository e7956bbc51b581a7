"""The engine: what the commands do, from a frozen specification to a summary."""

from sectool.jobs.operations.status import status
from sectool.jobs.run import run
from sectool.jobs.session.job import is_job, make_directory
from sectool.jobs.session.spec import (
    Cancel,
    Decrypt,
    Encrypt,
    NeverCancelled,
    Operation,
    Purge,
    Reason,
    Rewrap,
    Rollback,
    Run,
    Scan,
    Selection,
    Specification,
    Undone,
    Verify,
    default_workers,
)
from sectool.keys import Ask
from sectool.trust import Trust

__all__ = [
    "Ask",
    "Cancel",
    "Decrypt",
    "Encrypt",
    "NeverCancelled",
    "Operation",
    "Purge",
    "Reason",
    "Rewrap",
    "Rollback",
    "Run",
    "Scan",
    "Selection",
    "Specification",
    "Trust",
    "Undone",
    "Verify",
    "default_workers",
    "is_job",
    "make_directory",
    "run",
    "status",
]
