"""Whether the new certificates are of the person whose mail it is, and none an old one by mistake.

``decrypt`` and ``rewrap`` note in the job which certificates opened the mail, and
``encrypt``, which has no old key, holds the new ones against that. The job log knows
no address: of each it has a digest that is keyed with the name of the job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, field, replace
from datetime import UTC, datetime

from sectool import cms
from sectool.errors import CertificateUnusable
from sectool.joblog import blotted
from sectool.jobs.session.job import Job
from sectool.jobs.session.new_certificates import warn_overridden
from sectool.jobs.session.owner import OWNERS
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import NewCertificates, Operation
from sectool.jobs.work.addresses import address_digest, address_digests, addresses_in_headers
from sectool.keys import (
    Check,
    Fault,
    KeyHistory,
    NewRecipient,
    all_addresses,
    is_fit,
    override,
    override_all,
    public_key_identity,
)
from sectool.outcome import CertificateFingerprint
from sectool.progress import Progress
from sectool.values import dataclass

RECORD = "key_history"
"""Value of the job that says whose certificates its mail was opened with."""

_SHOWN = 5
"""Certificates that are told one by one."""


@dataclass(frozen=True, slots=True)
class OldCertificate:
    """A certificate of the key history, as a job may know it."""

    fingerprint: CertificateFingerprint
    """SHA-256, lower-case hexadecimal."""
    key: str
    """SHA-256 of what is equal for all certificates of its key."""
    addresses: tuple[str, ...]
    """A digest of each mail address it names."""
    not_before: str
    """ISO 8601."""
    not_after: str
    """ISO 8601."""
    is_for_mail: bool
    """Whether mail may be encrypted to it while it is in date."""
    issuer: str
    """RFC 4514 string, without addresses."""
    serial_number: str
    """Lower-case hexadecimal."""
    file: str
    """Name of the file its key was read from, without addresses."""

    @property
    def begin(self) -> datetime:
        """When it became valid."""
        return datetime.fromisoformat(self.not_before)

    def is_fit(self, now: datetime) -> bool:
        """Whether mail may be encrypted to it."""
        return self.is_for_mail and self.begin <= now <= datetime.fromisoformat(self.not_after)


@dataclass(frozen=True, slots=True)
class OldSide:
    """Whose the mail was, as far as a run knows."""

    certificates: tuple[OldCertificate, ...]
    clear: tuple[str, ...] = ()
    """The mail addresses, where the key history is at hand."""
    keys: frozenset[str] = field(default_factory=frozenset)
    """Digests of all keys of the history, also of those without a certificate."""

    @property
    def addresses(self) -> frozenset[str]:
        """Digests of all addresses."""
        return frozenset(digest for one in self.certificates for digest in one.addresses)

    def has(self, recipient: NewRecipient) -> bool:
        """Whether a certificate is of the key history, or of one of its keys."""
        return hashlib.sha256(recipient.public_key_identity).hexdigest() in self.keys


def old_side(job: Job, keys: KeyHistory) -> OldSide:
    """Whose the mail is by the key history of this run, and by those noted before.

    Args:
        job: in a dry run a rehearsal.
        keys: the key history.
    """
    before = read_history(job) or OldSide(())
    found = tuple(_old_certificates(job, keys))
    named = {one.fingerprint for one in found}
    kept = (one for one in before.certificates if one.fingerprint not in named)
    return OldSide(
        tuple(sorted((*kept, *found), key=lambda one: (one.not_before, one.fingerprint))),
        tuple(dict.fromkeys(_addresses(keys))),
        before.keys | {_key_digest(key.public_key_info) for key in keys.keys},
    )


def note_history(job: Job, side: OldSide) -> None:
    """Notes in the job log what ``encrypt`` is to hold new certificates against."""
    record = {
        "certificates": [asdict(one) for one in side.certificates],
        "keys": sorted(side.keys),
    }
    text = json.dumps(record, sort_keys=True)
    if job.log.value(RECORD) != text:
        with job.log.group():
            job.log.set_value(RECORD, text)


def read_history(job: Job) -> OldSide | None:
    """What is noted of the key history; None: by an older version, which noted nothing."""
    text = job.log.value(RECORD)
    if text is None:
        return None
    record = json.loads(text)
    certificates = (
        OldCertificate(**{**one, "addresses": tuple(one["addresses"])})
        for one in record["certificates"]
    )
    return OldSide(tuple(certificates), keys=frozenset(record["keys"]))


def _old_certificates(job: Job, keys: KeyHistory) -> Iterator[OldCertificate]:
    entries = {entry.fingerprint: entry for entry in keys.entries if entry.has_certificate}
    for key in keys.keys:
        for held in key.certificates:
            if held.parsed is None or held.validity is None:
                continue
            entry = entries[held.fingerprint]
            named = address_digests(job.name, cms.certificate_addresses(held.parsed))
            yield OldCertificate(
                fingerprint=held.fingerprint,
                key=_key_digest(held.public_key_info),
                addresses=tuple(sorted(named)),
                not_before=held.validity[0].isoformat(),
                not_after=held.validity[1].isoformat(),
                is_for_mail=is_fit(held.parsed, held.validity[0]),
                issuer=blotted(entry.issuer),
                serial_number=entry.serial_number,
                file=blotted(entry.source.name),
            )


def _key_digest(public_key_info: bytes) -> str:
    return hashlib.sha256(public_key_identity(public_key_info)).hexdigest()


def _addresses(keys: KeyHistory) -> Iterator[str]:
    for key in keys.keys:
        for held in key.certificates:
            if held.parsed is not None:
                yield from cms.certificate_addresses(held.parsed)


class Succession:
    """Holds that the new certificates follow those that the mail was encrypted to.

    Args:
        on: the job, and the mailbox in which the old addresses are looked for.
        new: what a person said of the new certificates.
        old: what is known of the key history; None: nothing is.
        progress: told what was not or need not be asked.
    """

    def __init__(
        self, on: JobSession, new: NewCertificates, old: OldSide | None, progress: Progress
    ) -> None:
        self._new = new
        self._is_rewrap = on.operation is Operation.REWRAP
        self._job = on.job
        self._mailbox = on.mailbox
        self._old = old
        self._progress = progress

    def check(self, recipients: tuple[NewRecipient, ...]) -> tuple[NewRecipient, ...]:
        """The certificates, with what was overridden, and which is old and beside a newer one.

        Raises:
            CertificateUnusable: one is old and a newer is at hand, none names an address, or
                none is of the person whose mail it was.
        """
        old = self._old
        if old is None:
            if self._job.log.phase(Operation.DECRYPT) is not None:
                self._warn_unasked("an older version decrypted this, and noted not whose it was")
            return recipients
        now = datetime.now(UTC)
        checked = tuple(self._check_newest(one, recipients, old, now) for one in recipients)
        checked = self._check_person(checked, old)
        for before, after in zip(recipients, checked, strict=True):
            if after.is_in_transition:
                self._progress.warn(
                    f"{after.path} is an old certificate, beside a newer one: a transition"
                )
            for fault in after.overridden[len(before.overridden) :]:
                warn_overridden(self._progress, after, fault)
        return checked

    def _warn_unasked(self, why: str) -> None:
        self._progress.warn(
            why, hint="look at the new certificate, or check it with --owner ADDRESS"
        )

    def _digests(self, recipient: NewRecipient) -> frozenset[str]:
        return address_digests(self._job.name, recipient.addresses)

    def _check_newest(
        self,
        recipient: NewRecipient,
        recipients: Sequence[NewRecipient],
        old: OldSide,
        now: datetime,
    ) -> NewRecipient:
        addresses = self._digests(recipient)
        if not old.has(recipient):
            return recipient
        if any(
            other.not_before > recipient.not_before and self._digests(other) & addresses
            for other in recipients
        ):
            return replace(recipient, is_in_transition=True)
        newer = [
            one
            for one in old.certificates
            if one.begin > recipient.not_before
            and one.is_fit(now)
            and not addresses.isdisjoint(one.addresses)
        ]
        if not newer:
            return recipient
        newest = max(newer, key=lambda one: one.begin)
        fault = Fault(
            Check.NEWEST,
            f"is the old certificate of {recipient.not_before.year}; a newer one is at hand:"
            f" {newest.file} (serial {newest.serial_number}, of {newest.begin:%Y-%m-%d})",
        )
        return override(recipient, [fault], self._new.accept_fingerprints)

    def _check_person(
        self, recipients: tuple[NewRecipient, ...], old: OldSide
    ) -> tuple[NewRecipient, ...]:
        # With decrypt a person may have said under which names the owner goes.
        known = old.addresses | frozenset((self._job.log.value(OWNERS) or "").split())
        if any(
            old.has(one)
            or one.names(*self._new.owners)
            or Check.OWNER in one.overridden_checks  # a person answered the same question
            or self._digests(one) & known
            for one in recipients
        ):
            return recipients
        if not old.certificates:
            self._warn_unasked("no old key has a certificate that says whose mail this was")
            return recipients
        if not any(one.addresses for one in recipients):
            fault = Fault(Check.ADDRESS, "names no mail address, so that nothing says whose it is")
            which = ", ".join(f"{one.path} ({one.subject})" for one in recipients)
            accepted = self._new.accept_fingerprints
            return override_all(recipients, fault, accepted, f"{which} {fault.text}")
        raise self._of_another(recipients, old)

    def _of_another(self, recipients: Sequence[NewRecipient], old: OldSide) -> CertificateUnusable:
        told = old.clear or tuple(self._recovered(old))
        owners = [next(one.addresses[0] for one in recipients if one.addresses)]
        if self._is_rewrap:
            owners[:0] = told  # its old keys are of an owner as well
        return CertificateUnusable(
            "no new certificate is of the person whose mail this was."
            f" Old: {', '.join(told) or _told(old.certificates)}."
            f" New: {all_addresses(recipients)}",
            hint="if this is the same person, add "
            + " ".join(f"--owner {address}" for address in owners),
        )

    def _recovered(self, old: OldSide) -> Iterator[str]:
        """The old addresses, of which the log has digests, as the mail itself has them."""
        for address in addresses_in_headers(self._mailbox):
            if address_digest(self._job.name, address) in old.addresses:
                yield address


def _told(certificates: Iterable[OldCertificate]) -> str:
    """Old certificates whose addresses nobody knows any more."""
    texts = [
        f"certificate {one.serial_number} of {one.issuer} ({one.file},"
        f" {'with' if one.addresses else 'without'} an address)"
        for one in certificates
    ]
    more = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
