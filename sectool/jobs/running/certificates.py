"""The new certificates of a run: loaded, checked, told, and what they leave out.

Files hold names and addresses; the job log takes fingerprints only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sectool import cms
from sectool.errors import CertificateUnusable
from sectool.joblog import JobLog, without_address
from sectool.jobs.running.spec import JobSpec
from sectool.keys import Ask, NewRecipient, load_new_recipients
from sectool.outcome import NewCertificate, RecipientKey, Summary
from sectool.progress import Progress

RECORD = "certificates"
"""Value of the job that says what was encrypted to, and which checks were overridden."""


def load_certificates(
    spec: JobSpec, progress: Progress, ask: Ask | None
) -> tuple[NewRecipient, ...]:
    """The new certificates of a specification, each fit for its profile.

    Raises:
        CertificateUnusable: says which one, and which check failed.
    """
    recipients = load_new_recipients(
        spec.new_certificates,
        datetime.now(UTC),
        accept_fingerprints=spec.accept_fingerprints,
        owners=spec.owners,
        passphrases=spec.keys,
        ask=ask,
    )
    for recipient in recipients:
        _check_profile(spec.profile, recipient)
        for fault in recipient.overridden:
            progress.warn(f"the certificate of {recipient.subject} {fault}; accepted as it is")
    if spec.profile is cms.Profile.ALSO_CLASSIC and all(map(_is_classic, recipients)):
        raise CertificateUnusable(
            "none of the new certificates has a post-quantum key",
            hint="leave --also-classic out: --profile modern takes them",
        )
    return recipients


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
    summary: Summary,
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
            {"fingerprint": each.fingerprint, "overridden": len(each.overridden)}
            for each in recipients
        ],
        "owner_checked": is_owner_checked(recipients, owners),
    }
    log.set_value(RECORD, json.dumps(record, sort_keys=True))


def losing_access(
    log: JobLog, messages: Iterable[int], recipients: Sequence[NewRecipient]
) -> dict[RecipientKey, int]:
    """Who could read which messages with a key that is neither in the history nor a new one.

    In a shared mailbox these people would be shut out. In a mailbox of one person
    most of them are correspondents, who have copies of their own.

    Args:
        log: knows the recipients of the messages as they were found.
        messages: rows that are, or would be, encrypted to ``recipients``.
        recipients: the new ones.
    """
    covered = names_of(recipients)
    losing: dict[RecipientKey, int] = {}
    for message in messages:
        for key in log.messages.parts.strangers(message):
            if key not in covered:
                losing[key] = losing.get(key, 0) + 1
    return losing


def names_of(recipients: Iterable[NewRecipient]) -> frozenset[RecipientKey]:
    """Every way in which an envelope may name one of the certificates."""
    return frozenset(key for recipient in recipients for key in _names_of(recipient))


def _names_of(recipient: NewRecipient) -> Iterable[RecipientKey]:
    named = cms.RecipientDescription(
        cms.RecipientKind.KEY_TRANSPORT, cms.Recipient(recipient.certificate).identifier, ""
    )
    yield without_address(RecipientKey(named.issuer, named.serial_number, ""))
    for identifier in recipient.subject_key_identifiers:
        yield RecipientKey("", "", identifier)
