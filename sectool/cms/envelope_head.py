"""Reads the first bytes of an envelope, which name its recipients and its algorithm (RFC 5652)."""

from __future__ import annotations

import io

from sectool.asn1 import tags
from sectool.cms import oids
from sectool.cms.envelope import (
    enter_encrypted_content_info,
    enter_envelope,
    read_originator_info,
)
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import read_recipient_infos
from sectool.cms.seams import RecipientIdentifier
from sectool.cms.usual_form import read_usual_head
from sectool.errors import MalformedMessage
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class EnvelopeHead:
    """What the first bytes of an envelope say, whatever follows them."""

    size: int
    """Bytes of the outer element as encoded."""
    recipients: tuple[RecipientIdentifier | None, ...]
    """All, in the order of the message; None: one that no certificate names."""
    content_encryption_algorithm: str
    """Lower-case name such as ``aes-256-cbc``, or the dotted identifier."""


def read_envelope_head(head: bytes, limits: Limits = DEFAULT_LIMITS) -> EnvelopeHead | None:
    """Reads an envelope of definite length up to its encrypted content, as ``read_envelope`` does.

    Args:
        head: its first bytes.
        limits: bounds on hostile input.

    Returns:
        None where it is none of which ``head`` holds so much, or a bound was reached.
    """
    return quick_envelope_head(head, limits) or read_envelope_head_properly(head, limits)


def read_envelope_head_properly(head: bytes, limits: Limits) -> EnvelopeHead | None:
    """The same by the reader of all CMS."""
    reader = CMSReader(io.BytesIO(head), limits)
    try:
        header = reader.peek()
        if header is None or header.length is None:
            return None
        enter_envelope(reader)
        recipients = list(read_recipient_infos(reader, read_originator_info(reader)))
        _, algorithm = enter_encrypted_content_info(reader)
        is_told = len(recipients) <= limits.recipients and all(one.is_named for one in recipients)
        if not (is_told and reader.at(tags.context(0))):
            return None
    except MalformedMessage:
        return None
    return EnvelopeHead(
        size=len(header.encoded) + header.length,
        recipients=tuple(one.identifier for one in recipients),
        content_encryption_algorithm=oids.content_encryption_name(algorithm.oid),
    )


def quick_envelope_head(head: bytes, limits: Limits) -> EnvelopeHead | None:
    """As ``read_envelope_head`` of an envelope of the usual form."""
    found = read_usual_head(head, limits)
    if found is None:
        return None
    recipients = tuple(one.identifier for one in found.recipients)
    name = oids.content_encryption_name(found.algorithm.oid)
    return EnvelopeHead(found.size, recipients, name)
