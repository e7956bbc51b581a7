"""What became of a message: its state, its proof, its integrity.

The words are the contract of the command line, the JSON output, the job log
and the documentation alike; a message has exactly one state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


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
    SEALED = "sealed"
    """An encrypted layer under a signature: changing it would void the signature."""
    REVIEW = "review"
    """Opened, but not accepted as plaintext: a person decides."""
    NOT_SELECTED = "not-selected"

    CHECKPOINTED = "checkpointed"
    DECRYPTED = "decrypted"
    REENCRYPTED = "reencrypted"
    """Replaced; proof ``structural``."""
    VERIFIED = "verified"
    """Replaced; proof ``opened``."""
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    CHANGED = "changed"
    """Someone else changed the message while it was worked on."""
    FAILED = "failed"
    PURGED = "purged"

    LOST = "lost"
    """In the job, but not found in the mailbox."""
    NEW = "new"
    """Found in the mailbox, but not in the job."""
    OLD_KEY = "old-key"
    """New, and only an old key opens it."""


NOT_DONE = frozenset(
    {
        State.MISSING_KEY,
        State.UNSUPPORTED,
        State.MALFORMED,
        State.SEALED,
        State.REVIEW,
        State.REFUSED,
        State.CHANGED,
        State.FAILED,
        State.LOST,
        State.OLD_KEY,
    }
)
"""States that make a finished run end with exit code 3."""


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


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """One recipient of an encrypted message, as its RecipientInfo names it."""

    issuer: str
    """RFC 4514 string; empty where only the subject key identifier is known."""
    serial_number: str
    """Lower-case hexadecimal; empty where only the subject key identifier is known."""
    subject_key_identifier: str
    """Lower-case hexadecimal; empty where issuer and serial number name the key."""


@dataclass(frozen=True, slots=True)
class NotDone:
    """One message that a run left as it was, and why."""

    folder: str
    ref: str
    message_id: str
    state: State
    reason: str
    identity: str = ""
    """Digest it was first found with: the same wherever the mailbox is moved to."""
    acknowledged: bool = False
    """Whether a person said that they know of it."""


@dataclass(frozen=True, slots=True)
class NeedsOldKeys:
    """One message with an encrypted layer that keeps its old recipients."""

    folder: str
    ref: str
    message_id: str
    state: State
    reason: str
    """Why the layer stays as it is; of several layers the first."""
    keys: tuple[RecipientKey, ...]
    """Recipients of all such layers; none where they could not be told."""
    identity: str = ""
    """Digest it was first found with: the same wherever the mailbox is moved to."""
    acknowledged: bool = False
    """Whether a person said that they know of it."""


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """One old key, and whether anything in the mailbox still needs it."""

    key: RecipientKey
    file: str
    """Name of the file it was read from."""
    messages: int
    """Messages in the mailbox that only this key, or others of its history, open."""
    may_be_destroyed: bool
    reason: str
    """Why not; empty where it may."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What went, or in a dry run would go, from the job directory."""

    checkpoints: int = 0
    originals: int = 0
    bytes: int = 0
    kept: int = 0
    """Checkpoints and originals that stay."""
    is_rehearsal: bool = False
    """Whether nothing went, and this is what would go."""


@dataclass(frozen=True, slots=True)
class Activity:
    """What a run on a job is doing, or did last."""

    operation: str
    pid: int
    """Number of its process."""
    started: datetime
    updated: datetime
    """When it told so."""
    stage: str = ""
    done: int = 0
    """Messages done in this stage."""
    total: int | None = None
    """Messages of this stage; None while unknown."""
    ended: datetime | None = None
    """None: it has not ended, or was killed."""
    exit_code: int | None = None
    is_on: bool = False
    """Whether somebody holds the job's lock, as of when this was asked."""


@dataclass(frozen=True, slots=True)
class LeftFolder:
    """A folder that a run went away from since too much failed in it."""

    folder: str
    failed: int
    """Messages that failed, in this run or an earlier one."""
    looked_at: int
    """Messages of it that came to an end, well or not; clear and signed mail aside."""
    messages: int
    """Those that this run did not begin."""


