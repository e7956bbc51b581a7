"""What a worker does to make one new message: read, seal, prove, tell.

Runs in any process. Nothing here renames, syncs, removes or logs; that is the
parent's. Only what ends the whole run is raised, everything else is the
answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sectool import cms, durable, smime
from sectool.crashpoints import crashpoint
from sectool.errors import CheckpointDamaged, MalformedMessage, MessageError, UnsupportedMessage
from sectool.joblog import CheckpointRecord, JobMessage, SealablePart, Storage
from sectool.jobs.work.addresses import address_digests
from sectool.jobs.work.new_message import (
    NewFiles,
    NewMessage,
    ReadCopy,
    WritingContext,
    WrittenMessage,
)
from sectool.jobs.work.seal_nested import SealedPlaintext, check_inside
from sectool.jobs.work.sealers import ClearSealer, PartSealer, SealingMethod, WrittenCMS
from sectool.jobs.work.stored_copy import fetch_known
from sectool.jobs.work.work import NotDone, WorkKind
from sectool.keys import NewRecipient
from sectool.mailbox import Access
from sectool.message import (
    Content,
    DigestingSink,
    FileContent,
    Inheritable,
    Sink,
    StoredMessage,
)
from sectool.outcome import ContentDigest, Identity, Integrity, PlaintextDigest, State
from sectool.values import dataclass

SUBJECT_RESTORED = "subject restored"
SUBJECT_OBSCURED = "subject obscured"
"""Steps of a message whose outer Subject is another than it was."""


@dataclass(frozen=True, slots=True)
class SealArgument:
    """What a worker that seals messages is made from."""

    mailbox: Access
    method: SealingMethod
    files: NewFiles
    """The new messages."""
    recipients: tuple[NewRecipient, ...]
    profile: cms.Profile
    restore_subject: bool = False
    """Show the protected Subject outside, too."""
    shared_job: str = ""
    """Unique name of the job where several people read the mailbox, so that a part goes only to
    those who could read it; else empty."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The message that new CMS is put into; all other bytes are taken from it."""

    content: Content
    places: Sequence[smime.Place]
    """Where the CMS goes, in order, with the paths of the parts."""
    without: frozenset[bytes] = frozenset()
    """Names, lower case, of fields that go."""


class SealContext(WritingContext):
    """The mailbox, the new recipients and what seals, made once in each worker."""

    def __init__(self, argument: SealArgument) -> None:
        super().__init__(argument)
        self.recipients = tuple(cms.Recipient(new.certificate) for new in argument.recipients)
        self.profile = argument.profile
        self.restore_subject = argument.restore_subject
        self._method = argument.method
        self._sealers: dict[tuple[cms.Recipient, ...], PartSealer] = {}
        self.sealer = self._sealer_to(self.recipients)
        self._addresses = tuple(
            address_digests(argument.shared_job, new.addresses) if argument.shared_job else None
            for new in argument.recipients
        )

    @property
    def everybody(self) -> frozenset[str]:
        """Whose a part is that anybody could read."""
        return frozenset(one for addresses in self._addresses for one in addresses or ())

    def recipients_of(self, part: SealablePart) -> tuple[cms.Recipient, ...]:
        """Those of the new recipients who get a part.

        Raises:
            MessageError: nobody of them could read it before.
        """
        chosen = tuple(
            recipient
            for recipient, addresses in zip(self.recipients, self._addresses, strict=True)
            if addresses is None or not addresses.isdisjoint(part.readers)
        )
        if not chosen:
            raise MessageError("no new certificate is of a person whose key opens it")
        return chosen

    def sealer_of(self, part: SealablePart) -> PartSealer:
        """What writes the new CMS of a part.

        Raises:
            MessageError: as ``recipients_of``.
        """
        return self._sealer_to(self.recipients_of(part))

    def _sealer_to(self, recipients: tuple[cms.Recipient, ...]) -> PartSealer:
        if recipients not in self._sealers:
            self._sealers[recipients] = self._method.sealer(recipients, self.profile)
        return self._sealers[recipients]


