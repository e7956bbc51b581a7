"""Whether what reads like a plaintext copy of a job has the header of the original as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sectool import smime
from sectool.errors import CheckpointDamaged, LimitExceeded
from sectool.joblog import Examination
from sectool.jobs.session.job import Job
from sectool.outcome import MessageDigest


def has_header_of_original(job: Job, examination: Examination) -> Callable[[MessageDigest], bool]:
    """Tells by the digest of an original whether a mail has all fields of its header.

    A server adds fields to a mail. Where one of the original is missing or says something else,
    somebody may have written this one, and what it is must not be lost.

    Args:
        job: that kept the original.
        examination: of the mail.
    """

    def is_own(digest: MessageDigest) -> bool:
        if not digest or not examination.header_words:
            return False
        try:
            wanted = smime.header_words(job.originals.open(digest))
        except (CheckpointDamaged, LimitExceeded, OSError):
            return False
        return wanted <= Counter(examination.header_words)

    return is_own
