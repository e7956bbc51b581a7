"""What a worker does with one message: read it, open it or seal it, write a file, tell.

Runs in any process. Nothing here renames, syncs, removes or logs; that is the
parent's. Only what ends the whole run is raised, everything else is the
answer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sectool import cms, durable, smime
from sectool.checkpoint import CheckpointStore, IncomingCheckpoint
from sectool.crashpoints import crashpoint
from sectool.errors import (
    CheckpointDamaged,
    DecryptionFailed,
    MalformedMessage,
    MessageChanged,
    MessageError,
    MessageVanished,
    MissingKey,
    NotAccepted,
    UnsupportedMessage,
)
from sectool.joblog import (
    UNREAD,
    CheckpointRecord,
    Examination,
    PartRecord,
    SealableMessage,
)
from sectool.keys import KeyHistory, KeyMaterial, NewRecipient
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from sectool.message import DigestingSink, FileContent, InnerEntity, Listing, StoredMessage
from sectool.outcome import RecipientKey, State

# --- examining -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExamineArgument:
    """What a worker that examines messages is made from."""

    mailbox: MailboxSpecification
    material: KeyMaterial | None
    """The key history; None: no keys were given."""
    tried_with: str
    """Digest of the key history."""
    checkpoints: Path | None
    """Where checkpoints go; None: what is opened is discarded."""


@dataclass(frozen=True, slots=True)
class ExamineTask:
    """One stored message to look at."""

    listing: Listing
    opening: bool = True
    """False: find out what it is, but try no key."""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of one stored message; None: it vanished meanwhile."""

    examination: Examination | None
    incoming: tuple[IncomingCheckpoint, ...] = ()
    inner_bytes: int = 0
    """Plaintext bytes of all parts that opened."""


