"""What a worker does to fetch the original of one message."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sectool import durable
from sectool.checkpoint import OriginalStore
from sectool.crashpoints import crashpoint
from sectool.errors import (
    CheckpointDamaged,
    MessageChanged,
    MessageError,
    MessageVanished,
    reason_of,
    why_unread,
)
from sectool.joblog import ReplacedMessage
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.stored_copy import fetch_known
from sectool.mailbox import MailboxSpecification, open_mailbox
from sectool.message import DigestingSink, FileContent, copy
from sectool.outcome import State


@dataclass(frozen=True, slots=True)
class RestoreArgument:
    """What a worker that fetches originals is made from."""

    mailbox: MailboxSpecification
    originals: Path
    spool: Path
    """Directory for the copies of originals."""
    prefix: str
    """Their names begin so, so that a later run knows them for this job's."""


@dataclass(frozen=True, slots=True)
class RestoreTask:
    """One message whose original is to be put back."""

    message: ReplacedMessage

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A message whose original cannot be put back, and why."""

    message: int
    state: State
    reason: str
    failure_code: int = 0


class RestoreContext:
    """The mailbox and the originals, opened once in each worker."""

    def __init__(self, argument: RestoreArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.originals = OriginalStore(argument.originals)
        self.spool = argument.spool
        self.prefix = argument.prefix


def restore(context: RestoreContext, task: RestoreTask) -> NewMessage | NotRestored:
    """Copies one original to the spool, and compares both it and the stored copy with the log.

    Raises:
        NoSpace: the copy could not be written.
    """
    message = task.message.message
    try:
        return _restore(context, task.message)
    except (MessageChanged, MessageVanished) as error:
        return NotRestored(message, State.CHANGED, error.message)
    except MessageError as error:
        return NotRestored(message, State.FAILED, error.message)
    except CheckpointDamaged as error:
        return NotRestored(message, State.FAILED, error.message, error.exit_code)
    except (OSError, MemoryError) as error:
        return NotRestored(message, State.FAILED, why_unread(error))


def _restore(context: RestoreContext, message: ReplacedMessage) -> NewMessage:
    stored, _ = fetch_known(context.mailbox, message)
    original = context.originals.open(message.original)
    path = context.spool / f"{context.prefix}{message.message}.{os.urandom(4).hex()}"
    with durable.explained("write an original"), durable.new_file(path) as stream:
        digesting = DigestingSink(stream)
        _copy(original, digesting)
        if digesting.hexdigest() != message.original:
            raise CheckpointDamaged(f"the original {message.original[:16]}… is not what was kept")
        crashpoint("restore.written")
    content = FileContent(path, known_digest=message.original)
    return NewMessage(
        message.message, message.ref, stored.revision, content, message.original_identity
    )


def _copy(original: FileContent, sink: DigestingSink) -> None:
    try:
        source = original.open()
    except OSError as error:
        raise _damaged(reason_of(error)) from error
    with source:
        copy(source, sink, _damaged)


def _damaged(reason: str) -> CheckpointDamaged:
    return CheckpointDamaged(f"an original is missing or damaged: {reason}")
