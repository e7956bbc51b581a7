"""``--json-lines``: what a run does, as it happens, for a program that watches.

A line an event, appended: the runs of one job may share a file. It has no subject, no mail address
and no Message-ID; a message is named by its identity, as in the reports. Nobody who watches can
stop a run: where the file takes no more, the rest is left out.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sectool.errors import Interrupted, SectoolError, UsageError
from sectool.outcome import Outcome, blotted
from sectool.summary import Summary

INTERVAL = 1.0
"""Seconds between two events that tell how far a stage is."""


class Events:
    """Writes events to a file.

    Args:
        descriptor: of the file, open for appending; None: nobody listens.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._stage = ""
        self._done = 0
        self._total: int | None = None
        self._next = 0.0

    @property
    def are_heard(self) -> bool:
        """Whether there is a file."""
        return self._descriptor is not None

    def tell(self, event: str, **members: object) -> None:
        """Appends one event with the time of now."""
        if self._descriptor is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "time": now, **members})
        with suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode())

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts."""
        self._stage, self._done, self._total = stage, 0, total
        self._next = time.monotonic() + INTERVAL
        self.tell("stage", stage=stage, total=total)

    def advance(self, messages: int) -> None:
        """More messages of the stage are done; told now and then."""
        self._done += messages
        if self.are_heard and time.monotonic() >= self._next:
            self._tell_progress()

    def end(self) -> None:
        """The stage is over."""
        if self._stage:
            self._tell_progress()
            self._stage = ""

    def _tell_progress(self) -> None:
        self._next = time.monotonic() + INTERVAL
        self.tell("progress", stage=self._stage, done=self._done, total=self._total)

    def outcome(self, outcome: Outcome) -> None:
        """A message came to a state."""
        self.tell(
            "message",
            folder=blotted(outcome.folder),
            identity=outcome.identity,
            state=outcome.state.value,
            reason=blotted(outcome.reason),
        )

    def warn(self, text: str, hint: str) -> None:
        """Something is amiss."""
        self.tell("warning", message=blotted(text), hint=blotted(hint))

    def summary(self, summary: Summary) -> None:
        """What came of the run."""
        from sectool.cli.words.verdicts import judge

        if self.are_heard:
            counts: dict[str, Any] = {state.value: n for state, n in sorted(summary.counts.items())}
            judgement = judge(summary)
            verdict = {"good": judgement.good, "text": blotted(judgement.text)}
            self.tell("summary", counts=counts, exit_code=summary.exit_code, verdict=verdict)


@contextmanager
def open_events(path: Path | None, operation: str, *, dry_run: bool) -> Iterator[Events]:
    """Appends to a file what a run does, from its beginning to its end.

    Args:
        path: of the file, made where it is not there; None: nobody listens.
        operation: what the run does.
        dry_run: whether it writes nothing but this.

    Raises:
        UsageError: it is a link, no file, or somebody else's.
        UnsafeDirectory: somebody else could lead it elsewhere.
    """
    if path is None:
        yield Events(None)
        return
    descriptor = _open(path)
    events = Events(descriptor)
    try:
        events.tell("begin", operation=operation, dry_run=dry_run, pid=os.getpid())
        yield events
    except SectoolError as error:
        members = {"exit_code": error.exit_code, "message": blotted(error.message)}
        events.tell("error", **members, hint=blotted(error.hint or ""))
        raise
    except KeyboardInterrupt as stopped:
        code = getattr(stopped, "exit_code", Interrupted.exit_code)
        events.tell("error", exit_code=code, message="interrupted", hint="")
        raise
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    from sectool import durable
    from sectool.trust import Trust

    with durable.explained(f"write {path}", denied=UsageError):
        way = Trust().walk(path.parent)
        if way.missing or not way.real.is_dir():
            raise UsageError(f"there is no directory {path.parent}", hint="make it first")
        if (way.real / path.name).is_symlink():
            raise UsageError(f"{path} is a link, and is left as it is", hint="name another file")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(way.real / path.name, flags | os.O_CLOEXEC, 0o600)
        status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(descriptor)
        raise UsageError(
            f"{path} is no file of your own, and is left as it is", hint="name another file"
        )
    return descriptor
