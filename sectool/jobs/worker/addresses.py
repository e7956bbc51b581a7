"""Mail addresses as the job log may know them: by digests that tell nobody which they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from sectool import cms


def address_digest(job: str, address: str) -> str:
    """A mail address, however it is written, as one job knows it.

    Args:
        job: unique name of the job, without which nobody can try addresses on it.
        address: as a certificate names it.

    Returns:
        HMAC-SHA-256 (RFC 2104), lower-case hexadecimal.
    """
    text = cms.comparable_address(address).encode("utf-8", "surrogatepass")
    return hmac.new(job.encode(), text, hashlib.sha256).hexdigest()


def address_digests(job: str, addresses: Iterable[str]) -> frozenset[str]:
    """As ``address_digest``, of several."""
    return frozenset(address_digest(job, address) for address in addresses)
