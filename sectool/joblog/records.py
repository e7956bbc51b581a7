"""What the engine tells the job log, and what it hears back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from sectool.errors import JobLogDamaged
from sectool.message import Flags, Intent, Listing, MessageRef
from sectool.outcome import (
    ContentDigest,
    HeaderDigest,
    Identity,
    Integrity,
    MessageDigest,
    PlaintextDigest,
    RecipientKey,
    State,
)
from sectool.values import dataclass

IN_CLEAR = "in-clear:"
"""Begins the identity of a plaintext copy that sectool put into the mailbox: three digests follow,
of what it describes and holds, of which mail it is, and of all of it."""
UNREAD = "unread:"
"""Begins the identity of a copy that could not be read; nothing is found again by it."""
PASSED_OVER = "passed-over:"
"""Begins the identity of what a walk passed over, as messages are given up."""
UNREACHED = "#"
"""Begins the path of a layer record of an envelope that cannot be put back where it lies."""
NOTICED = "noticed: "
"""Begins the name of a step that says what is odd about the encoding of a message."""

ON_TRIAL = "on trial"
"""In the place of the digest of a key history: its trial has not come to an end yet."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_of(moment: datetime) -> int:
    """A moment as the log has it: microseconds since 1970, in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(number: int) -> datetime:
    """The moment that ``number_of`` made a number of; in UTC."""
    return _EPOCH + timedelta(microseconds=number)


def now() -> int:
    """The present moment, to the second, as the log has it."""
    return number_of(datetime.now(UTC).replace(microsecond=0))


class StoredCopy(StrEnum):
    """Which copy of a message lies in the mailbox now."""

    UNREAD = "unread"
    """One that could not be read, so that nobody knows what it is."""
    FOUND = "found"
    """The one that the job first found, or that is there again."""
    PLAINTEXT = "plaintext"
    """Its plaintext, which sectool put in the place of that."""
    ENCRYPTED = "encrypted"
    """The new message, which sectool put there."""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One encrypted part of a message."""

    path: str
    """Part path; empty for the root entity."""
    content_digest: ContentDigest
    """SHA-256 of the decoded CMS, lower-case hexadecimal."""
    content_encryption_algorithm: str
    integrity: Integrity | None = None
    """What is known of its plaintext in this message; None: it was not opened."""
    signer: str = ""
    """SHA-256 of the certificate of whose signature that speaks, lower-case
    hexadecimal; empty where none verifies."""
    voids_signature: bool = False
    """Whether a signature around it would be void once it changed."""
    placement: str = ""
    """How it stands in the message, as ``smime.Placement`` has it; empty: not known."""
    recipients: tuple[RecipientKey, ...] = ()
    """Of this part alone; the log keeps those of a message together."""


class Storage(StrEnum):
    """Where the plaintext of an encrypted part lies."""

    PLAIN = "plain"
    """In the job directory."""
    SEALED = "sealed"
    """In the job directory, encrypted."""
    NONE = "none"
    """Nowhere: it is known by its digest only."""


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """What is known of the plaintext of an encrypted part.

    It lies durably in the job directory, unless ``storage`` says otherwise.
    """

    content_digest: ContentDigest
    inner_sha256: PlaintextDigest
    inner_size: int
    content_type: str
    """Dotted object identifier of what was encrypted."""
    integrity: Integrity
    """What the decryption alone proves, whoever signed."""
    storage: Storage = Storage.PLAIN
    header_sha256: HeaderDigest | None = None
    """Of the header that lies with it, lower-case hexadecimal; None where nothing lies there."""


