"""What a run is asked to do, as a value: frozen, picklable, without secrets."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from sectool.cms import Profile
from sectool.jobs.session.processors import default_workers
from sectool.keys import KeySpecification
from sectool.mailbox import Account
from sectool.message import Listing
from sectool.smime import PartSelection
from sectool.summary import (
    DecryptSummary,
    EncryptSummary,
    OpeningSummary,
    PurgeSummary,
    RewrapSummary,
    Summary,
    VerifySummary,
)
from sectool.values import dataclass

S_co = TypeVar("S_co", bound=Summary, covariant=True)


class Operation(StrEnum):
    """What a run does."""

    SCAN = "scan"
    QUICK_SCAN = "quick-scan"
    DECRYPT = "decrypt"
    ENCRYPT = "encrypt"
    REWRAP = "rewrap"
    VERIFY = "verify"
    ROLLBACK = "rollback"
    PURGE = "purge"


class Reason(StrEnum):
    """Why recipients are exchanged, in the words of RFC 5280 section 5.3.1."""

    SUPERSEDED = "superseded"
    AFFILIATION_CHANGED = "affiliation-changed"
    CESSATION_OF_OPERATION = "cessation-of-operation"
    KEY_COMPROMISE = "key-compromise"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages a run works on; the others are counted as ``not-selected``."""

    folder: str = "*"
    """Shell pattern over folder names; case counts."""
    since: datetime | None = None
    """Only messages whose internal date is not before this."""
    before: datetime | None = None
    """Only messages whose internal date is before this."""
    limit: int | None = None
    """At most so many messages are worked on; finished ones do not count."""

    @property
    def is_everything(self) -> bool:
        """Whether no message is left out."""
        return self == Selection()

    def takes_any_of(self, folders: Iterable[str]) -> bool:
        """Whether messages of any of these folders are worked on."""
        return self.folder == "*" or any(map(self.takes_folder, folders))

    def takes_folder(self, folder: str) -> bool:
        """Whether messages of this folder are worked on."""
        return fnmatch.fnmatchcase(folder, self.folder)

    def takes(self, listing: Listing) -> bool:
        """Whether this message is worked on, the limit aside."""
        date = listing.internal_date
        if not self.takes_folder(listing.ref.folder):
            return False
        if date is None:
            return True
        return not (
            (self.since is not None and date < self.since)
            or (self.before is not None and date >= self.before)
        )


@dataclass(frozen=True, kw_only=True)
class Run(Generic[S_co]):
    """What every run is asked; it ends with a summary of kind ``S_co``."""

    operation: ClassVar[Operation]
    mailbox: str | None
    """Path or URL; None: where the job's mailbox was last."""
    selection: Selection = field(default_factory=Selection)
    workers: int = field(default_factory=default_workers)
    """Worker processes; 0: everything happens in this process."""
    account: Account = field(default_factory=Account)
    """How a server is reached and who is let in, where the mailbox is on one."""
    limit_factor: int = 1
    """What the limits on what one message or key file may cost are multiplied by."""


@dataclass(frozen=True, kw_only=True)
class JobRun(Run[S_co]):
    """A run on a job."""

    job: Path | None
    """Job directory; None only for dry runs."""
    trust_group: str | None = None
    """Group whose members may write to the job directory and to what leads to it; None:
    nobody's."""
    dry_run: bool = False


# --- groups of fields that several operations have -------------------------------------


@dataclass(frozen=True, kw_only=True)
class PartsTaken:
    """Which encrypted parts are taken of those that open."""

    released: frozenset[str] = frozenset()
    """Content digests of encrypted parts that a person takes although nothing
    proves that they are mail."""
    part_selection: PartSelection = field(default_factory=PartSelection)


@dataclass(frozen=True, kw_only=True)
class Owned:
    """Whose mail it is."""

    owners: tuple[str, ...] = ()
    """Mail addresses of the one person whose it is; none: nobody asks."""


@dataclass(frozen=True, kw_only=True)
class Acknowledging:
    """What a person knows of."""

    acknowledge: Path | None = None
    """File of messages that a person knows cannot be done; None: as the job log has it."""


@dataclass(frozen=True, kw_only=True)
class Undone(Acknowledging):
    """What to do with messages that were not done, or are not."""

    retry: bool = False
    """Work on nothing but what an earlier run could not do."""
    max_failures: int = 20
    """Percent of a folder's messages that may fail before the folder is left."""


@dataclass(frozen=True, kw_only=True)
class NewCertificates(Owned):
    """Whom to encrypt to, and how sure one must be of it."""

    new_certificates: tuple[Path, ...] = ()
    profile: Profile = Profile.COMPATIBLE
    accept_fingerprints: frozenset[str] = frozenset()
    """Checks of new certificates that the person overrode: the SHA-256 fingerprint for the
    one check that fails, with ``:`` and its name where several do."""


@dataclass(frozen=True, kw_only=True)
class TakingRun(JobRun[S_co], PartsTaken, Owned, Undone):
    """A run that opens mail with the key history, and may begin a job."""

    mailbox: str
    job: Path | None = None
    keys: KeySpecification
    """The key history."""
    shared: bool = False
    """Several people read the mailbox, so that a part goes only to those whose key opens it."""