def seal(context: SealContext, message: JobMessage) -> NewMessage | NotDone:
    """Makes the new message for one stored message and proves it (G1, ``structural``).

    Raises:
        MessageError: it costs this message.
        CheckpointDamaged: likewise.
        NoSpace: the new message could not be written.
    """
    stored, inventory = fetch_known(context.mailbox, message)
    if not message.parts:
        return _seal_clear(context, message, stored, inventory)
    content, note = _with_subject(context, message, stored.content)
    if note:
        inventory = smime.take_inventory(content)
    frame = Frame(content, _held(message, inventory))
    if message.in_clear:
        # Of a plaintext copy only what is around it is taken, never the plaintext.
        places = smime.places_of(content, [part.path for part in message.parts])
        frame = Frame(content, places, frozenset({smime.MARK_FIELD}))
    written = write_sealed(context, message, frame, inheritance=stored.inheritance)
    return _new_message(message, stored, written, note=note)


SEAL = WorkKind(SealContext, seal)


def known_parts(
    known: Sequence[SealablePart], inventory: smime.Inventory
) -> list[smime.EncryptedPart]:
    """Those of the encrypted parts that are taken; the others stay as they are."""
    paths = {part.path for part in known}
    return [part for part in inventory.parts if part.path in paths]


def _held(message: JobMessage, inventory: smime.Inventory) -> list[smime.EncryptedPart]:
    """The parts that are taken, each of which the job must have opened as it lies there.

    Raises:
        CheckpointDamaged: the job's plaintext is that of another envelope.
    """
    found = known_parts(message.parts, inventory)
    digests = {part.path: part.checkpoint.content_digest for part in message.parts}
    if not message.is_own_copy and any(
        part.envelope.digest != digests[part.path] for part in found
    ):
        raise CheckpointDamaged("the checkpoint in the job log is that of another envelope")
    return found


def _new_message(
    message: JobMessage,
    stored: StoredMessage,
    written: WrittenMessage,
    *,
    note: str = "",
    taken: SealablePart | None = None,
) -> NewMessage:
    return NewMessage(
        message=message.message,
        old=ReadCopy.of(stored),
        written=written,
        note=note,
        keeps_original=not message.is_replaced,
        taken=taken,
    )


def _seal_clear(
    context: SealContext,
    message: JobMessage,
    stored: StoredMessage,
    inventory: smime.Inventory,
) -> NewMessage | NotDone:
    """Seals a message that was not encrypted; what is no mail in clear stays as it is."""
    if inventory.state not in {State.CLEAR, State.SIGNED}:
        return NotDone(inventory.reason, inventory.state)
    try:
        written, part = write_clear(
            context, message, stored.content, inventory, inheritance=stored.inheritance
        )
    except UnsupportedMessage as error:
        return NotDone(error.message, State.UNSUPPORTED)
    return _new_message(message, stored, written, taken=part)


def write_clear(
    context: SealContext,
    message: JobMessage,
    content: Content,
    inventory: smime.Inventory,
    *,
    inheritance: Inheritable | None = None,
) -> tuple[WrittenMessage, SealablePart]:
    """As ``write_sealed``, of a message in clear as a whole.

    Args:
        context: where to, and for whom.
        message: its parts do not count.
        content: the message.
        inventory: of it.
        inheritance: what the new message has of it.

    Returns:
        The new message, and what it opens to.

    Raises:
        UnsupportedMessage: its bytes would not come back as they are.
        MessageError: it costs this message.
        NoSpace: the new message could not be written.
    """
    entity = smime.ClearEntity(content)
    known = CheckpointRecord(
        ContentDigest(entity.digest),
        PlaintextDigest(entity.digest),
        *(entity.size, cms.ID_DATA, Integrity.NONE),
        storage=Storage.NONE,
    )
    part = SealablePart("", known, readers=context.everybody)
    # A further copy of a plaintext that a job put into the mailbox is marked as one.
    without = frozenset({smime.MARK_FIELD}) if inventory.mark else frozenset[bytes]()
    frame = Frame(content, [entity.place], without)
    sealer = ClearSealer(entity, context.recipients, context.profile)
    known_message = replace(message, parts=(part,))
    return write_sealed(context, known_message, frame, sealer, inheritance=inheritance), part