NOT_KNOWN = ContentDigest("")
"""Of a layer that cannot be read."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """An encrypted layer that is none of the parts of a message, or a part that is left."""

    part: str
    """Path of the part it lies in."""
    path: str
    """Where in the plaintext of that part; empty for the part itself."""
    content_digest: ContentDigest
    """SHA-256 of the decoded CMS, lower-case hexadecimal; empty where it is not known."""
    recipients: tuple[RecipientKey, ...]
    reason: str
    """Why it keeps its recipients; empty where it gets the new ones."""
    hides_recipients: bool = False
    """Whether an old key may be needed that these recipients do not name."""

    def needs_old_key(self, held: Collection[RecipientKey]) -> bool:
        """Whether an old key must be kept for it.

        Args:
            held: recipients whose keys the history holds. What names strangers alone
                was never its owner's to read.
        """
        return bool(self.reason) and (
            self.hides_recipients or any(key in held for key in self.recipients)
        )


@dataclass(frozen=True, slots=True)
class Examination:
    """What an examination found of one stored message."""

    listing: Listing
    """Where it lies, with the bytes that were read and the date that came with them."""
    identity: Identity
    state: State
    reason: str = ""
    year: str = ""
    """Of the header date, else of the internal date."""
    message_id: str = ""
    is_read: bool = True
    """Whether its bytes could be read."""
    parts: tuple[PartRecord, ...] = ()
    recipients: tuple[RecipientKey, ...] = ()
    in_history: frozenset[RecipientKey] = frozenset()
    """Those of ``recipients``, and of the layers', that the key history holds."""
    checkpoints: tuple[CheckpointRecord, ...] = ()
    tried_with: str = ""
    """Digest of the key history it was tried with; empty: to be tried again."""
    released: tuple[str, ...] = ()
    """Content digests of parts that a person said were to be taken as they are."""
    in_clear: Identity = Identity("")
    """Identity it has if it is a plaintext copy; empty where it cannot be one."""
    marked: int = 0
    """Number of the row that it says it is the plaintext copy of; 0: it says nothing."""
    header_words: tuple[str, ...] = ()
    """Digests of the fields of its header, where it is marked."""
    layers: tuple[LayerRecord, ...] = ()
    """Further encrypted layers."""
    readers: frozenset[tuple[str, str]] = frozenset()
    """Content digest of a part or layer, with a digest of an address of a person whose key opens
    it; of a shared mailbox only."""
    defects: tuple[str, ...] = ()
    """What is odd about the encoding of its encrypted parts, each once; they were read all the
    same."""

    @property
    def ref(self) -> MessageRef:
        """Where it lies."""
        return self.listing.ref


RECIPIENT_COLUMNS = "issuer, serial_number, subject_key_identifier"
"""What names a recipient, in the order that ``RecipientKey`` takes."""

LISTING_COLUMNS = "folder, key, size, hint, internal_date"
"""Where a message lies, of the table of messages, in the order that ``listing_of`` takes."""

MESSAGE_COLUMNS = (
    f"message, {LISTING_COLUMNS}, identity, original_identity, stored_copy, further, state,"
    " message_id, tried_with"
)
"""Of the table of messages, in the order that ``MessageRecord.of_row`` takes."""


