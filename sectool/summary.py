"""The counts of one run, and the messages, keys and files that it tells of beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sectool.outcome import (
    NOT_DONE,
    UNINSPECTED,
    CertificateFingerprint,
    Identity,
    Integrity,
    PublicKeyDigest,
    RecipientKey,
    State,
)
from sectool.plaintext import Plaintext
from sectool.retirement import Answer, Claim, GivenUp, LookedAt
from sectool.values import dataclass

LISTED_NOT_DONE = 10_000
"""Messages that are not done are listed up to this number, and as many that a person knows of."""

LONGEST_REASON = 2_000
"""Characters of a reason that are told of a message."""


@dataclass(frozen=True, slots=True)
class BoundKey:
    """One certificate that is not at hand, and the key that opens mail which names it."""

    recipient: RecipientKey
    file: str
    """Name of the file the key was read from."""
    label: str
    """What a person calls the key."""
    messages: int
    """That name it, and that nothing else opens."""
    opened: int | None
    """Of those that were tried in this run; None: an earlier run did."""
    tried: int | None
    is_bound: bool
    """Whether all of its mail counts as mail to this key; else what was opened alone."""


@dataclass(slots=True)
class NotTried:
    """Unknown certificates that keys of their kind were not tried on, or not all of them."""

    certificates: int = 0
    """For want of those operations."""
    messages: int = 0
    """That name them; a message to several counts for each."""
    on_tokens: int = 0
    """Certificates that no key on a token was tried on, since nobody asked for it."""
    operations: int = 0
    """Private-key operations that a run may spend on it."""


@dataclass(frozen=True, slots=True)
class _OfMessage:
    folder: str
    ref: str
    message_id: str
    state: State
    """Of the message."""


@dataclass(frozen=True, slots=True)
class NotDone(_OfMessage):
    """One message that a run left as it was, and why."""

    reason: str
    identity: Identity = Identity("")
    """Digest it was first found with: the same wherever the mailbox is moved to."""
    acknowledged: bool = False
    """Whether a person said that they know of it."""


@dataclass(frozen=True, slots=True)
class NeedsOldKeys(_OfMessage):
    """One message with an encrypted layer that keeps its old recipients."""

    reason: str
    """Why the layer stays as it is; of several layers the first."""
    keys: tuple[RecipientKey, ...]
    """Recipients of all such layers; none where they could not be told."""
    identity: Identity = Identity("")
    """Digest it was first found with: the same wherever the mailbox is moved to."""
    acknowledged: bool = False
    """Whether a person said that they know of it."""


@dataclass(frozen=True, slots=True)
class LeftPart(_OfMessage):
    """One encrypted part of a message that stays as it is, byte for byte."""

    part: str
    """Section as IMAP numbers it; empty for the whole body."""
    reason: str
    keys: tuple[RecipientKey, ...]
    """Recipients, as far as they are named by certificates."""
    identity: Identity = Identity("")
    """Digest the message was first found with."""


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """One old key, and whether the mail of one mailbox may need it."""

    key: RecipientKey
    file: str
    """Name of the file it was read from."""
    public_key: PublicKeyDigest
    """SHA-256 of its SubjectPublicKeyInfo, lower-case hexadecimal."""
    needed: int
    """Messages that name it or that it opens, less those given up."""
    unclear: int
    """Messages that may need it, less those given up."""
    given_up: tuple[GivenUp, ...]
    looked_at: LookedAt
    claims: tuple[Claim, ...] = ()
    """All of ``needed`` and ``unclear``; none where only the log was asked."""

    @property
    def answer(self) -> Answer:
        """The one answer."""
        if self.needed:
            return Answer.NEEDED
        return Answer.UNCLEAR if self.unclear else Answer.NOT_NEEDED


@dataclass(frozen=True, slots=True)
class Purged:
    """What went, or in a dry run would go, from the job directory."""

    checkpoints: int = 0
    originals: int = 0
    bytes: int = 0
    kept: int = 0
    """Checkpoints and originals that stay."""
    too_young: int = 0
    """Those of them that stay for no other reason than ``--older-than``."""
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


class TimeRange(NamedTuple):
    """How long something takes, in seconds, as far as can be said."""

    shortest: float
    longest: float


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
    seconds: tuple[TimeRange, TimeRange] | None
    """That decrypting and encrypting all of it take, by what opening it took just now; None:
    nothing was opened."""


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """One certificate that is encrypted to, as a person should see it."""

    file: str
    subject: str
    """RFC 4514 string."""
    addresses: tuple[str, ...]
    """Mail addresses it names."""
    fingerprint: CertificateFingerprint
    """SHA-256, lower-case hexadecimal."""
    key_kind: str
    """Algorithm and size: ``RSA 2048``."""
    not_before: datetime
    not_after: datetime
    overridden: tuple[str, ...]
    """Checks it failed and a person overrode, each in words."""
    is_in_transition: bool = False
    """Whether it is an old one that stands beside a newer one of the same person."""
    weakens: bool = False
    """Whether mail that is post-quantum otherwise is only as safe as this key."""


@dataclass(frozen=True, slots=True)
class ShutKeyFile:
    """A key file, or a key in it, that could not be opened while mail misses a key."""

    file: str
    reason: str
    hint: str


@dataclass
class Summary:
    """The counts of one run; ``counts`` always sum to ``messages``."""

    mailbox: str = ""
    job: str = ""
    phase: str = ""
    """``scan``, ``decrypt`` or ``encrypt``."""
    access: tuple[str, ...] = ()
    """Options by which the run reached its server, for the command that comes next."""
    is_finished: bool = True
    """False: the phase was begun and not brought to an end."""
    dry_run: bool = False
    """Whether nothing was written, and the counts are of what a run would find or do."""
    would_change: int = 0
    """After a dry run: messages that a real run would write to the mailbox or the job."""
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
    """Filled by ``list_not_done``."""
    not_done_beyond: int = 0
    """Messages that are not done either, beyond those that are listed."""
    acknowledged: Counter[State] = field(default_factory=Counter)
    """Those of ``counts`` that a person knows cannot be done."""
    left_parts: list[LeftPart] = field(default_factory=list)
    """Encrypted parts that stay as they are, beside others of their message or not."""
    documents: int = 0
    """Encrypted attachments among the parts that are taken."""
    needs_old_keys: list[NeedsOldKeys] = field(default_factory=list)
    """Messages that an old key is still needed for, also where they are done."""
    job_data_removed: int = 0
    """Messages whose originals and checkpoints were removed from the job, whatever their states."""
    voided_signatures: int = 0
    """Messages with a signature that is void since a part under it was replaced."""
    space: int | None = None
    """After a dry run: bytes of disk a real run would take."""
    defects: Counter[str] = field(default_factory=Counter)
    """What was odd about the encoding of encrypted parts, and of how many messages."""
    uninspected: int = 0
    """Attached archives and mail stores that cannot be looked into, and may contain mail."""
    plaintext: Plaintext | None = None
    """What of the job lies in clear; None: nobody asked."""
    originals: int | None = None
    """Originals of replaced messages that the job keeps; None: nobody asked."""
    lost_in_clear: int = 0
    """Messages among the lost ones that never were encrypted, so that no copy was kept."""
    passed_over: int = 0
    """Links, other files and folders that may hold mail, and that the run left."""
    unused_key_files: list[ShutKeyFile] = field(default_factory=list)
    """Key files that root does not use, since somebody could have led it to another's."""
    shut_key_files: list[ShutKeyFile] = field(default_factory=list)
    """Where the keys may lie that messages miss, or that were to be retired and of which
    nothing is said; none where no message misses one."""
    _listed: Counter[bool] = field(default_factory=Counter)
    """How many of ``not_done`` a person knows of, and how many not."""
    failure_code: int = 0
    """Exit code of what cost messages and calls for more than a look at them,
    such as 16 for damaged checkpoints, or 12 for key files that stay shut; 0: nothing did."""

    def list_not_done(self, entry: NotDone) -> None:
        """Adds a message that is not done to the list, while that has room.

        Of those that a person knows of, and of the others, the first ``LISTED_NOT_DONE`` are
        listed. Strangers' mail decides on how many there are, and on how long a reason is.
        """
        if self._listed[entry.acknowledged] == LISTED_NOT_DONE:
            self.not_done_beyond += 1
            return
        self._listed[entry.acknowledged] += 1
        if len(entry.reason) > LONGEST_REASON:
            entry = replace(entry, reason=f"{entry.reason[: LONGEST_REASON - 1]}…")
        self.not_done.append(entry)

    def count_defect(self, defect: str, messages: int = 1) -> None:
        """Adds what was odd about so many messages, or an archive of each that was not read."""
        if defect.startswith(UNINSPECTED):
            self.uninspected += messages
        else:
            self.defects[defect] += messages

    @property
    def missing_a_key(self) -> int:
        """How many messages miss a key, those aside that a person knows of."""
        return self.counts[State.MISSING_KEY] - self.acknowledged[State.MISSING_KEY]

    @property
    def left(self) -> int:
        """How many messages are not done, those aside that a person knows of."""
        return sum(self.counts[state] - self.acknowledged[state] for state in NOT_DONE)

    def any_of(self, *states: State) -> int:
        """How many messages are in any of these states."""
        return sum(self.counts[state] for state in states)

    @property
    def leaves_work(self) -> bool:
        """Whether a message is not done and not acknowledged, or a layer in it needs an old key."""
        return self.left > 0 or any(not entry.acknowledged for entry in self.needs_old_keys)

    @property
    def exit_code(self) -> int:
        """0 when no work is left, else 3; or ``failure_code``."""
        return self.failure_code or (3 if self.leaves_work else 0)


