"""Carries out one run: from a frozen specification to a summary.

Prints nothing and asks nobody but through the functions it is given.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

from sectool.budget import limits_times
from sectool.durable import explain_unforeseen
from sectool.errors import RunError
from sectool.jobs.operations.decrypt import decrypt
from sectool.jobs.operations.encrypt import encrypt
from sectool.jobs.operations.purge import purge
from sectool.jobs.operations.quick_scan import quick_scan
from sectool.jobs.operations.rewrap import rewrap
from sectool.jobs.operations.rollback import rollback
from sectool.jobs.operations.scan import scan
from sectool.jobs.operations.verify import verify
from sectool.jobs.session.session import Session
from sectool.jobs.session.spec import (
    Cancel,
    Decrypt,
    Encrypt,
    NeverCancelled,
    Purge,
    QuickScan,
    Rewrap,
    Rollback,
    Run,
    S_co,
    Scan,
    Verify,
)
from sectool.jobs.session.status_file import Document, Reporter
from sectool.keys import Ask
from sectool.mailbox import stopped_by
from sectool.progress import NoProgress, Progress
from sectool.summary import Summary


def run(
    spec: Run[S_co],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    ask: Ask | None = None,
    document: Document | None = None,
) -> S_co:
    """Carries out one run.

    Args:
        spec: what to do.
        progress: told what is going on.
        cancel: asked whether to stop.
        ask: for passphrases that no file and no variable gives; None: nobody is there.
        document: makes what ``status.json`` beside the job holds; None: it is not kept.

    Returns:
        The counts; ``Summary.exit_code`` says whether every message is done.

    Raises:
        SectoolError: what ended the run; the same run resumes once the cause is gone.
    """
    reporter = Reporter(spec.operation, progress or NoProgress(), document)
    cancel = cancel or NeverCancelled()
    try:
        with (
            ExitStack() as stack,
            limits_times(spec.limit_factor),
            stopped_by(cancel.check, spec.account.patience),
        ):
            # Each operation ends with the summary that its specification names.
            summary = cast("S_co", _carry_out(spec, Session(reporter, cancel, ask, stack)))
            reporter.result(summary)
    except OSError as error:
        raise explain_unforeseen(error) from error
    except RunError:
        # Who stops all processes of a run at once stops the workers, too: not
        # their end is to be told then, but that someone asked for it.
        cancel.check()
        raise
    summary.passed_over = reporter.passed_over
    summary.unused_key_files = list(dict.fromkeys(reporter.unused_key_files))
    if not summary.messages:
        reporter.warn("there is no message in the mailbox", hint="is it the right one?")
    return summary


def _carry_out(  # noqa: PLR0911  # one for each operation
    spec: Run[Summary], session: Session
) -> Summary:
    match spec:
        case Scan():
            return scan(spec, session)
        case QuickScan():
            return quick_scan(spec, session)
        case Decrypt():
            return decrypt(spec, session)
        case Encrypt():
            return encrypt(spec, session)
        case Rewrap():
            return rewrap(spec, session)
        case Verify():
            return verify(spec, session)
        case Rollback():
            return rollback(spec, session)
        case Purge():
            return purge(spec, session)
        case _:
            raise TypeError(f"{type(spec).__name__} is no run of an operation")
