"""Puts mail that a move lost back into the mailbox, encrypted to the new recipients.

A message that was replaced before it was lost is made from its original, as
any other. Of one that was lost before, the checkpoint holds the plaintext and
the header it was first seen with: enough, where the whole message was
encrypted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sectool import smime
from sectool.checkpoint import OriginalStore
from sectool.errors import CheckpointDamaged, MessageError, reason_of
from sectool.joblog import ReplacedMessage, Storage
from sectool.jobs.grouping import Grouping
from sectool.jobs.job import Job
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.prove import listing_of
from sectool.jobs.replace import NewMessage, Replacer
from sectool.jobs.seal import (
    Frame,
    FromCheckpoints,
    SealArgument,
    SealContext,
    WrittenMessage,
    write_clear,
    write_sealed,
)
from sectool.jobs.spec import Cancel, JobSpec
from sectool.jobs.walk import Selector
from sectool.mailbox import NOTHING, Addition
from sectool.message import BytesContent, Content
from sectool.progress import Progress

RECOVERED = "Recovered"
"""Folder for what was lost."""

# --- in the worker ------------------------------------------------------------------


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
    except OSError as error:
        return NotMade(f"it cannot be read: {reason_of(error)}")
    except MemoryError:
        return NotMade("it needs more memory than a message may take")
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
        return Frame(original, smime.take_inventory(original).parts)
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


# --- in the parent ------------------------------------------------------------------


def lost_tasks(spec: JobSpec, job: Job) -> list[LostTask]:
    """What there is to put back of a walk that ended; the selection applies to where it was."""
    selector = Selector(spec.selection)
    return [LostTask(lost) for lost in job.log.replaced.lost() if selector.takes(listing_of(lost))]


@dataclass(slots=True)
class Restored:
    """What came of it."""

    messages: int = 0
    not_restored: Counter[str] = field(default_factory=Counter)
    """How many were not, by reason."""


def restore_lost(
    tasks: Sequence[LostTask],
    argument: LostArgument,
    replacer: Replacer,
    *,
    workers: int,
    progress: Progress,
    cancel: Cancel,
) -> Restored:
    """Adds what the walk that just ended did not find, in the folder ``Recovered``.

    Args:
        tasks: of ``lost_tasks``.
        argument: for whom, from what, and where to write.
        replacer: adds them.
        workers: processes; 0: this one.
        progress: told of each message.
        cancel: asked between messages.

    Raises:
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    restored = Restored()
    progress.begin("restore", len(tasks))

    def add(group: Sequence[MadeAnew]) -> None:
        refused = replacer.add([_entry(one) for one in group])
        restored.messages += len(group) - len(refused)
        restored.not_restored.update(refused)

    group = Grouping(add)
    for answer in _answers(tasks, argument, workers):
        cancel.check()
        progress.advance()
        if isinstance(answer, NotMade):
            restored.not_restored[answer.reason] += 1
            continue
        group.add(answer, answer.written.content.size)
    group.finish()
    progress.end()
    return restored


def _answers(
    tasks: Sequence[LostTask], argument: LostArgument, workers: int
) -> Iterator[MadeAnew | NotMade]:
    for answer in run_tasks(
        make_anew,
        tasks,
        make_context=LostContext,
        context_argument=argument,
        workers=workers,
    ):
        yield NotMade(answer.reason) if isinstance(answer, Died) else answer


def _entry(made: MadeAnew) -> tuple[NewMessage, Addition]:
    new = NewMessage(
        message=made.message.message,
        ref=NOTHING,
        revision="",
        content=made.written.content,
        identity=made.written.identity,
        opens_to=made.written.opens_to,
        keeps_original=False,
    )
    date = datetime.fromisoformat(made.message.internal_date)
    return new, Addition(RECOVERED, made.written.content, date)