@dataclass
class OpeningSummary(Summary):
    """Of a run that opens mail with the key history, as ``scan``."""

    bindings: list[BoundKey] = field(default_factory=list)
    """Certificates that are not at hand, and whose key is."""
    not_tried: NotTried | None = None
    """What more a trial of the keys at hand on unknown certificates would take; None: nothing."""
    preflight: Preflight | None = None
    """The verdict of a scan, and of a dry run of ``decrypt``."""

    @property
    def is_safe_to_move(self) -> bool:
        """Whether nothing was found that a move now would make unreadable."""
        return self.preflight is not None and self.preflight.safe_to_move


@dataclass
class WorkingSummary(Summary):
    """Of a run that may leave folders, and may work on what earlier ones could not do alone."""

    retried: Retried | None = None
    """What was tried once more; None: nobody asked for that alone."""
    left_folders: list[LeftFolder] = field(default_factory=list)
    """Folders in which more failed than ``--max-failures`` allows."""

    @property
    def leaves_work(self) -> bool:
        return bool(self.left_folders) or super().leaves_work


@dataclass
class EncryptingSummary(WorkingSummary):
    """Of a run that encrypts to new certificates."""

    new_certificates: list[NewCertificate] = field(default_factory=list)
    """What was, or in a dry run would be, encrypted to."""
    owner_checked: bool = False
    """Whether a new certificate names the address asked for."""
    losing_access: dict[RecipientKey, int] = field(default_factory=dict)
    """How many messages each recipient with a key that is neither in the history nor a
    new one cannot, or after a dry run could not, read any more."""
    losing_access_sent: Counter[RecipientKey] = field(default_factory=Counter)
    """Those of them that lie in folders of sent mail: they went to that person."""
    addresses_at_hand: dict[RecipientKey, tuple[str, ...]] = field(default_factory=dict)
    """Mail addresses of those whose certificate lay beside the keys."""


