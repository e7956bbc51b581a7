"""The new certificates of a run: loaded, checked, told, and what they leave out.

Files hold names and addresses; the job log takes fingerprints only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sectool import cms
from sectool.errors import CertificateUnusable
from sectool.joblog import JobLog
from sectool.jobs.session.spec import NewCertificates
from sectool.keys import Ask, KeySpecification, NewRecipient, load_new_recipients, recipient_of
from sectool.outcome import RecipientKey
from sectool.progress import Progress
from sectool.summary import EncryptingSummary, NewCertificate

RECORD = "certificates"
"""Value of the job that says what was encrypted to, and which checks were overridden."""


def load_certificates(
    new: NewCertificates, passphrases: KeySpecification | None, progress: Progress, ask: Ask | None
) -> tuple[NewRecipient, ...]:
    """The new certificates of a specification, each fit for its profile.

    Args:
        new: names them.
        passphrases: where passphrases of their files come from; None: nowhere.
        progress: told what a person overrode.
        ask: for passphrases that nothing else gives.

    Raises:
        CertificateUnusable: says which one, and which check failed.
    """
    recipients = load_new_recipients(
        new.new_certificates,
        datetime.now(UTC),
        accept_fingerprints=new.accept_fingerprints,
        owners=new.owners,
        passphrases=passphrases,
        ask=ask,
    )
    for recipient in recipients:
        _check_profile(new.profile, recipient)
        for fault in recipient.overridden:
            warn_overridden(progress, recipient, fault)
    if new.profile is cms.Profile.ALSO_CLASSIC and all(map(_is_classic, recipients)):
        raise CertificateUnusable(
            "none of the new certificates has a post-quantum key",
            hint="leave --also-classic out: --profile modern takes them",
        )
    return recipients


def warn_overridden(progress: Progress, recipient: NewRecipient, fault: str) -> None:
    """Tells that a certificate is taken although a check fails."""
    progress.warn(f"the certificate of {recipient.subject} {fault}; accepted as it is")


def _is_classic(recipient: NewRecipient) -> bool:
    kind = cms.Recipient(recipient.certificate).recipient_kind
    return kind is not cms.RecipientKind.KEM


def _check_profile(profile: cms.Profile, recipient: NewRecipient) -> None:
    """Refuses a key that the profile does not take, before the job fixes its options."""
    try:
        cms.Recipient(recipient.certificate).check(profile)
    except CertificateUnusable as error:
        raise CertificateUnusable(f"{recipient.path}: {error.message}", hint=error.hint) from error


def describe_certificates(
    summary: EncryptingSummary,
    recipients: Sequence[NewRecipient],
    owners: Sequence[str],
    profile: cms.Profile,
) -> None:
    """Puts into a summary what a person needs to see of the new certificates."""
    summary.owner_checked = is_owner_checked(recipients, owners)
    summary.new_certificates = [
        NewCertificate(
            file=str(recipient.path),
            subject=recipient.subject,
            addresses=recipient.addresses,
            fingerprint=recipient.fingerprint,
            key_kind=recipient.key_kind,
            not_before=recipient.not_before,
            not_after=recipient.not_after,
            overridden=recipient.overridden,
            is_in_transition=recipient.is_in_transition,
            weakens=not profile.is_of_one_kind and _is_classic(recipient),
        )
        for recipient in recipients
    ]


def is_owner_checked(recipients: Iterable[NewRecipient], owners: Sequence[str]) -> bool:
    """Whether an owner was asked for, and a certificate names one of the addresses."""
    return any(recipient.names(*owners) for recipient in recipients)


def record_certificates(
    log: JobLog, recipients: Sequence[NewRecipient], owners: Sequence[str]
) -> None:
    """Notes in the job log what is encrypted to; inside a group."""
    record = {
        "to": [
            {"fingerprint": each.fingerprint, "overridden": list(each.overridden_checks)}
            for each in recipients
        ],
        "owner_checked": is_owner_checked(recipients, owners),
    }
    log.set_value(RECORD, json.dumps(record, sort_keys=True))


def names_of(recipients: Iterable[NewRecipient]) -> frozenset[RecipientKey]:
    """Every way in which an envelope may name one of the certificates."""
    return frozenset(key for recipient in recipients for key in _names_of(recipient))


def _names_of(recipient: NewRecipient) -> Iterable[RecipientKey]:
    yield recipient_of(cms.Recipient(recipient.certificate).identifier)
    for identifier in recipient.subject_key_identifiers:
        yield RecipientKey("", "", identifier)
