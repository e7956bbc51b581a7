"""What a worker does to examine one stored message: read it, open it, write checkpoints, tell.

Runs in any process. Nothing here renames, syncs, removes or logs; that is the
parent's. Only what ends the whole run is raised, everything else is the
answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sectool import cms, smime
from sectool.checkpoint import IncomingCheckpoint
from sectool.errors import (
    DecryptionFailed,
    MalformedMessage,
    MessageChanged,
    MessageError,
    MessageVanished,
    MissingKey,
    NotAccepted,
    UnsupportedMessage,
    reason_of,
)
from sectool.joblog import (
    IN_CLEAR,
    UNREAD,
    CheckpointRecord,
    Examination,
    PartRecord,
    ReplacedMessage,
    SealableMessage,
    Storage,
    without_address,
)
from sectool.jobs.worker.checkpoints import CheckpointPlace
from sectool.jobs.worker.keyring import find_opening
from sectool.jobs.worker.layers import LayerSearch, held, recipient_key
from sectool.keys import KeyHistory, KeyMaterial
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from sectool.message import InnerEntity, Listing, StoredMessage
from sectool.outcome import RecipientKey, State


@dataclass(frozen=True, slots=True)
class Exchange:
    """How recipients are exchanged, so that no plaintext is kept."""

    profile: cms.Profile
    or_reencrypt: bool
    """Encrypt anew what must not stay encrypted as it is."""
    new: frozenset[RecipientKey]
    """The new recipients, in every way in which an envelope may name them."""

    def is_done(self, parts: Sequence[smime.EncryptedPart]) -> bool:
        """Whether every part names a new recipient."""
        return all(
            any(without_address(recipient_key(one)) in self.new for one in part.envelope.recipients)
            for part in parts
        )

    def why_refused(self, opening: cms.Opening) -> str:
        """Why the content must not stay as it is encrypted; empty where it may."""
        return "" if self.or_reencrypt else cms.why_not_rewrapped(opening, self.profile)


@dataclass(frozen=True, slots=True)
class ExamineArgument:
    """What a worker that examines messages is made from."""

    mailbox: MailboxSpecification
    material: KeyMaterial | None
    """The key history; None: no keys were given."""
    tried_with: str
    """Digest of the key history."""
    checkpoints: CheckpointPlace | None
    """Where checkpoints go; None: what is opened is discarded."""
    released: frozenset[str] = frozenset()
    """Content digests that a person takes although nothing proves them mail."""
    job: str = ""
    """Unique name of the job, by which it knows the marks of its plaintext copies."""
    part_selection: smime.PartSelection = field(default_factory=smime.PartSelection)
    """Which encrypted parts are taken beside the whole bodies of messages."""
    storage: Storage = Storage.PLAIN
    """What the log is to say of the plaintext of what opens."""
    exchange: Exchange | None = None
    """What opens is to have its recipients exchanged; None: it is to be checkpointed."""


def known_as(inventory: smime.Inventory) -> tuple[str, str]:
    """What a message is known by as it lies there, and as a plaintext copy of a job."""
    plaintext = inventory.plaintext_identity
    return inventory.identity, f"{IN_CLEAR}{plaintext}" if plaintext else ""


def fetch_known(
    mailbox: Mailbox, message: SealableMessage | ReplacedMessage
) -> tuple[StoredMessage, smime.Inventory]:
    """The stored copy of a message of the job, and what is in it.

    Raises:
        MessageChanged: it is another one.
        MessageError: it cannot be read.
    """
    stored = mailbox.fetch(message.ref)
    inventory = smime.take_inventory(stored.content)
    if message.identity not in known_as(inventory):
        raise MessageChanged("the message is not the one the job knows")
    return stored, inventory


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
        self.job = argument.job
        self.part_selection = argument.part_selection
        self.checkpoints = None if argument.checkpoints is None else argument.checkpoints.store()
        self.released = argument.released
        self.storage = argument.storage
        self.exchange = argument.exchange


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
        return Examined(unread(listing, f"it cannot be read: {reason_of(error)}"))
    except MemoryError:
        return Examined(unread(listing, "it needs more memory than a message may take"))


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
    inventory = smime.take_inventory(stored.content, selection=context.part_selection)
    date = inventory.header_date or stored.internal_date
    recipients = tuple(one for part in inventory.parts for one in part.envelope.recipients)
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
            PartRecord(
                part.path,
                part.envelope.digest,
                part.envelope.content_encryption_algorithm,
                voids_signature=part.placement.is_under_signature,
                placement=part.placement,
            )
            for part in inventory.parts
        ),
        recipients=tuple(map(recipient_key, recipients)),
        in_history=held(context.keys, recipients),
        tried_with=context.tried_with,
        in_clear=known_as(inventory)[1],
        marked=inventory.mark.message
        if inventory.mark and inventory.mark.job == context.job
        else 0,
        defects=inventory.defects,
    )
    is_encrypted = inventory.parts or inventory.covered
    if not is_encrypted or context.keys is None or not task.opening:
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
    refusals: list[str] = []
    opened: list[tuple[smime.EncryptedPart, InnerEntity]] = []
    marks: dict[str, smime.IntegrityMark] = {}
    search = LayerSearch(
        keys, context.released, context.part_selection, reseals=context.exchange is None
    )
    for part in inventory.parts:
        try:
            found = find_opening(stored.content, part, keys, context.released)
            inner = found.inner
            if context.exchange is not None:
                refusals.append(context.exchange.why_refused(found.opening))
            plaintext = smime.content_of(inner)
            marks[part.path] = smime.integrity_of(stored.content, part, inner, plaintext)
            opened.append((part, inner))
        except MessageError as error:
            errors.append(error)
        else:
            # A message of which one part is left is left as a whole.
            if inventory.reason:
                search.keep(part, context.part_selection.why_left(part) or inventory.reason)
            search.look(plaintext, inner.content_type, part.path, inventory.reason)
    for covered in inventory.covered:
        search.take(covered)
    incoming, checkpoints = _keep_checkpoints(context, stored, opened, search, errors)
    state, reason = inventory.state, inventory.reason
    if errors:
        state, reason = _state(errors[0]), errors[0].message
        if (
            state is State.MISSING_KEY
            and context.exchange
            and context.exchange.is_done(inventory.parts)
        ):
            state, reason = State.NEW, ""
    elif state is State.ENCRYPTED:
        state, reason = _opened_state(context, refusals)
    examination = replace(
        examination,
        state=state,
        reason=reason,
        parts=tuple(_marked(part, marks.get(part.path)) for part in examination.parts),
        checkpoints=tuple(checkpoints),
        released=tuple(
            part.envelope.digest for part, _ in opened if part.envelope.digest in context.released
        ),
        layers=tuple(search.records),
        in_history=examination.in_history | search.in_history,
    )
    return Examined(examination, incoming, sum(one.inner_size for one in checkpoints))


def _keep_checkpoints(
    context: ExamineContext,
    stored: StoredMessage,
    opened: list[tuple[smime.EncryptedPart, InnerEntity]],
    search: LayerSearch,
    errors: list[MessageError],
) -> tuple[tuple[IncomingCheckpoint, ...], list[CheckpointRecord]]:
    """Writes what was opened; the records are of what could be written."""
    wanted: list[tuple[str, smime.EncryptedPart | None, InnerEntity]] = [
        (part.envelope.digest, part, inner) for part, inner in opened
    ]
    wanted += [(one.content_digest, None, one.inner) for one in search.opened]
    headers = {one.content_digest: one.outer_header for one in search.opened}
    incoming: list[IncomingCheckpoint] = []
    records: list[CheckpointRecord] = []
    for digest, part, inner in wanted:
        try:
            if context.checkpoints is not None:
                header = smime.outer_header(stored.content, part) if part else headers[digest]
                incoming.append(context.checkpoints.write(digest, header, inner))
        except MessageError as error:
            errors.append(error)
            continue
        records.append(_checkpoint_record(digest, inner, context.storage))
    return tuple(incoming), records


def _marked(part: PartRecord, mark: smime.IntegrityMark | None) -> PartRecord:
    return part if mark is None else replace(part, integrity=mark.integrity, signer=mark.signer)


def _opened_state(context: ExamineContext, refusals: list[str]) -> tuple[State, str]:
    if context.exchange is None:
        return State.CHECKPOINTED, ""
    reason = next(filter(None, refusals), "")
    return (State.REFUSED, reason) if reason else (State.READABLE, "")


def _checkpoint_record(
    content_digest: str, inner: InnerEntity, storage: Storage
) -> CheckpointRecord:
    return CheckpointRecord(
        content_digest=content_digest,
        inner_sha256=inner.sha256,
        inner_size=inner.size,
        content_type=inner.content_type,
        integrity=inner.integrity,
        storage=storage,
    )
