"""Reads the first bytes of an envelope, which name its recipients and its algorithm (RFC 5652)."""

from __future__ import annotations

import io
from dataclasses import dataclass

from sectool.asn1 import tags
from sectool.asn1.octets import read_oid
from sectool.cms import oids
from sectool.cms.envelope import (
    enter_encrypted_content_info,
    enter_envelope,
    read_originator_info,
)
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import quick_element, quick_key_transport, read_recipient_infos
from sectool.cms.seams import RecipientIdentifier
from sectool.errors import MalformedMessage

_FAR = 1 << 32
_ENVELOPES = frozenset({oids.ENVELOPED_DATA, oids.AUTH_ENVELOPED_DATA})


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
    """As ``read_envelope_head`` of an envelope as nearly all are written, in a third of the time.

    Args:
        head: its first bytes.
        limits: bounds on hostile input.

    Returns:
        None where anything is unusual, be it damaged or not, so that it is to be read properly.
    """
    try:
        at, size = quick_element(head, 0, 0x30, _FAR)
        content_type, at = _quick_oid(head, at, size, limits)
        at, end = quick_element(head, at, 0xA0, size, is_last=True)
        at, end = quick_element(head, at, 0x30, end, is_last=True)
        begin, at = quick_element(head, at, 0x02, end)  # version
        is_small = at - begin <= limits.identifier_size
        at, after = quick_element(head, at, 0x31, end)
        recipients: list[RecipientIdentifier | None] = []
        while at < after:
            begin, (_, at) = at, quick_element(head, at, 0x30, after)
            found = quick_key_transport(head[begin:at], limits)
            if found is None or len(recipients) >= limits.recipients:
                return None
            recipients.append(found.identifier)
        at, end = quick_element(head, after, 0x30, end)
        _, at = _quick_oid(head, at, end, limits)
        at, after = quick_element(head, at, 0x30, end)
        algorithm, at = _quick_oid(head, at, after, limits)
        if at < after:
            quick_element(head, at, head[at], after, is_last=True)
        is_small &= after - at <= limits.parameters_size
        quick_element(head, after, 0x80, end)  # encryptedContent
    except (IndexError, ValueError, MalformedMessage):
        return None
    if content_type not in _ENVELOPES or not is_small:
        return None
    return EnvelopeHead(size, tuple(recipients), oids.content_encryption_name(algorithm))


def _quick_oid(head: bytes, at: int, stop: int, limits: Limits) -> tuple[str, int]:
    begin, end = quick_element(head, at, 0x06, stop)
    if end - begin > limits.identifier_size:
        raise ValueError
    return read_oid(head[begin:end]), end
