"""What a worker does to write a lost message anew, encrypted to the new recipients.

A message that was replaced before it was lost is made from its original, as
any other. Of one that was lost before, the checkpoint holds the plaintext and
the header it was first seen with: enough, where the whole message was
encrypted.
"""

from __future__ import annotations

from pathlib import Path

from sectool import smime
from sectool.checkpoint import OriginalStore
from sectool.errors import CheckpointDamaged, MessageError, reason_of
from sectool.joblog import JobMessage, Storage
from sectool.jobs.work.checkpoint_access import header_of
from sectool.jobs.work.new_message import WrittenMessage
from sectool.jobs.work.seal import (
    Frame,
    SealArgument,
    SealContext,
    known_parts,
    write_clear,
    write_sealed,
)
from sectool.jobs.work.sealers import FromCheckpoints
from sectool.jobs.work.work import WorkKind, reads_nothing
from sectool.mailbox import Access
from sectool.message import BytesContent, Content
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class LostArgument:
    """What a worker that makes lost messages anew is made from."""

    seal: SealArgument
    checkpoints: FromCheckpoints
    originals: Path

    @property
    def mailbox(self) -> Access:
        """Where they were."""
        return self.seal.mailbox


class LostContext(SealContext):
    """As for sealing, and what the job kept of the messages."""

    def __init__(self, argument: LostArgument) -> None:
        super().__init__(argument.seal)
        self.checkpoints = argument.checkpoints.open()
        self.originals = OriginalStore(argument.originals)


def make_anew(context: LostContext, message: JobMessage) -> WrittenMessage:
    """Writes a lost message for the new recipients and proves it (G1, ``structural``).

    Raises:
        MessageError: it costs this message.
        CheckpointDamaged: likewise.
        NoSpace: it could not be written.
    """
    original = _original(context, message)
    if any(part.checkpoint.storage is not Storage.NONE for part in message.parts):
        if original is not None and message.is_further:
            places = smime.places_of(original, [part.path for part in message.parts])
            frame = Frame(original, places, frozenset({smime.MARK_FIELD}))
        elif original is not None:
            frame = Frame(original, known_parts(message.parts, smime.take_inventory(original)))
        else:
            frame = _frame(context, message)
        return write_sealed(context, message, frame)
    # It was in clear, and only the original holds what it was.
    if original is None:
        raise MessageError("its original is missing or damaged")
    inventory = smime.take_inventory(original)
    written, part = write_clear(context, message, original, inventory)
    if [known.inner_sha256 for known in message.parts] != [part.inner_sha256]:
        raise MessageError("its original is not what was encrypted")
    return written


MAKE_ANEW = WorkKind(LostContext, make_anew, reads_nothing)


def _frame(context: LostContext, message: JobMessage) -> Frame:
    """The header that lies with its plaintext."""
    if [part.path for part in message.parts] != [""]:
        raise MessageError("only a part of it was encrypted, and the rest was not kept")
    (part,) = message.parts
    known = part.checkpoint
    header = header_of(context.checkpoints.open(known.content_digest), known)
    content = BytesContent(header + (b"\r\n" if header.endswith(b"\r\n") else b"\n"))
    if smime.take_inventory(content).message_id != message.message_id:
        # The same ciphertext was first seen in a forward, or in a mail of somebody who had it.
        raise MessageError("the header that was kept with its plaintext is of another message")
    return Frame(content, [smime.root_entity(content)])


def _original(context: LostContext, message: JobMessage) -> Content | None:
    """The original, whole; None where there is none, or none any more.

    Raises:
        MessageError: it cannot be read now; a later run may make more of it than a checkpoint.
    """
    if not message.original:
        return None
    try:
        original = context.originals.open(message.original)
        is_whole = original.digest == message.original
    except CheckpointDamaged:
        return None
    except OSError as error:
        raise MessageError(f"its original cannot be read: {reason_of(error)}") from error
    return original if is_whole else None
