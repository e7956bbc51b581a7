"""What a run is asked to do, as a value: frozen, picklable, without secrets."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from sectool.cms import Profile
from sectool.keys import KeySpecification
from sectool.message import Listing
from sectool.smime import PartSelection


class Operation(StrEnum):
    """What a run does."""

    SCAN = "scan"
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


def default_workers() -> int:
    """As many workers as this process may use processors, eight at most."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(available or 1, 8)


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


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One run of one operation."""

    operation: Operation
    mailbox: str | None
    """Path or URL; None: where the job's mailbox was last."""
    job: Path | None = None
    """Job directory; None only for scans and dry runs."""
    trust_group: str | None = None
    """Group whose members may write to the job directory and to what leads to it; None:
    nobody's."""
    keys: KeySpecification | None = None
    """The key history; for ``encrypt`` only where passphrases of the new
    certificates' files come from."""
    new_certificates: tuple[Path, ...] = ()
    profile: Profile = Profile.COMPATIBLE
    selection: Selection = field(default_factory=Selection)
    workers: int = field(default_factory=default_workers)
    """Worker processes; 0: everything happens in this process."""
    limit_factor: int = 1
    """What the limits on what one message or key file may cost are multiplied by."""
    dry_run: bool = False
    partial: bool = False
    """Encrypt although decrypting did not finish, or less than half of the job is found."""
    accept_fingerprints: frozenset[str] = frozenset()
    """Checks of new certificates that the person overrode: the SHA-256 fingerprint for the
    one check that fails, with ``:`` and its name where several do."""
    verify_keys: KeySpecification | None = None
    """New private keys that replaced messages are opened with; None: none is opened."""
    deep: bool = False
    """Read every message and open every replaced one, whatever was known before."""
    retire: KeySpecification | None = None
    """Old keys to answer for, whether the mail of the mailbox may need them."""
    give_up: Path | None = None
    """Verify: file of messages that are to count against a key of ``retire`` no more."""
    accept_unproven: bool = False
    """Take a structural proof where one by opening is asked for."""
    abandon: bool = False
    """Purge what belongs to messages that were not replaced, too."""
    new_keys: KeySpecification | None = None
    """What a scan compares the keys with: those that are there after the move."""
    released: frozenset[str] = frozenset()
    """Content digests of encrypted parts that a person takes although nothing
    proves that they are mail."""
    in_place: bool = False
    """Decrypt: put the plaintext into the mailbox, too."""
    nested: bool = False
    """Decrypt in place: also of what is encrypted in a part, or inside of a plaintext."""
    wrapped: bool = False
    """Decrypt in place: also of what stands beside a mailing list's footer."""
    to_stage: str = "original"
    """Rollback: what is put back: ``original``, or ``decrypted`` for the plaintext
    of a job in place."""
    accept_lost: bool = False
    """Encrypt: the user deleted what is lost; it leaves the job."""
    restore_lost: bool = False
    """Encrypt: put what is lost into the folder ``Recovered``."""
    seal_to: tuple[Path, ...] = ()
    """Decrypt: certificates that checkpoints are sealed to; none: they are plain."""
    seal_keys: KeySpecification | None = None
    """Private keys that sealed checkpoints are opened with."""
    owners: tuple[str, ...] = ()
    """Mail addresses of one person, one of which a new certificate must name; none:
    nobody asks."""
    acknowledge: Path | None = None
    """File of messages that a person knows cannot be done; None: as the job log has it."""
    part_selection: PartSelection = field(default_factory=PartSelection)
    """Scan, decrypt and rewrap: which encrypted parts are taken of those that open."""
    shared: bool = False
    """Decrypt and rewrap: several people read the mailbox, so that a part goes only to those
    whose key opens it."""
    retry: bool = False
    """Work on nothing but what an earlier run could not do."""
    include_clear: bool = False
    """Encrypt: mail that never was encrypted, too; a job may begin so."""
    restart_phase: bool = False
    """Encrypt: take other recipients than the first replacement fixed, for all of the job."""
    max_failures: int = 20
    """Percent of a folder's messages that may fail before the folder is left."""
    or_reencrypt: bool = False
    """Rewrap: encrypt anew what must not stay as it is encrypted."""
    reason: Reason = Reason.SUPERSEDED
    """Rewrap: what became of the old key."""
    restore_subject: bool = False
    """Encrypt, and decrypt in place: show the protected Subject outside, too."""


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
