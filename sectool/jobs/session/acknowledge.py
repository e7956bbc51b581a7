"""``--acknowledge``: a file of messages that a person knows cannot be done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sectool.errors import UsageError, reason_of
from sectool.joblog import Acknowledgement
from sectool.jobs.session.job import Job
from sectool.outcome import NOT_DONE, Identity, State
from sectool.progress import Progress
from sectool.trust import open_named

_HINT = "a line is an identity, as `sectool status DIR --json` lists it, and the state if you like"

_IDENTITY = re.compile(r"(unread:)?[0-9a-f]{64}")


LIST_LIMIT = 32 * 1024 * 1024
"""Bytes of a list of messages: some hundred thousand identities."""


def lines_of(path: Path, *, hint: str) -> list[str]:
    """The lines of a file that a person named.

    Raises:
        UsageError: it cannot be read or is too large; gives the hint.
    """
    try:
        with open(path, "rb", opener=open_named) as stream:
            raw = stream.read(LIST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason_of(error)}", hint=hint) from error
    if len(raw) > LIST_LIMIT:
        raise UsageError(f"{path} is larger than {LIST_LIMIT} bytes", hint=hint)
    return raw.decode("utf-8-sig", "replace").splitlines()


def read_acknowledgements(path: Path | None) -> tuple[Acknowledgement, ...]:
    """Reads a file of identities, one a line, each with the state it is good for or none.

    Args:
        path: the file; what follows a ``#`` is left out. None: nothing is acknowledged.

    Raises:
        UsageError: it cannot be read, or a line is no such thing.
    """
    if path is None:
        return ()
    lines = lines_of(path, hint="name a file that lists the messages to acknowledge")
    words = [(number, line.partition("#")[0].split()) for number, line in enumerate(lines, 1)]
    return tuple(dict.fromkeys(_parse(path, number, line) for number, line in words if line))


def _parse(path: Path, number: int, words: list[str]) -> Acknowledgement:
    identity, *states = words
    identity = identity.lower()
    if not _IDENTITY.fullmatch(identity):
        raise UsageError(f"line {number} of {path} is no identity of a message", hint=_HINT)
    if not states:
        return Acknowledgement(Identity(identity))
    if len(states) > 1 or states[0] not in NOT_DONE:
        names = ", ".join(sorted(NOT_DONE))
        raise UsageError(
            f"line {number} of {path} names no state that can be acknowledged",
            hint=f"one of: {names}; or none",
        )
    return Acknowledgement(Identity(identity), State(states[0]))


@contextmanager
def acknowledging(
    job: Job, acknowledgements: tuple[Acknowledgement, ...], progress: Progress
) -> Iterator[None]:
    """Takes acknowledgements down before the block; tells after it which of them met no message."""
    if acknowledgements:
        with job.log.group():
            job.log.acknowledgements.add(acknowledgements)
    yield
    unmatched = [one for one in acknowledgements if not job.log.acknowledgements.is_matched(one)]
    if unmatched:
        progress.warn(
            f"{len(unmatched)} of {len(acknowledgements)} acknowledged messages are not among"
            f" those not done, such as {unmatched[0].identity[:16]}…",
            hint="they may be done, or of another job; take them out of the file",
        )
