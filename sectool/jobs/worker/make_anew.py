"""What a worker does to write a lost message anew, encrypted to the new recipients.

A message that was replaced before it was lost is made from its original, as
any other. Of one that was lost before, the checkpoint holds the plaintext and
the header it was first seen with: enough, where the whole message was
encrypted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sectool import smime
from sectool.checkpoint import OriginalStore
from sectool.errors import CheckpointDamaged, MessageError, why_unread
from sectool.joblog import ReplacedMessage, Storage
from sectool.jobs.worker.seal import (
    Frame,
    SealArgument,
    SealContext,
    WrittenMessage,
    known_parts,
    write_clear,
    write_sealed,
)
from sectool.jobs.worker.sealers import FromCheckpoints
from sectool.message import BytesContent, Content


@dataclass(frozen=True, slots=True)
class LostArgument:
    """What a worker that makes lost messages anew is made from."""

    seal: SealArgument
    checkpoints: FromCheckpoints
    originals: Path


@dataclass(frozen=True, slots=True)
class LostTask:
    """One lost message."""

    message: ReplacedMessage

    @property
    def size(self) -> int:
        """Bytes as it was stored."""
        return self.message.size


@dataclass(frozen=True, slots=True)
class MadeAnew:
    """A lost message, written unsynced and proven."""

    message: ReplacedMessage
    written: WrittenMessage


@dataclass(frozen=True, slots=True)
class NotMade:
    """Why a lost message cannot be made anew."""

    reason: str


class LostContext(SealContext):
    """As for sealing, and what the job kept of the messages."""

    def __init__(self, argument: LostArgument) -> None:
        super().__init__(argument.seal)
        self.checkpoints = argument.checkpoints.open()
        self.originals = OriginalStore(argument.originals)


def make_anew(context: LostContext, task: LostTask) -> MadeAnew | NotMade:
    """Writes a lost message for the new recipients and proves it (G1, ``structural``).

    Raises:
        NoSpace: it could not be written.
    """
    message = task.message
    try:
        written = _written(context, message)
    except (MessageError, CheckpointDamaged) as error:
        return NotMade(error.message)
    except (OSError, MemoryError) as error:
        return NotMade(why_unread(error))
    return MadeAnew(message, written)


def _written(context: LostContext, message: ReplacedMessage) -> WrittenMessage:
    if any(part.checkpoint.storage is not Storage.NONE for part in message.parts):
        return write_sealed(context, message.as_sealable, _frame(context, message))
    # It was in clear, and only the original holds what it was.
    original = _original(context, message)
    if original is None:
        raise MessageError("its original is missing or damaged")
    inventory = smime.take_inventory(original)
    written, part = write_clear(context, message.as_sealable, original, inventory)
    if [known.inner_sha256 for known in message.parts] != [part.inner_sha256]:
        raise MessageError("its original is not what was encrypted")
    return written


def _frame(context: LostContext, message: ReplacedMessage) -> Frame:
    original = _original(context, message)
    if original is not None:
        return Frame(original, known_parts(message.parts, smime.take_inventory(original)))
    if [part.path for part in message.parts] != [""]:
        raise MessageError("only a part of it was encrypted, and the rest was not kept")
    (part,) = message.parts
    header = context.checkpoints.open(part.checkpoint.content_digest).outer_header
    content = BytesContent(header + (b"\r\n" if header.endswith(b"\r\n") else b"\n"))
    return Frame(content, [smime.root_entity(content)])


def _original(context: LostContext, message: ReplacedMessage) -> Content | None:
    """The original, whole; None where there is none, or none any more."""
    if not message.original:
        return None
    try:
        original = context.originals.open(message.original)
        is_whole = original.digest == message.original
    except (CheckpointDamaged, OSError):
        return None
    return original if is_whole else None
