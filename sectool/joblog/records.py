"""What the engine tells the job log, and what it hears back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sectool.errors import JobLogDamaged
from sectool.message import MessageRef
from sectool.outcome import Integrity, Proof, RecipientKey, State

IN_CLEAR = "in-clear:"
"""Begins the identity of a plaintext copy that sectool put into the mailbox: three digests follow,
of what it describes and holds, of which mail it is, and of all of it. Logs of version 1 and 2
have the first one alone."""
UNREAD = "unread:"
"""Begins the identity of a copy that could not be read; nothing is found again by it."""
PASSED_OVER = "place:"
"""Begins the identity of a place of the mailbox that was passed over, as messages are given up."""
UNREACHED = "#"
"""Begins the path of a layer record of an envelope that cannot be put back where it lies."""
NOTICED = "noticed: "
"""Begins the name of a step that says what is odd about the encoding of a message."""

ON_TRIAL = "on trial"
"""In the place of the digest of a key history: its trial has not come to an end yet."""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One encrypted part of a message."""

    path: str
    """Part path; empty for the root entity."""
    content_digest: str
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

    content_digest: str
    inner_sha256: str
    inner_size: int
    content_type: str
    """Dotted object identifier of what was encrypted."""
    integrity: Integrity
    """What the decryption alone proves, whoever signed."""
    storage: Storage = Storage.PLAIN
    header_sha256: str | None = None
    """Of the header that lies with it, lower-case hexadecimal; None where nothing lies there, or
    an older version wrote it and did not say."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """An encrypted layer that is none of the parts of a message, or a part that is left."""

    part: str
    """Path of the part it lies in."""
    path: str
    """Where in the plaintext of that part; empty for the part itself."""
    content_digest: str
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

    ref: MessageRef
    hint: str
    size: int
    identity: str
    state: State
    reason: str = ""
    year: str = ""
    """Of the header date, else of the internal date."""
    internal_date: str = ""
    """ISO 8601 with offset."""
    message_id: str = ""
    parts: tuple[PartRecord, ...] = ()
    recipients: tuple[RecipientKey, ...] = ()
    in_history: frozenset[RecipientKey] = frozenset()
    """Those of ``recipients``, and of the layers', that the key history holds."""
    checkpoints: tuple[CheckpointRecord, ...] = ()
    tried_with: str = ""
    """Digest of the key history it was tried with; empty: to be tried again."""
    released: tuple[str, ...] = ()
    """Content digests of parts that a person said were to be taken as they are."""
    in_clear: str = ""
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


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message of the job as the log knows it."""

    message: int
    """Number of the row."""
    identity: str
    state: State
    reason: str
    ref: MessageRef
    """Where it was seen last."""
    hint: str
    size: int
    tried_with: str
    replaced: bool
    """Whether its copy is another than the one the job first found."""

    @property
    def is_own_copy(self) -> bool:
        """Whether its copy is one that sectool wrote, or a further one of such a copy."""
        return self.replaced or self.identity.startswith(IN_CLEAR)


MESSAGE_COLUMNS = (
    "message, identity, state, reason, folder, key, hint, size, tried_with,"
    " identity <> original_identity"
)
"""Of the table of messages, in the order that ``message_record`` takes."""


def message_record(row: tuple[object, ...]) -> MessageRecord:
    """A row of ``MESSAGE_COLUMNS`` as what it says."""
    message, identity, state, reason, folder, key, hint, size, tried_with, replaced = row
    return MessageRecord(
        message=int(str(message)),
        identity=str(identity),
        state=State(str(state)),
        reason=str(reason),
        ref=MessageRef(str(folder), str(key)),
        hint=str(hint),
        size=int(str(size)),
        tried_with=str(tried_with),
        replaced=bool(replaced),
    )


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
    resealed_sha256: str = ""
    """SHA-256 of the plaintext since layers in it were encrypted again, lower-case
    hexadecimal; empty where none were."""

    @property
    def inner_sha256(self) -> str:
        """SHA-256 of what the part opens to where it was replaced, lower-case hexadecimal."""
        return self.resealed_sha256 or self.checkpoint.inner_sha256


@dataclass(frozen=True, slots=True)
class SealableMessage:
    """A message that waits to be encrypted to the new recipients."""

    message: int
    identity: str
    """Of the present copy."""
    original_identity: str
    """Of the copy the job first found."""
    ref: MessageRef
    size: int
    internal_date: str
    """ISO 8601 with offset."""
    parts: tuple[SealablePart, ...]
    found_as: str = ""
    """Identity of the message that its parts were found in, where the copy the job first found
    was in clear already; else empty."""

    def __post_init__(self) -> None:
        _hold_date(self.message, self.internal_date)

    @property
    def is_own_copy(self) -> bool:
        """Whether the stored copy is one that this job put there, so that it is no original."""
        return self.identity != self.original_identity

    @property
    def encrypted_identity(self) -> str:
        """Of the message as its parts were found in it."""
        return self.found_as or self.original_identity

    @property
    def in_clear(self) -> bool:
        """Whether the stored copy is the plaintext, put there by sectool."""
        return self.identity.startswith(IN_CLEAR)


def _hold_date(message: int, date: str) -> None:
    """Only a message that could not be read has none, and nothing is made of such a one."""
    if not date:
        raise JobLogDamaged(f"message {message} of the job log has no date")


class Purpose(StrEnum):
    """What a message is being replaced for."""

    ENCRYPT = "encrypt"
    REWRAP = "rewrap"
    """The new copy holds the content as it was encrypted, for other recipients."""
    ROLLBACK = "rollback"
    """The new copy is the original."""
    DECRYPT = "decrypt"
    """The new copy is the plaintext."""
    RESTORE = "restore"
    """The message was lost; the new copy comes in the place of none."""


@dataclass(frozen=True, slots=True)
class ReplacementRecord:
    """One message that has, or may have, two copies in the mailbox."""

    message: int
    old: MessageRef
    old_revision: str
    folder: str
    """Where the new copy was to come."""
    where: str
    """The store's own text for it."""
    new: MessageRef | None
    """The new copy; None while nothing met it."""
    new_digest: str
    """SHA-256 of the new copy."""
    new_size: int
    new_identity: str
    purpose: Purpose = Purpose.ENCRYPT
    new_opens_to: tuple[tuple[str, str], ...] = ()
    """Path of each part with the SHA-256 it opens to, where that is not what it was."""
    original: str = ""
    """SHA-256 of the original that was kept of the message; empty: none is."""


