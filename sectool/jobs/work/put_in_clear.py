"""What a worker does to make the plaintext copy of one stored message (``--in-place``).

Runs in any process. Nothing here renames, syncs or logs; that is the parent's. The plaintext
is that of the checkpoints alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from sectool import cms, durable, smime
from sectool.checkpoint import CheckpointStore
from sectool.crashpoints import crashpoint
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.joblog import IN_CLEAR, CheckpointRecord, JobMessage, SealablePart
from sectool.jobs.work.checkpoint_access import CheckpointPlace, not_as_known
from sectool.jobs.work.new_message import (
    NewFiles,
    NewMessage,
    ReadCopy,
    WritingContext,
    WrittenMessage,
)
from sectool.jobs.work.seal import SUBJECT_RESTORED
from sectool.jobs.work.seal_nested import layers_inside
from sectool.jobs.work.stored_copy import fetch_known
from sectool.jobs.work.work import WorkKind
from sectool.mailbox import Access
from sectool.message import Content, DigestingSink, FileContent, MessageRef
from sectool.outcome import Identity, PlaintextDigest, State
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Plaintext:
    """What is to stand in the place of a part, and its SHA-256 as it was taken down."""

    content: Content
    sha256: PlaintextDigest

    def in_place_of(self, part: smime.Place) -> smime.DecryptedPart:
        """For ``smime.write_plaintext``."""
        return smime.DecryptedPart(part, self.content, self.sha256)


@dataclass(slots=True)
class PlaintextComposer:
    """Opens checkpoints, each one with those of the layers inside it where they are wanted.

    To be used in a ``with`` statement, at the end of which the files it wrote are gone.

    Args:
        checkpoints: of the job.
        new_file: names a file for a plaintext in which layers were opened.
        selection: which layers may be opened; without ``nested`` each stays as it is.
    """

    checkpoints: CheckpointStore
    new_file: Callable[[], Path]
    selection: smime.ClearSelection
    _written: list[Path] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._written:
            durable.unlink(path, "plaintext.layer-gone", missing_ok=True)

    def compose(self, part: SealablePart) -> Plaintext:
        """The plaintext of a part.

        Raises:
            UnsupportedMessage: it is no MIME entity, or a layer cannot be put into it.
            CheckpointDamaged: a checkpoint is not what the log knows.
            MessageError: it cannot be done for this message.
            NoSpace: it could not be written.
        """
        return self._compose(part.checkpoint, part.layers if self.selection.nested else {}, "")

    def _compose(
        self, known: CheckpointRecord, layers: Mapping[str, CheckpointRecord], prefix: str
    ) -> Plaintext:
        if known.content_type != cms.ID_DATA:
            raise UnsupportedMessage("what is inside is no MIME entity")
        inner = self.checkpoints.open(known.content_digest).inner
        if inner.digest != known.inner_sha256:
            raise not_as_known(known.content_digest)
        inside = layers_inside(inner, known.content_type, layers, prefix)
        if not inside:
            return Plaintext(inner, known.inner_sha256)
        for place, _, _ in inside:
            if reason := self.selection.why_left(place):
                raise UnsupportedMessage(
                    f"another encrypted layer lies inside, and stays so: {reason}"
                )
        parts = [
            self._compose(layer, layers, f"{path}!").in_place_of(place)
            for place, path, layer in inside
        ]
        path = self.new_file()
        self._written.append(path)
        content = write_and_check(path, inner, parts)
        return Plaintext(content, PlaintextDigest(content.digest))


def write_and_check(
    path: Path,
    content: Content,
    parts: Sequence[smime.DecryptedPart],
    mark: smime.Mark | None = None,
    *,
    finish: Callable[[FileContent, BinaryIO], FileContent] = lambda written, _: written,
) -> FileContent:
    """Writes a message or plaintext with plaintexts in it, unsynced, and proves it.

    Args:
        path: where to; nothing may be there.
        content: as ``smime.write_plaintext`` has it.
        parts: likewise.
        mark: likewise.
        finish: gives the file what it has beside its bytes.

    Raises:
        UnsupportedMessage: a plaintext cannot stand there as it is.
        MessageError: it cannot be done for this message.
        NoSpace: it could not be written.
    """
    with durable.new_output(path, "write a new message") as stream:
        digesting = DigestingSink(stream)
        smime.write_plaintext(content, parts, digesting, mark=mark)
        crashpoint("plaintext.written")
        stream.flush()
        written = FileContent(path, known_digest=digesting.hexdigest())
        try:
            smime.check_plaintext(written, content, parts, mark=mark)
        except MalformedMessage as error:
            # Such as a body whose last byte would pass for a part of the line end behind it.
            what = f"its plaintext cannot stand in the mailbox: {error.message}"
            raise UnsupportedMessage(what) from error
        return finish(written, stream)


@dataclass(frozen=True, slots=True)
class PlaintextArgument:
    """What a worker that makes plaintext copies is made from."""

    mailbox: Access
    checkpoints: CheckpointPlace
    files: NewFiles
    """The new messages."""
    job: str
    """Unique name of the job, for the mark of each copy."""
    restore_subject: bool = False
    """Show the protected Subject outside, too."""
    selection: smime.ClearSelection = field(default_factory=smime.ClearSelection)
    """Which encrypted parts may stand in the mailbox in clear."""


@dataclass(frozen=True, slots=True)
class PlaintextTask:
    """One message whose plaintext goes into the mailbox."""

    message: JobMessage
    again: bool
    """Whether it was replaced before, so that the present copy is no original."""

    @property
    def ref(self) -> MessageRef:
        """The message."""
        return self.message.ref

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


class PlaintextContext(WritingContext):
    """The mailbox and the checkpoints, opened once in each worker."""

    def __init__(self, argument: PlaintextArgument) -> None:
        super().__init__(argument)
        self.checkpoints = argument.checkpoints.store()
        self.job = argument.job
        self.restore_subject = argument.restore_subject
        self.selection = argument.selection


def put_in_clear(context: PlaintextContext, task: PlaintextTask) -> NewMessage:
    """Makes the plaintext copy of one stored message and proves it.

    Raises:
        UnsupportedMessage: it is not to stand there in clear, as where a limit is exceeded.
        MessageError: it costs this message.
        CheckpointDamaged: likewise.
        NoSpace: the new message could not be written.
    """
    message = task.message
    stored, inventory = fetch_known(context.mailbox, message)
    # Whatever was taken: the rule is asked of how the parts stand now.
    for encrypted in inventory.parts:
        if reason := context.selection.why_left(encrypted):
            raise UnsupportedMessage(reason)
    new_file = partial(context.files.of, message.message)
    with PlaintextComposer(context.checkpoints, new_file, context.selection) as composer:
        plaintexts = {part.path: composer.compose(part) for part in message.parts}
        outer, parts, note = _encrypted(context, stored.content, inventory, plaintexts)
        mark = smime.Mark(context.job, message.message)
        finish = partial(context.files.finish, inheritance=stored.inheritance)
        content = write_and_check(new_file(), outer, parts, mark, finish=finish)
    return NewMessage(
        message=message.message,
        old=ReadCopy.of(stored),
        written=WrittenMessage(content, _identity(content, nested=context.selection.nested)),
        keeps_original=not task.again,
        note=note,
    )


PUT_IN_CLEAR = WorkKind(PlaintextContext, put_in_clear)


def _encrypted(
    context: PlaintextContext,
    content: Content,
    inventory: smime.Inventory,
    plaintexts: Mapping[str, Plaintext],
) -> tuple[Content, list[smime.DecryptedPart], str]:
    """The message to write into, its parts, and what was done to its Subject."""
    note = ""
    if "" in plaintexts:
        content, note = _outer(context, content, plaintexts[""].content)
        inventory = smime.take_inventory(content) if note else inventory
    if [part.path for part in inventory.parts] != [*plaintexts]:
        raise UnsupportedMessage("more of it is encrypted than what was opened")
    return content, [plaintexts[one.path].in_place_of(one) for one in inventory.parts], note


def _identity(content: Content, *, nested: bool) -> Identity:
    """What a plaintext copy is known by, provided that nothing in it is encrypted any more."""
    inventory = smime.take_inventory(content)
    if inventory.parts or inventory.covered or inventory.state is State.UNDER_SIGNATURE:
        remedy = "" if nested else f"; {smime.TO_OPEN_NESTED}"
        raise UnsupportedMessage(f"another encrypted layer lies inside{remedy}")
    return Identity(f"{IN_CLEAR}{inventory.as_copy}")


def _outer(context: PlaintextContext, content: Content, inner: Content) -> tuple[Content, str]:
    """The stored message with the Subject it is to show, and what was done to that."""
    if context.restore_subject:
        subject = smime.protected_subject(inner, cms.ID_DATA)
        changed = None if subject is None else smime.with_protected_subject(content, subject)
        if changed is not None:
            return changed, SUBJECT_RESTORED
    return content, ""
