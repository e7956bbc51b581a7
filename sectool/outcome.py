"""What became of a message: its state, its proof, its integrity, and whose key it asks for.

The words are the contract of the command line, the JSON output, the job log
and the documentation alike; a message has exactly one state.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NewType

from sectool.values import dataclass


class State(StrEnum):
    """The one state of a message."""

    CLEAR = "clear"
    SIGNED = "signed"
    ENCRYPTED = "encrypted"
    """Encrypted, and no keys were given to try."""
    READABLE = "readable"
    MISSING_KEY = "missing-key"
    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"
    UNDER_SIGNATURE = "under-signature"
    """An encrypted layer under a signature: changing it would void the signature."""
    REVIEW = "review"
    """Opened, but not accepted as plaintext: a person decides."""
    NOT_SELECTED = "not-selected"
    NOT_READ = "not-read"
    """What it is was not looked for: a quick look reads the heads of messages alone."""

    CHECKPOINTED = "checkpointed"
    DECRYPTED = "decrypted"
    REENCRYPTED = "reencrypted"
    """Replaced, and all of it encrypted anew; proof ``structural``."""
    REWRAPPED = "rewrapped"
    """Replaced, its content as it was encrypted, for other recipients; proof ``structural``."""
    VERIFIED = "verified"
    """Replaced; proof ``opened``."""
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    CHANGED = "changed"
    """Someone else changed the message while it was worked on."""
    FAILED = "failed"

    LOST = "lost"
    """In the job, but not found in the mailbox."""
    NOT_IN_JOB = "not-in-job"
    """Found in the mailbox, but not in the job."""
    OLD_KEY = "old-key"
    """Not in the job either, and only an old key opens it."""


NOT_DONE = frozenset(
    {
        State.MISSING_KEY,
        State.UNSUPPORTED,
        State.MALFORMED,
        State.UNDER_SIGNATURE,
        State.REVIEW,
        State.NOT_READ,
        State.REFUSED,
        State.CHANGED,
        State.FAILED,
        State.LOST,
        State.OLD_KEY,
    }
)
"""States that make a finished run end with exit code 3."""


UNINSPECTED = "not looked into: attached archive "
"""How the defect of an archive begins that may contain mail; its number in the message follows."""


class Proof(StrEnum):
    """How a replacement was proven to hold the message."""

    STRUCTURAL = "structural"
    """Read back, every recipient names its certificate, and the content
    decrypts under the content-encryption key to the logged SHA-256."""
    OPENED = "opened"
    """Decrypted through the new private key."""


class Integrity(StrEnum):
    """What is known of a message's integrity; it never rises."""

    NONE = "none"
    AEAD = "aead"
    """Unaltered since an unknown sealer."""
    SIGNED = "signed"
    SIGNED_UNMATCHED = "signed-unmatched"


_ADDRESS = re.compile(r"(?<![^\s,+=<>\"])[^\s,+=<>\"]+@[^\s,+<>\"]+")
"""Looked for at the beginning of each word alone: a word may be as long as a name."""


def blotted(text: str) -> str:
    """A text as the job log may hold it: without mail addresses."""
    return _ADDRESS.sub("(address)", text) if "@" in text else text


ContentDigest = NewType("ContentDigest", str)
"""SHA-256 of a decoded CMS envelope exactly as encoded; names its checkpoint. All of these in
lower-case hexadecimal."""
PlaintextDigest = NewType("PlaintextDigest", str)
"""SHA-256 of the exact bytes that were encrypted."""
HeaderDigest = NewType("HeaderDigest", str)
"""SHA-256 of the header that lies with a checkpoint."""
MessageDigest = NewType("MessageDigest", str)
"""SHA-256 of a message as it is stored; names an original."""
Identity = NewType("Identity", str)
"""What a stored copy is known by, wherever it lies: a digest of what no move changes, or what
begins with a word and a colon."""
CertificateFingerprint = NewType("CertificateFingerprint", str)
"""SHA-256 of a certificate."""
PublicKeyDigest = NewType("PublicKeyDigest", str)
"""SHA-256 of a SubjectPublicKeyInfo."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message in a run."""

    folder: str
    ref: str
    """What the store calls it in its folder."""
    identity: Identity
    """What it was first found as; the same wherever the mailbox is moved to."""
    state: State
    reason: str
    """Why it is not done; empty where it is."""


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """One recipient of an encrypted message, as its RecipientInfo names it."""

    issuer: str
    """RFC 4514 string, without a mail address, since the job log holds none; empty where only the
    subject key identifier is known."""
    serial_number: str
    """Lower-case hexadecimal; empty where only the subject key identifier is known."""
    subject_key_identifier: str
    """Lower-case hexadecimal; empty where issuer and serial number name the key."""

    @property
    def names(self) -> tuple[str, str, str]:
        """All three, as ``RecipientKey`` takes them."""
        return self.issuer, self.serial_number, self.subject_key_identifier

    def __post_init__(self) -> None:
        object.__setattr__(self, "issuer", blotted(self.issuer))


@dataclass(frozen=True, slots=True)
class Binding:
    """That a key opens mail which names a certificate of it that is not at hand."""

    recipient: RecipientKey
    """As mail names it."""
    public_key: PublicKeyDigest
    """SHA-256 of the key's SubjectPublicKeyInfo, lower-case hexadecimal."""
