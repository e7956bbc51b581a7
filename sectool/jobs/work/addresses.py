"""Mail addresses as the job log may know them: by digests that tell nobody which they are."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from sectool import cms
from sectool.errors import MessageError
from sectool.mailbox import Mailbox

_HEADERS = 500
"""Messages that are looked into for addresses."""

_HEADER_SIZE = 64 * 1024
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_ADDRESS = re.compile(rb"[^\s<>()\[\],;:\"]{1,64}@[^\s<>()\[\],;:\"]{1,255}")


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


def addresses_in_headers(mailbox: Mailbox) -> Iterator[str]:
    """What looks like a mail address in the headers of the first messages, each once.

    Args:
        mailbox: whose owner most of its mail names.
    """
    seen: set[str] = set()
    listings = chain.from_iterable(map(mailbox.walk, mailbox.folders()))
    for listing in islice(listings, _HEADERS):
        try:
            head = mailbox.head(listing.ref, _HEADER_SIZE).raw
            header = _BLANK_LINE.split(head, 1)[0]
        except (MessageError, OSError):
            continue
        for found in _ADDRESS.findall(header):
            address = found.decode("utf-8", "replace")
            key = cms.comparable_address(address)
            if key not in seen:
                seen.add(key)
                yield address