def listing_of(folder: str, key: str, size: int, hint: str, date: int | None) -> Listing:
    """Where a message lies, from what the log has of it."""
    moment = None if date is None else moment_of(date)
    return Listing(MessageRef(folder, key), size, Flags(), hint, moment)


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message of the job as the log knows it."""

    message: int
    """Number of the row."""
    listing: Listing
    """Where it was seen last; the log knows no flags."""
    identity: Identity
    """Of the copy that lies there."""
    original_identity: Identity
    """Of the copy the job first found."""
    stored_copy: StoredCopy
    is_further: bool
    """Whether the copy the job first found was a further one of a plaintext that it had put
    into the mailbox."""
    state: State
    message_id: str
    tried_with: str

    @classmethod
    def of_row(cls, row: Sequence[Any], *more: Any) -> Self:
        """A row of ``MESSAGE_COLUMNS`` as what it says, and what else the class has."""
        message, folder, key, size, hint, date, *rest = row
        identity, original_identity, stored_copy, further, state, *names = rest
        return cls(
            message,
            listing_of(folder, key, size, hint, date),
            identity,
            original_identity,
            StoredCopy(stored_copy),
            bool(further),
            State(state),
            *names,
            *more,
        )

    @property
    def ref(self) -> MessageRef:
        """Where it was seen last."""
        return self.listing.ref

    @property
    def is_replaced(self) -> bool:
        """Whether its copy is one that sectool put into the mailbox."""
        return self.stored_copy in {StoredCopy.PLAINTEXT, StoredCopy.ENCRYPTED}

    @property
    def is_own_copy(self) -> bool:
        """Whether its copy is one that sectool wrote, or a further one of such a copy."""
        return self.is_replaced or self.is_further

    @property
    def in_clear(self) -> bool:
        """Whether its copy is a plaintext that sectool wrote, or a further one of it."""
        return self.stored_copy is StoredCopy.PLAINTEXT or (
            self.is_further and self.stored_copy is StoredCopy.FOUND
        )


@dataclass(frozen=True, slots=True)
class NewCopy:
    """What lies in the mailbox for a message after its replacement."""

    message: int
    listing: Listing
    stored_copy: StoredCopy
    identity: Identity

    @property
    def columns(self) -> tuple[str, str, str, int, str, str]:
        """Folder, key, hint, size, kind and identity, as the row of its message has them."""
        ref, listing = self.listing.ref, self.listing
        return ref.folder, ref.key, listing.hint, listing.size, self.stored_copy, self.identity


@dataclass(frozen=True, slots=True)
class SealablePart:
    """One encrypted part and the checkpoint it is sealed from."""

    path: str
    checkpoint: CheckpointRecord
    layers: Mapping[str, CheckpointRecord] = field(default_factory=dict)
    """Checkpoints of the layers inside that are encrypted again, too, by their paths."""
    placement: str = ""
    """How it stood in the message, as ``smime.Placement`` has it; empty: not known."""
    readers: frozenset[str] = frozenset()
    """Digests of the addresses of those whose keys open it; of a shared mailbox only."""
    resealed_sha256: PlaintextDigest = PlaintextDigest("")
    """SHA-256 of the plaintext since layers in it were encrypted again, lower-case
    hexadecimal; empty where none were."""

    @property
    def inner_sha256(self) -> PlaintextDigest:
        """SHA-256 of what the part opens to where it was replaced, lower-case hexadecimal."""
        return self.resealed_sha256 or self.checkpoint.inner_sha256


@dataclass(frozen=True, slots=True)
class JobMessage(MessageRecord):
    """A message that is worked on, with all that the log has for that."""

    parts: tuple[SealablePart, ...] = ()
    original: MessageDigest = MessageDigest("")
    """SHA-256 of the original; empty where none was kept."""
    found_as: Identity = Identity("")
    """Identity of the message that its parts were found in, where the copy the job first found
    was in clear already; else empty."""

    @property
    def internal_date(self) -> datetime:
        """Of the copy.

        Raises:
            JobLogDamaged: it has none, as only a copy that was never read.
        """
        if self.listing.internal_date is None:
            raise JobLogDamaged(f"message {self.message} of the job log has no date")
        return self.listing.internal_date

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size

    @property
    def encrypted_identity(self) -> Identity:
        """Of the message as its parts were found in it."""
        return self.found_as or self.original_identity


class Purpose(StrEnum):
    """What a message is being replaced for."""

    ENCRYPT = "encrypt"
    REWRAP = "rewrap"
    """The new copy holds the content as it was encrypted, for other recipients."""
    ROLLBACK = "rollback"
    """The new copy is the original."""
    DECRYPT = "decrypt"
    """The new copy is the plaintext."""
    BRING_BACK = "bring-back"
    """The message was lost; the new copy comes in the place of none."""

    @property
    def stored_copy(self) -> StoredCopy:
        """What lies in the mailbox afterwards."""
        if self is Purpose.ROLLBACK:
            return StoredCopy.FOUND
        return StoredCopy.PLAINTEXT if self is Purpose.DECRYPT else StoredCopy.ENCRYPTED


@dataclass(frozen=True, slots=True)
class ReplacementRecord:
    """One message that has, or may have, two copies in the mailbox."""

    message: int
    purpose: Purpose
    intent: Intent
    identity: Identity
    """What the new copy is known by."""
    opens_to: tuple[tuple[str, str], ...] = ()
    """Path of each part with the SHA-256 it opens to, where that is not what it was."""
    store: str = ""
    """Kind of the store that intended it: no other knows what its ``where`` means."""
    original: MessageDigest = MessageDigest("")
    """SHA-256 of the original that was kept of the message; empty: none is."""
    replaced: str = field(default="", compare=False)
    """What the old copy is known by; empty where the row was not read for that."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Files of the job directory that are to go together."""

    messages: tuple[int, ...] = ()
    """Rows they belong to."""
    checkpoints: tuple[ContentDigest, ...] = ()
    """Content digests."""
    originals: tuple[MessageDigest, ...] = ()
    """SHA-256 of the originals."""

    def __bool__(self) -> bool:
        return bool(self.messages or self.checkpoints or self.originals)