def _with_subject(
    context: SealContext, message: JobMessage, content: Content
) -> tuple[Content, str]:
    """The stored message with the Subject it is to show, and what was done to that."""
    is_whole = [part.path for part in message.parts] == [""]
    if not is_whole or not (context.restore_subject or message.in_clear):
        return content, ""
    subject = context.sealer.subject(message.parts[0])
    if subject is None:
        return content, ""
    if context.restore_subject:
        changed = smime.with_protected_subject(content, subject.protected)
        return (content, "") if changed is None else (changed, SUBJECT_RESTORED)
    # It was shown with the plaintext only.
    changed = smime.with_obscured_subject(content, subject.protected, subject.outer_header)
    return (content, "") if changed is None else (changed, SUBJECT_OBSCURED)


def write_sealed(
    context: SealContext,
    message: JobMessage,
    frame: Frame,
    sealer: PartSealer | None = None,
    *,
    inheritance: Inheritable | None = None,
) -> WrittenMessage:
    """Writes one new message, unsynced, and proves it.

    Args:
        context: where to, and for whom.
        message: whose parts are sealed.
        frame: what they are put into.
        sealer: writes the CMS; None: those of the context.
        inheritance: what it has of the message that it replaces.

    Raises:
        MessageError: it costs this message.
        CheckpointDamaged: a checkpoint does.
        NoSpace: the new message could not be written.
    """
    path = context.files.of(message.message)
    with durable.new_output(path, "write a new message") as stream:
        output = DigestingSink(stream, holds=True)
        sealed = _write(context, message, frame, output, sealer)
        crashpoint("seal.written")
        stream.flush()
        content = FileContent(path, known_digest=output.hexdigest())
        # What was written is read back when the new message is placed, by its digest.
        identity = _prove(context, message, sealed, output.held or content)
        content = context.files.finish(content, stream, inheritance)
    opens_to = tuple(
        (path, written.content_sha256)
        for path, written in sealed.items()
        if isinstance(written, SealedPlaintext) and written.inside
    )
    is_rewrapped = any(isinstance(written, cms.Rewrapped) for written in sealed.values())
    return WrittenMessage(content, identity, opens_to, is_rewrapped)


def _write(
    context: SealContext,
    message: JobMessage,
    frame: Frame,
    output: Sink,
    sealer: PartSealer | None,
) -> dict[str, WrittenCMS]:
    parts = {part.path: part for part in message.parts}
    sealed: dict[str, WrittenCMS] = {}

    def write_cms(part: smime.Place, sink: cms.Sink) -> None:
        known = parts[part.path]
        sealed_by = sealer or context.sealer_of(known)
        sealed[part.path] = sealed_by.seal(part, known, sink)

    smime.write_spliced(
        frame.content,
        frame.places,
        output,
        write_cms,
        smime_type=smime.smime_type_of(context.profile.content_type),
        without=frame.without,
    )
    return sealed


def _prove(
    context: SealContext,
    message: JobMessage,
    sealed: dict[str, WrittenCMS],
    content: Content,
) -> Identity:
    inventory = smime.take_inventory(content)
    known = {part.path: part for part in message.parts}
    found = known_parts(message.parts, inventory)
    if len(found) != len(known):
        raise MalformedMessage("the new message does not hold the parts of the old one")
    words = [_former_word(part, known.get(part.path)) for part in inventory.parts]
    if not smime.differs_by_envelopes_only(
        content, inventory.parts, words, message.encrypted_identity
    ):
        raise MalformedMessage("the new message differs from the old one by more than envelopes")
    for part in found:
        wanted, written = known[part.path].checkpoint.inner_sha256, sealed[part.path]
        source = part.source
        recipients = context.recipients_of(known[part.path])
        key, known_envelope = written.content_encryption_key, part.envelope.envelope
        checked = cms.check_sealed(source, key, recipients, known=known_envelope)
        if checked.digest != written.digest:
            raise MalformedMessage("the new message does not hold the CMS that was written")
        if isinstance(written, SealedPlaintext) and written.inside:
            check_inside(source, written, recipients)
            wanted = PlaintextDigest(written.content_sha256)
        if checked.content_sha256 != wanted:
            raise MalformedMessage("the new message does not open to what was encrypted")
    return inventory.identity


def _former_word(part: smime.EncryptedPart, known: SealablePart | None) -> tuple[str, str]:
    """What a part counted as in the identity of the message that is replaced."""
    if known is None:
        return part.word, part.envelope.digest
    return smime.part_word(part.path, known.placement), known.checkpoint.content_digest