@dataclass(frozen=True, slots=True)
class OriginalRecord:
    """An original that lies durably in the job directory."""

    message: int
    digest: str
    size: int
    folder: str
    internal_date: str
    """ISO 8601 with offset."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A replacement whose old copy was removed."""

    message: int
    ref: MessageRef
    hint: str
    size: int
    identity: str
    proof: Proof | None
    """None where the new copy is the original."""


@dataclass(frozen=True, slots=True)
class ReplacedMessage:
    """A message whose stored copy is one that sectool wrote."""

    message: int
    identity: str
    """Of the present copy."""
    original_identity: str
    """Of the copy the job first found."""
    ref: MessageRef
    size: int
    internal_date: str
    """ISO 8601 with offset."""
    message_id: str
    original: str
    """SHA-256 of the original; empty where none was kept."""
    parts: tuple[SealablePart, ...]

    def __post_init__(self) -> None:
        _hold_date(self.message, self.internal_date)

    @property
    def as_sealable(self) -> SealableMessage:
        """The same message, to be encrypted from its checkpoints."""
        return SealableMessage(
            message=self.message,
            identity=self.identity,
            original_identity=self.original_identity,
            ref=self.ref,
            size=self.size,
            internal_date=self.internal_date,
            parts=self.parts,
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """Files of the job directory that are to go together."""

    messages: tuple[int, ...] = ()
    """Rows they belong to."""
    checkpoints: tuple[str, ...] = ()
    """Content digests."""
    originals: tuple[str, ...] = ()
    """SHA-256 of the originals."""

    def __bool__(self) -> bool:
        return bool(self.messages or self.checkpoints or self.originals)
