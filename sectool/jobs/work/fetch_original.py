"""What a worker does to fetch the original of one message."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from sectool import durable, smime
from sectool.checkpoint import OriginalStore
from sectool.crashpoints import crashpoint
from sectool.errors import CheckpointDamaged, reason_of
from sectool.joblog import JobMessage
from sectool.jobs.work.new_message import (
    NewFiles,
    NewMessage,
    ReadCopy,
    WritingContext,
    WrittenMessage,
)
from sectool.jobs.work.stored_copy import fetch_known
from sectool.jobs.work.work import WorkKind
from sectool.mailbox import Access
from sectool.message import Content, DigestingSink, FileContent, StoredMessage, copy
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class OriginalArgument:
    """What a worker that fetches originals is made from."""

    mailbox: Access
    originals: Path
    files: NewFiles
    """The copies of originals."""
    keeps_header: bool
    """Whether what was added to the header of a message since is put back with it."""


class OriginalContext(WritingContext):
    """The mailbox and the originals, opened once in each worker."""

    def __init__(self, argument: OriginalArgument) -> None:
        super().__init__(argument)
        self.originals = OriginalStore(argument.originals)
        self.keeps_header = argument.keeps_header


def fetch_original(context: OriginalContext, message: JobMessage) -> NewMessage:
    """Copies one original to the spool, and compares both it and the stored copy with the log.

    Raises:
        MessageError: it costs this message.
        CheckpointDamaged: likewise.
        NoSpace: the copy could not be written.
    """
    stored, _ = fetch_known(context.mailbox, message)
    original = context.originals.open(message.original)
    path = context.files.of(message.message)
    with durable.new_output(path, "write an original") as stream:
        digesting = DigestingSink(stream, holds=True)
        _copy(original, digesting)
        if digesting.hexdigest() != message.original:
            raise CheckpointDamaged(f"the original {message.original[:16]}… is not what was kept")
        crashpoint("roll_back.written")
        content = _finished(context, path, digesting, stream, stored)
    changed = None
    if context.keeps_header:
        written = digesting.held or FileContent(path)
        changed = _with_present_header(written, stored.content, message)
    if changed is not None:
        path = context.files.of(message.message)
        with durable.new_output(path, "write an original") as stream:
            digesting = DigestingSink(stream)
            _copy(changed, digesting)
            content = _finished(context, path, digesting, stream, stored)
    new = WrittenMessage(content, message.original_identity)
    return NewMessage(message.message, ReadCopy.of(stored), new)


def _finished(
    context: OriginalContext,
    path: Path,
    written: DigestingSink,
    stream: BinaryIO,
    stored: StoredMessage,
) -> FileContent:
    stream.flush()  # a later write would change the time again
    content = FileContent(path, known_digest=written.hexdigest())
    return context.files.finish(content, stream, stored.inheritance)


def _with_present_header(
    original: Content, present: Content, message: JobMessage
) -> Content | None:
    """The original with what its owner made of the header since; None: as it was, or in doubt."""
    changed = smime.with_header_of(original, present)
    if changed is None or smime.take_inventory(changed).identity != message.original_identity:
        return None
    return changed


FETCH_ORIGINAL = WorkKind(OriginalContext, fetch_original)


def _copy(original: Content, sink: DigestingSink) -> None:
    try:
        source = original.open()
    except OSError as error:
        raise _damaged(reason_of(error)) from error
    with source:
        copy(source, sink, _damaged)


def _damaged(reason: str) -> CheckpointDamaged:
    return CheckpointDamaged(f"an original is missing or damaged: {reason}")
