"""Sealed checkpoints: to whom they are sealed, fixed by the first, and whether the keys are there.

All of it is asked before anything is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sectool import cms
from sectool.checkpoint import profile_for
from sectool.errors import CertificateUnusable, UsageError
from sectool.jobs.session.job import Job
from sectool.jobs.session.new_certificates import warn_overridden
from sectool.jobs.session.spec import Decrypt
from sectool.jobs.work.checkpoint_access import SEALED_TO, fixed_recipients
from sectool.keys import (
    Ask,
    KeyHistory,
    NewRecipient,
    close_sessions,
    load_new_recipients,
)
from sectool.progress import Progress

SAMPLE = 16
"""Sealed checkpoints that are tried, until one tells whether the keys fit."""


def load_transport_certificates(
    spec: Decrypt, progress: Progress, ask: Ask | None
) -> tuple[NewRecipient, ...]:
    """The certificates of ``--seal-to``, checked like those that mail is encrypted to.

    Raises:
        CertificateUnusable: says which one, and which check failed.
    """
    if not spec.seal_to:
        return ()
    recipients = load_new_recipients(
        spec.seal_to,
        datetime.now(UTC),
        accept_fingerprints=spec.accept_fingerprints,
        passphrases=spec.keys,
        ask=ask,
    )
    for recipient in recipients:
        _check_alone(recipient)
        for fault in recipient.overridden:
            warn_overridden(progress, recipient, fault)
    profile_for([cms.Recipient(recipient.certificate) for recipient in recipients])
    return recipients


def _check_alone(recipient: NewRecipient) -> None:
    try:
        profile_for([cms.Recipient(recipient.certificate)])
    except CertificateUnusable as error:
        raise CertificateUnusable(
            f"{recipient.path}: {error.message}",
            hint="--seal-to takes RSA, EC, X25519 and ML-KEM certificates",
        ) from error


def keep_sealed(job: Job, recipients: Sequence[NewRecipient]) -> Job:
    """The job, writing its checkpoints for these certificates; plain without any.

    Raises:
        UsageError: its checkpoints are kept otherwise already.
    """
    asked = tuple(sorted(recipient.fingerprint for recipient in recipients))
    fixed = fixed_recipients(job.log)
    if fixed is not None and fixed != asked:
        do = "give the same --seal-to as before" if fixed else "leave --seal-to out"
        raise UsageError(
            f"this job's checkpoints are {_told(fixed)}, not {_told(asked)}",
            hint=f"{do}, or begin another job with another --job",
        )
    place = replace(job.place, sealed_to=asked, recipients=tuple(recipients))
    return job.keeping(place)


def fix_recipients(job: Job) -> None:
    """Before the first checkpoint is written: all others of the job are kept like it."""
    if job.log.value(SEALED_TO) is None:
        with job.log.group():
            job.log.set_value(SEALED_TO, " ".join(job.place.sealed_to))


def _told(fingerprints: Sequence[str]) -> str:
    return f"sealed to {', '.join(fingerprints)}" if fingerprints else "plain"


def open_sealed(job: Job, keys: KeyHistory | None) -> Job:
    """The job, opening its sealed checkpoints with these keys; a plain one as it is.

    Raises:
        UsageError: there are sealed ones, and the keys do not open them.
    """
    if not job.place.sealed_to:
        return job
    if keys is None:
        if not _any_to_open(job):
            return job
        raise UsageError(
            f"this job's checkpoints are {_told(job.place.sealed_to)}",
            hint="give the private key of that certificate with --seal-keys",
        )
    job = job.keeping(replace(job.place, keys=keys.material))
    try:
        fits = _fits(job)
    finally:
        # A token may have one session only, and the workers are to have it.
        close_sessions()
    if not fits:
        raise UsageError(
            f"no key of --seal-keys opens this job's checkpoints, {_told(job.place.sealed_to)}",
            hint="give the private key of the certificate with that SHA-256 fingerprint",
        )
    return job


def _any_to_open(job: Job) -> bool:
    """Whether there are, or in this run will be, sealed checkpoints."""
    return bool(job.place.recipients or job.log.messages.parts.sealed(1))


def _fits(job: Job) -> bool:
    files = job.place.files
    if job.place.recipients and files is not None:
        return files.open_their_own()
    answers = (
        job.checkpoints.is_for_keys(digest) for digest in job.log.messages.parts.sealed(SAMPLE)
    )
    # What is damaged cannot tell; where all are, each message will say so itself.
    return next((answer for answer in answers if answer is not None), True)