@dataclass(frozen=True, kw_only=True)
class MatchingRun(JobRun[S_co]):
    """A run that finds the mail of a job again, wherever the mailbox is now."""

    mailbox: str | None = None
    job: Path
    partial: bool = False
    """Go on although less than half of the job is found."""


# --- the operations ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scan(Run[OpeningSummary], PartsTaken):
    """Says what a mailbox holds."""

    operation = Operation.SCAN
    mailbox: str
    keys: KeySpecification | None = None
    """The key history; None: nothing is opened."""
    new_keys: KeySpecification | None = None
    """What the keys are compared with: those that are there after the move."""


@dataclass(frozen=True, kw_only=True)
class QuickScan(Run[Summary]):
    """Says what the heads of messages show; no verdict rests on it."""

    operation = Operation.QUICK_SCAN
    mailbox: str
    keys: KeySpecification | None = None
    """The key history; it opens nothing, and is looked up."""


@dataclass(frozen=True, kw_only=True)
class Decrypt(TakingRun[DecryptSummary]):
    """Takes the plaintext of a mailbox into a job."""

    operation = Operation.DECRYPT
    seal_to: tuple[Path, ...] = ()
    """Certificates that checkpoints are sealed to; none: they are plain."""
    accept_fingerprints: frozenset[str] = frozenset()
    """Checks of these certificates that the person overrode."""
    seal_keys: KeySpecification | None = None
    """Private keys that sealed checkpoints are opened with."""
    in_place: bool = False
    """Put the plaintext into the mailbox, too."""
    nested: bool = False
    """In place: also of what is encrypted in a part, or inside of a plaintext."""
    wrapped: bool = False
    """In place: also of what stands beside a mailing list's footer."""
    restore_subject: bool = False
    """In place: show the protected Subject outside, too."""


@dataclass(frozen=True, kw_only=True)
class Encrypt(MatchingRun[EncryptSummary], NewCertificates, Undone):
    """Encrypts the mail of a job to new recipients."""

    operation = Operation.ENCRYPT
    passphrases: KeySpecification | None = None
    """Where passphrases of the new certificates' files come from; names no keys."""
    verify_keys: KeySpecification | None = None
    """New private keys that replaced messages are opened with; None: none is opened."""
    seal_keys: KeySpecification | None = None
    """Private keys that sealed checkpoints are opened with."""
    include_clear: bool = False
    """Mail that never was encrypted, too; a job may begin so."""
    restart_phase: bool = False
    """Take other recipients than the first replacement fixed, for all of the job."""
    accept_lost: bool = False
    """The user deleted what is lost; it leaves the job."""
    restore_lost: bool = False
    """Put what is lost into the folder ``Recovered``."""
    restore_subject: bool = False
    """Show the protected Subject outside, too."""


@dataclass(frozen=True, kw_only=True)
class Rewrap(TakingRun[RewrapSummary], NewCertificates):
    """Exchanges the recipients of encrypted mail."""

    operation = Operation.REWRAP
    verify_keys: KeySpecification | None = None
    """New private keys that replaced messages are opened with; None: none is opened."""
    or_reencrypt: bool = False
    """Encrypt anew what must not stay as it is encrypted."""
    reason: Reason = Reason.SUPERSEDED
    """What became of the old key."""


@dataclass(frozen=True, kw_only=True)
class Verify(MatchingRun[VerifySummary], Acknowledging):
    """Holds a mailbox against its job."""

    operation = Operation.VERIFY
    verify_keys: KeySpecification | None = None
    """New private keys that replaced messages are opened with; None: none is opened."""
    seal_keys: KeySpecification | None = None
    """Private keys that sealed checkpoints are opened with."""
    deep: bool = False
    """Read every message and open every replaced one, whatever was known before."""
    retire: KeySpecification | None = None
    """Old keys to answer for, whether the mail of the mailbox may need them."""
    give_up: Path | None = None
    """File of messages that are to count against a key of ``retire`` no more."""
    accept_unproven: bool = False
    """A structural proof is enough for a key of ``retire`` to go."""


@dataclass(frozen=True, kw_only=True)
class Rollback(MatchingRun[Summary]):
    """Puts back what was there before."""

    operation = Operation.ROLLBACK
    to_stage: str = "original"
    """What is put back: ``original``, or ``decrypted`` for the plaintext of a job in place."""
    seal_keys: KeySpecification | None = None
    """Private keys that sealed checkpoints are opened with."""


@dataclass(frozen=True, kw_only=True)
class Purge(MatchingRun[PurgeSummary]):
    """Removes what nothing needs any more from a job."""

    operation = Operation.PURGE
    verify_keys: KeySpecification | None = None
    """New private keys that replaced messages are opened with; None: none is opened."""
    accept_unproven: bool = False
    """Remove what belongs to messages with a structural proof only, too."""
    abandon: bool = False
    """Remove what belongs to messages that were not replaced, too."""
    older_than: timedelta | None = None
    """Remove only what belongs to messages that were replaced, or rolled back, so long ago."""


Specification = Scan | QuickScan | Decrypt | Encrypt | Rewrap | Verify | Rollback | Purge
"""One run of one operation."""


class Cancel(Protocol):
    """Tells a run that it is to stop; asked between messages and between groups."""

    def check(self) -> None:
        """Nothing, or an error that ends the run.

        Raises:
            Interrupted: someone asked the run to stop.
        """


class NeverCancelled:
    """A ``Cancel`` that nobody presses."""

    def check(self) -> None:
        pass
