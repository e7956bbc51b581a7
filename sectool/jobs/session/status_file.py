"""``status.json``: what a run is doing, kept beside the job for whoever asks meanwhile.

Replaced atomically every few seconds and when a stage ends, not synced: after a
crash it may be missing or old, and only the job log counts. A disk that takes
no more must not end a run for it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sectool import durable
from sectool.errors import Interrupted, SectoolError
from sectool.joblog import Storage
from sectool.jobs.session.job import STATUS_NAME, Job
from sectool.jobs.session.spec import Operation
from sectool.outcome import Outcome
from sectool.plaintext import Plaintext
from sectool.progress import Progress
from sectool.summary import Activity, ShutKeyFile, StatusSummary, Summary

INTERVAL = 3.0
"""Seconds between two writings, at least."""

SHARE = 50
"""A run spends no more than one part in so many of its time on writing."""

Document = Callable[[StatusSummary], dict[str, Any]]
"""Makes what ``status --json`` prints of a summary."""


def summarise_job(job: Job) -> StatusSummary:
    """The counts of a job as its log tells them."""
    summary = StatusSummary(mailbox=job.mailbox or "", job=str(job.directory))
    for name in (Operation.ROLLBACK, Operation.ENCRYPT, Operation.REWRAP, Operation.DECRYPT):
        phase = job.log.phase(name)
        if phase is not None:
            summary.phase, summary.is_finished = name.value, phase[0] == "finished"
            break
    else:
        summary.is_finished = False
    job.log.counts.summarise(summary)
    tell_what_lies(summary, job)
    summary.retire = job.log.give_ups.last_answers()
    return summary


def tell_what_lies(summary: Summary, job: Job) -> None:
    """Adds what the job holds in clear, and what it keeps to undo what it did."""
    summary.plaintext = plaintext_of(job)
    summary.originals = job.log.plaintext.originals()


def plaintext_of(job: Job) -> Plaintext:
    """What of a job lies in clear, and since when."""
    log = job.log.plaintext
    return Plaintext(
        checkpoints=log.checkpoints(Storage.PLAIN),
        sealed=log.checkpoints(Storage.SEALED),
        in_mailbox=log.in_mailbox(),
        asked=datetime.now(UTC),
        sealed_to=job.place.sealed_to,
    )


class Reporter:
    """A ``Progress`` that tells another one, and keeps the status file of one job.

    Args:
        operation: what the run does.
        progress: told everything.
        document: makes the contents of the file; None: there is no file.
    """

    def __init__(self, operation: Operation, progress: Progress, document: Document | None) -> None:
        self._progress = progress
        self._document = document
        self._job: Job | None = None
        self._exit_code = 0
        self._warned: set[str] = set()
        self.unused_key_files: list[ShutKeyFile] = []
        """Key files that root does not use, since somebody could have led it to them."""
        self.passed_over = 0
        """Links, other files and folders that may hold mail, and that the walks left."""
        self._next = 0.0
        now = datetime.now(UTC)
        self._activity = Activity(operation, os.getpid(), now, now, is_on=True)

    # --- a Progress ---------------------------------------------------------------------

    @property
    def shows_totals(self) -> bool:
        """As the other one has it."""
        return self._progress.shows_totals

    @property
    def hears_outcomes(self) -> bool:
        """As the other one has it."""
        return self._progress.hears_outcomes

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts."""
        self._progress.begin(stage, total)
        self._activity = replace(self._activity, stage=stage, done=0, total=total)
        self._write_if_due()

    def advance(self, messages: int = 1) -> None:
        """More messages are done."""
        self._progress.advance(messages)
        self._activity = replace(self._activity, done=self._activity.done + messages)
        self._write_if_due()

    def end(self) -> None:
        """The stage is over."""
        self._progress.end()
        self._write()

    def note(self, text: str) -> None:
        """Told on."""
        self._progress.note(text)

    def outcome(self, outcome: Outcome) -> None:
        """Told on."""
        self._progress.outcome(outcome)

    def warn(self, text: str, *, hint: str = "") -> None:
        """Told on, once."""
        if text not in self._warned:
            self._warned.add(text)
            self._progress.warn(text, hint=hint)

    # --- the file -----------------------------------------------------------------------

    @contextmanager
    def beside(self, job: Job) -> Iterator[None]:
        """Keeps the file while the block runs, and leaves it saying how the run ended."""
        self._job = job
        _sweep(job)
        code = 1
        try:
            yield
            code = self._exit_code
        except SectoolError as error:
            code = error.exit_code
            raise
        except KeyboardInterrupt as stopped:
            code = getattr(stopped, "exit_code", Interrupted.exit_code)
            raise
        finally:
            now = datetime.now(UTC)
            self._activity = replace(self._activity, ended=now, exit_code=code, is_on=False)
            self._write()
            _sweep(job)

    def result(self, summary: Summary) -> None:
        """Takes the exit code of what came of the run."""
        self._exit_code = summary.exit_code

    def _write_if_due(self) -> None:
        if self._job is not None and time.monotonic() >= self._next:
            self._write()

    def _write(self) -> None:
        if self._job is None or self._document is None:
            return
        begun = time.monotonic()
        self._activity = replace(self._activity, updated=datetime.now(UTC))
        # Whatever keeps it from being written, a full disk or a log that cannot be
        # read, ends no run, and hides no error that is about to.
        with suppress(Exception):
            summary = summarise_job(self._job)
            document = self._document(replace(summary, activity=self._activity))
            text = f"{json.dumps(document)}\n".encode()
            durable.replace_file(self._job.directory / STATUS_NAME, text, "status", durable=False)
        now = time.monotonic()
        self._next = now + max(INTERVAL, SHARE * (now - begun))


def _sweep(job: Job) -> None:
    with suppress(OSError):
        for leftover in job.directory.glob(f".{STATUS_NAME}.*.new"):
            durable.unlink(leftover, "status.sweep", missing_ok=True)