class ExamineContext:
    """The mailbox, the keys and the place for checkpoints, opened once in each worker."""

    def __init__(self, argument: ExamineArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.keys = (
            None if argument.material is None else KeyHistory.from_material(argument.material)
        )
        self.tried_with = argument.tried_with
        self.checkpoints = (
            None if argument.checkpoints is None else CheckpointStore(argument.checkpoints)
        )


_STATES: tuple[tuple[type[MessageError], State], ...] = (
    (MissingKey, State.MISSING_KEY),
    (UnsupportedMessage, State.UNSUPPORTED),
    (NotAccepted, State.REVIEW),
    (DecryptionFailed, State.MALFORMED),
    (MalformedMessage, State.MALFORMED),
)


def _state(error: MessageError) -> State:
    return next((state for kind, state in _STATES if isinstance(error, kind)), State.FAILED)


def examine(context: ExamineContext, task: ExamineTask) -> Examined:
    """Finds out what one stored message is, and opens its encrypted parts.

    Raises:
        NoSpace: a checkpoint could not be written.
    """
    listing = task.listing
    try:
        stored = context.mailbox.fetch(listing.ref)
        return _examine(context, task, stored)
    except MessageVanished:
        return Examined(None)
    except MessageError as error:
        return Examined(unread(listing, error.message))
    except OSError as error:
        return Examined(unread(listing, f"it cannot be read: {_reason(error)}"))
    except MemoryError:
        return Examined(unread(listing, "it needs more memory than a message may take"))


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def unread(listing: Listing, reason: str) -> Examination:
    """What to say of a message whose bytes could not be read."""
    # Not known by content, since that could not be read; the place has to do.
    place = f"{listing.ref.folder}\0{listing.ref.key}\0{listing.hint}"
    identity = f"{UNREAD}{hashlib.sha256(place.encode('utf-8', 'surrogateescape')).hexdigest()}"
    return Examination(
        listing.ref, listing.hint, listing.size, identity, State.FAILED, reason=reason
    )


def _examine(context: ExamineContext, task: ExamineTask, stored: StoredMessage) -> Examined:
    listing = task.listing
    inventory = smime.take_inventory(stored.content)
    date = inventory.header_date or stored.internal_date
    recipients = tuple(
        key for part in inventory.parts for key in _recipient_keys(part.envelope.recipients)
    )
    examination = Examination(
        ref=listing.ref,
        hint=listing.hint,
        size=stored.content.size,
        identity=inventory.identity,
        state=inventory.state,
        reason=inventory.reason,
        year=str(date.year),
        internal_date=stored.internal_date.isoformat(),
        message_id=inventory.message_id,
        parts=tuple(
            PartRecord(part.path, part.envelope.digest, part.envelope.content_encryption_algorithm)
            for part in inventory.parts
        ),
        recipients=recipients,
        in_history=frozenset(_held(context.keys, inventory.parts)),
        tried_with=context.tried_with,
    )
    if not inventory.parts or context.keys is None or not task.opening:
        return Examined(examination)
    return _open_parts(context, context.keys, stored, inventory, examination)


def _open_parts(
    context: ExamineContext,
    keys: KeyHistory,
    stored: StoredMessage,
    inventory: smime.Inventory,
    examination: Examination,
) -> Examined:
    errors: list[MessageError] = []
    opened: list[tuple[smime.EncryptedPart, InnerEntity]] = []
    for part in inventory.parts:
        try:
            opened.append((part, smime.open_part(stored.content, part, keys)))
        except MessageError as error:
            errors.append(error)
    incoming: list[IncomingCheckpoint] = []
    if context.checkpoints is not None:
        for part, inner in opened:
            try:
                header = smime.outer_header(stored.content, part)
                incoming.append(context.checkpoints.write(part.envelope.digest, header, inner))
            except MessageError as error:
                errors.append(error)
    state, reason = inventory.state, inventory.reason
    if errors:
        state, reason = _state(errors[0]), errors[0].message
    elif state is State.ENCRYPTED:
        state = State.CHECKPOINTED
    examination = replace(
        examination,
        state=state,
        reason=reason,
        checkpoints=tuple(_checkpoint_record(part, inner) for part, inner in opened),
    )
    return Examined(examination, tuple(incoming), sum(inner.size for _, inner in opened))


def _checkpoint_record(part: smime.EncryptedPart, inner: InnerEntity) -> CheckpointRecord:
    return CheckpointRecord(
        content_digest=part.envelope.digest,
        inner_sha256=inner.sha256,
        inner_size=inner.size,
        content_type=inner.content_type,
        integrity=inner.integrity,
    )


def _recipient_keys(recipients: tuple[cms.RecipientDescription, ...]) -> Iterator[RecipientKey]:
    for recipient in recipients:
        yield RecipientKey(
            recipient.issuer, recipient.serial_number, recipient.subject_key_identifier
        )


def _held(
    keys: KeyHistory | None, parts: tuple[smime.EncryptedPart, ...]
) -> Iterator[RecipientKey]:
    for part in parts if keys is not None else ():
        for recipient in part.envelope.recipients:
            if recipient.identifier is not None and keys and keys.find(recipient.identifier):
                yield from _recipient_keys((recipient,))


# --- sealing ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealArgument:
    """What a worker that seals messages is made from."""

    mailbox: MailboxSpecification
    checkpoints: Path
    spool: Path
    """Directory for the new messages."""
    prefix: str
    """Their names begin so, so that a later run knows them for this job's."""
    recipients: tuple[NewRecipient, ...]
    profile: cms.Profile


@dataclass(frozen=True, slots=True)
class SealTask:
    """One message to encrypt to the new recipients."""

    message: SealableMessage

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


@dataclass(frozen=True, slots=True)
class SealedMessage:
    """A new message, written unsynced and proven against what was written."""

    message: SealableMessage
    revision: str
    """Of the stored copy it was made from."""
    content: FileContent
    identity: str
    """What the new copy will be known by."""


@dataclass(frozen=True, slots=True)
class NotSealed:
    """A message that could not be sealed, and why."""

    message: SealableMessage
    state: State
    reason: str
    failure_code: int = 0


class SealContext:
    """The mailbox, the checkpoints and the new recipients, opened once in each worker."""

    def __init__(self, argument: SealArgument) -> None:
        self.mailbox: Mailbox = open_mailbox(argument.mailbox)
        self.checkpoints = CheckpointStore(argument.checkpoints)
        self.spool = argument.spool
        self.prefix = argument.prefix
        self.recipients = tuple(cms.Recipient(new.certificate) for new in argument.recipients)
        self.profile = argument.profile


def seal(context: SealContext, task: SealTask) -> SealedMessage | NotSealed:
    """Makes the new message for one stored message and proves it (G1, ``structural``).

    Raises:
        NoSpace: the new message could not be written.
    """
    message = task.message
    try:
        return _seal(context, message)
    except (MessageChanged, MessageVanished) as error:
        return NotSealed(message, State.CHANGED, error.message)
    except MessageError as error:
        return NotSealed(message, State.FAILED, error.message)
    except CheckpointDamaged as error:
        return NotSealed(message, State.FAILED, error.message, error.exit_code)
    except OSError as error:
        return NotSealed(message, State.FAILED, f"it cannot be read: {_reason(error)}")
    except MemoryError:
        reason = "it needs more memory than a message may take"
        return NotSealed(message, State.FAILED, reason)


def _seal(context: SealContext, message: SealableMessage) -> SealedMessage:
    stored = context.mailbox.fetch(message.ref)
    inventory = smime.take_inventory(stored.content)
    if inventory.identity != message.identity:
        raise MessageChanged("the message is not the one the job knows")
    path = context.spool / f"{context.prefix}{message.message}.{os.urandom(4).hex()}"
    with durable.explained("write a new message"), durable.new_file(path) as stream:
        try:
            digest, sealed = _write(context, message, stored, inventory, stream)
        except OSError as error:
            # Not of writing, which ends the run: what cannot be read costs this message.
            raise MessageError(f"it cannot be read: {_reason(error)}") from error
        crashpoint("seal.written")
        stream.flush()
        content = FileContent(path, known_digest=digest)
        identity = _prove(context, message, sealed, content)
    return SealedMessage(message, stored.revision, content, identity)


class _SpoolSink:
    """Takes a new message; a disk that takes no more ends the run."""

    def __init__(self, sink: cms.Sink) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> object:
        with durable.explained("write a new message"):
            return self._sink.write(data)


def _write(
    context: SealContext,
    message: SealableMessage,
    stored: StoredMessage,
    inventory: smime.Inventory,
    stream: BinaryIO,
) -> tuple[str, dict[str, cms.Sealed]]:
    checkpoints = {part.path: part.checkpoint for part in message.parts}
    sealed: dict[str, cms.Sealed] = {}

    def write_cms(part: smime.EncryptedPart, sink: cms.Sink) -> None:
        known = checkpoints[part.path]
        checkpoint = context.checkpoints.open(known.content_digest)
        result = cms.seal_envelope(
            checkpoint.inner,
            sink,
            context.recipients,
            profile=context.profile,
            content_type=known.content_type,
        )
        if result.content_sha256 != known.inner_sha256:
            raise CheckpointDamaged(
                f"the checkpoint {known.content_digest[:16]}… is not what the job log knows",
                hint="restore it from a backup, or decrypt again with the old keys",
            )
        sealed[part.path] = result

    digesting = DigestingSink(stream)
    smime.write_spliced(
        stored.content,
        inventory.parts,
        _SpoolSink(digesting),
        write_cms,
        smime_type=smime.smime_type_of(context.profile.content_type),
    )
    return digesting.hexdigest(), sealed


def _prove(
    context: SealContext,
    message: SealableMessage,
    sealed: dict[str, cms.Sealed],
    content: FileContent,
) -> str:
    inventory = smime.take_inventory(content)
    if [part.path for part in inventory.parts] != [part.path for part in message.parts]:
        raise MalformedMessage("the new message does not hold the parts of the old one")
    for known, part in zip(message.parts, inventory.parts, strict=True):
        written = sealed[part.path]
        checked = cms.check_sealed(
            smime.PartSource(content, part), written.content_encryption_key, context.recipients
        )
        if checked.digest != written.digest:
            raise MalformedMessage("the new message does not hold the CMS that was written")
        if checked.content_sha256 != known.checkpoint.inner_sha256:
            raise MalformedMessage("the new message does not open to what was encrypted")
    return inventory.identity