@dataclass
class VerifySummary(Summary):
    """Of ``verify``."""

    retire: list[RetiredKey] | None = None
    """The answer to ``verify --retire``."""
    has_begun: bool = False
    """Whether encrypting, or exchanging recipients, began on the job."""
    opens: bool = False
    """Whether new keys were given to open replaced messages with."""

    @property
    def leaves_work(self) -> bool:
        claims = (claim for key in self.retire or () for claim in key.claims)
        return any(not claim.acknowledged for claim in claims) or super().leaves_work


@dataclass
class DecryptSummary(OpeningSummary, WorkingSummary):
    """Of ``decrypt``."""


@dataclass
class EncryptSummary(EncryptingSummary):
    """Of ``encrypt``."""

    brought_back: int | None = None
    """How many lost messages were, or in a dry run would be, put back; None: nobody asked."""
    not_brought_back: Counter[str] = field(default_factory=Counter)
    """How many could not be, by reason."""


@dataclass
class RewrapSummary(OpeningSummary, EncryptingSummary):
    """Of ``rewrap``."""


@dataclass
class PurgeSummary(Summary):
    """Of ``purge``."""

    purged: Purged = field(default_factory=Purged)
    """What it removed."""


@dataclass
class StatusSummary(VerifySummary):
    """Of ``status``, which tells what ``verify`` answered last."""

    activity: Activity | None = None
    """What a run is doing with the job, or did last; None: not known."""