@dataclass(slots=True)
class Retried:
    """What a run with ``--retry`` tried once more."""

    states: Counter[State] = field(default_factory=Counter)
    """How many messages, by the state they were in before."""
    done: int = 0
    """Those of them that have nothing left to do now."""


@dataclass(frozen=True, slots=True)
class Lying:
    """Things that lie somewhere, and since when."""

    count: int = 0
    bytes: int = 0
    """Of plaintext."""
    since: datetime | None = None
    """When the oldest came there; None: there are none, or it is not known."""

    @classmethod
    def total(cls, several: Sequence[Lying]) -> Lying:
        """Those of several places together."""
        moments = [each.since for each in several if each.since is not None]
        return cls(
            sum(each.count for each in several),
            sum(each.bytes for each in several),
            min(moments, default=None),
        )


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Where what was encrypted lies in clear, and for how long."""

    checkpoints: Lying
    """In the job directory, for anybody to read who can read it."""
    sealed: Lying
    """In the job directory, encrypted."""
    in_mailbox: Lying
    """Messages that were decrypted in place."""
    asked: datetime = field(compare=False)
    """When this was."""
    sealed_to: tuple[str, ...] = ()
    """SHA-256 fingerprints of the certificates that open the sealed ones."""

    @classmethod
    def total(cls, several: Sequence[Plaintext]) -> Plaintext:
        """That of several jobs, at least one, together."""
        return cls(
            checkpoints=Lying.total([each.checkpoints for each in several]),
            sealed=Lying.total([each.sealed for each in several]),
            in_mailbox=Lying.total([each.in_mailbox for each in several]),
            asked=max(each.asked for each in several),
            sealed_to=tuple(sorted({name for each in several for name in each.sealed_to})),
        )

    @property
    def since(self) -> datetime | None:
        """When the oldest came to where it lies; None: nothing lies anywhere."""
        moments = (self.checkpoints.since, self.in_mailbox.since)
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def days(self) -> int:
        """Whole days since then; 0 where there is nothing."""
        return 0 if self.since is None else self.days_since(self.since)

    def days_since(self, moment: datetime) -> int:
        """Whole days from a moment until this was asked."""
        return max(0, (self.asked - moment).days)


class Scenario(StrEnum):
    """What kind of move it is, by comparing the old keys with those at the new place."""

    UPGRADE = "upgrade"
    """Every old key is there: one server upgraded with its database."""
    RE_ENROLMENT = "re-enrolment"
    """An old key is missing; some old key, or an issuer of old certificates, is there."""
    CLEAN_INSTALLATION = "clean-installation"
    """No old key is there; an issuer has the same name and another key."""
    NEW_SITE = "new-site"
    """No old key is there, and the issuers have other names."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """Whether a mailbox may move as it is, and what decrypting it first takes."""

    safe_to_move: bool
    """Every message that was looked for would be readable after a move now."""
    reason: str
    """Why not; empty where it is safe."""
    unreadable_if_moved_now: int
    unreadable_after_decrypting: int | None
    """Messages that the old keys do not open either; None: no keys were given."""
    missing_keys: dict[RecipientKey, int]
    """Keys that are not held, with the messages that name them and do not open."""
    scenario: Scenario | None
    """None unless both old and new keys were given."""
    space_needed: int
    """Bytes of checkpoints, originals and growth together, for the whole mailbox."""
    space_free: int | None
    """Bytes on the file system of the mailbox, or of the job directory where that
    has less; None: not known."""
    seconds: float | None
    """That opening all of it takes, by what it took just now; None: nothing was opened."""


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """One certificate that is encrypted to, as a person should see it."""

    file: str
    subject: str
    """RFC 4514 string."""
    addresses: tuple[str, ...]
    """Mail addresses it names."""
    fingerprint: str
    """SHA-256, lower-case hexadecimal."""
    key_kind: str
    """Algorithm and size: ``RSA 2048``."""
    not_before: datetime
    not_after: datetime
    overridden: tuple[str, ...]
    """Checks it failed and a person overrode, each in words."""
    weakens: bool = False
    """Whether mail that is post-quantum otherwise is only as safe as this key."""


UNINSPECTED = "not looked into: attached archive "
"""How the defect of an archive begins that may contain mail; its number in the message follows."""


@dataclass(slots=True)
class Summary:
    """The counts of one run; ``counts`` always sum to ``messages``."""

    mailbox: str = ""
    job: str = ""
    phase: str = ""
    """``scan``, ``decrypt`` or ``encrypt``."""
    is_finished: bool = True
    """False: the phase was begun and not brought to an end."""
    messages: int = 0
    bytes: int = 0
    counts: Counter[State] = field(default_factory=Counter)
    keys: dict[RecipientKey, int] = field(default_factory=dict)
    """How many messages name each recipient."""
    keys_in_history: set[RecipientKey] = field(default_factory=set)
    content_encryption_algorithms: Counter[str] = field(default_factory=Counter)
    integrity: Counter[tuple[Integrity, str]] = field(default_factory=Counter)
    """Of the parts that were opened, with the fingerprint of the signer's certificate."""
    folders: Counter[str] = field(default_factory=Counter)
    years: Counter[str] = field(default_factory=Counter)
    not_done: list[NotDone] = field(default_factory=list)
    acknowledged: Counter[State] = field(default_factory=Counter)
    """Those of ``counts`` that a person knows cannot be done."""
    needs_old_keys: list[NeedsOldKeys] = field(default_factory=list)
    """Messages that an old key is still needed for, also where they are done."""
    voided_signatures: int = 0
    """Messages with a signature that is void since a part under it was replaced."""
    space: int | None = None
    """After a dry run: bytes of disk a real run would take."""
    retire: list[RetiredKey] | None = None
    """The answer to ``verify --retire``."""
    purged: Purged | None = None
    """What ``purge`` removed."""
    preflight: Preflight | None = None
    """The verdict of a scan."""
    new_certificates: list[NewCertificate] | None = None
    """What was, or in a dry run would be, encrypted to."""
    owner_checked: bool | None = None
    """Whether a new certificate names the address asked for; None: nothing is encrypted."""
    losing_access: dict[RecipientKey, int] | None = None
    """After a dry run: how many messages each recipient with a key that is neither
    in the history nor a new one could not read any more."""
    restored: int | None = None
    """How many lost messages were, or in a dry run would be, put back; None: nobody asked."""
    not_restored: Counter[str] = field(default_factory=Counter)
    """How many could not be, by reason."""
    retried: Retried | None = None
    """What was tried once more; None: nobody asked for that alone."""
    activity: Activity | None = None
    """What a run is doing with the job, or did last; None: not known."""
    left_folders: list[LeftFolder] = field(default_factory=list)
    """Folders in which more failed than ``--max-failures`` allows."""
    defects: Counter[str] = field(default_factory=Counter)
    """What was odd about the encoding of encrypted parts, and of how many messages."""
    uninspected: int = 0
    """Attached archives and mail stores that cannot be looked into, and may contain mail."""
    plaintext: Plaintext | None = None
    """What of the job lies in clear; None: nobody asked."""
    failure_code: int = 0
    """Exit code of what cost messages and calls for more than a look at them,
    such as 16 for damaged checkpoints; 0: nothing did."""

    def count_defect(self, defect: str, messages: int = 1) -> None:
        """Adds what was odd about so many messages, or an archive of each that was not read."""
        if defect.startswith(UNINSPECTED):
            self.uninspected += messages
        else:
            self.defects[defect] += messages

    @property
    def is_safe_to_move(self) -> bool:
        """Whether a scan found nothing that a move now would make unreadable."""
        return self.preflight is not None and self.preflight.safe_to_move

    @property
    def exit_code(self) -> int:
        """0 when every message is done or acknowledged, else 3, or ``failure_code``.

        A message is not done either while a layer in it needs an old key.
        """
        if self.failure_code:
            return self.failure_code
        left = any(self.counts[state] > self.acknowledged[state] for state in NOT_DONE)
        needing = any(not entry.acknowledged for entry in self.needs_old_keys)
        return 3 if left or needing or self.left_folders else 0
