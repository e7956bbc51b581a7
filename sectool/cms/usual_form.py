"""Reads an envelope as nearly all are written, at once from memory (RFC 5652, RFC 5083).

Lengths are definite, keys are transported by RSA, and nothing stands beside what must. Whatever
is unusual, be it damaged or not, is told by nothing, and is read by the reader of all CMS.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from sectool.asn1.octets import quick_element, read_oid
from sectool.cms import oids
from sectool.cms.envelope import FAR, Envelope
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.limits import Limits
from sectool.cms.recipients import (
    RecipientInfo,
    RecipientTable,
    quick_algorithm,
    quick_key_transport,
)
from sectool.errors import MalformedMessage
from sectool.outcome import ContentDigest

_ENVELOPES = frozenset({oids.ENVELOPED_DATA, oids.AUTH_ENVELOPED_DATA})


class UsualHead(NamedTuple):
    """What stands in an envelope before its encrypted content; places are offsets."""

    content_type: str
    """Of the outer ContentInfo, dotted."""
    size: int
    """Bytes of the outer element as encoded."""
    recipients: tuple[RecipientInfo, ...]
    encrypted_content_type: str
    algorithm: AlgorithmIdentifier
    content_start: int
    content_end: int
    info_end: int
    """Of the encryptedContentInfo."""
    end: int
    """Of the envelope."""


def read_usual_head(head: bytes, limits: Limits) -> UsualHead | None:
    """Reads an envelope up to its encrypted content.

    Args:
        head: its first bytes, or all.
        limits: bounds on hostile input.
    """
    try:
        return _read_head(head, limits)
    except (IndexError, ValueError, MalformedMessage):
        return None


def read_usual_envelope(raw: bytes, limits: Limits) -> Envelope | None:
    """The same of a whole envelope, as ``read_envelope`` reads it and holds its content.

    Args:
        raw: begins with it.
        limits: bounds on hostile input.
    """
    try:
        head = _read_head(raw, limits)
        attributes, mac = _read_behind_content(raw, head, limits)
    except (IndexError, ValueError, MalformedMessage):
        return None
    if head.size > len(raw) or len(raw) > limits.recipient_infos_size:
        return None
    return Envelope(
        content_type=head.content_type,
        recipients=RecipientTable(head.recipients, len(head.recipients)),
        encrypted_content_type=head.encrypted_content_type,
        content_encryption_algorithm=head.algorithm,
        encrypted_content_size=head.content_end - head.content_start,
        authenticated_attributes=attributes,
        mac=mac,
        digest=ContentDigest(hashlib.sha256(memoryview(raw)[: head.size]).hexdigest()),
        size=head.size,
        trailing_bytes=len(raw) - head.size,
        encrypted_content=raw[head.content_start : head.content_end],
    )


def _read_head(head: bytes, limits: Limits) -> UsualHead:
    at, size = quick_element(head, 0, 0x30, FAR)
    content_type, at = _read_oid(head, at, size, limits)
    if content_type not in _ENVELOPES:
        raise ValueError
    at, end = quick_element(head, at, 0xA0, size, is_last=True)
    at, end = quick_element(head, at, 0x30, end, is_last=True)
    begin, at = quick_element(head, at, 0x02, end)  # version
    recipients_at, info_at = quick_element(head, at, 0x31, end)
    recipients = _read_recipients(head, recipients_at, info_at, limits)
    info_at, info_end = quick_element(head, info_at, 0x30, end)
    encrypted_content_type, algorithm_at = _read_oid(head, info_at, info_end, limits)
    algorithm_at, content_at = quick_element(head, algorithm_at, 0x30, info_end)
    if at - begin > limits.identifier_size or content_at - algorithm_at > limits.parameters_size:
        raise ValueError
    algorithm = quick_algorithm(head[algorithm_at:content_at])
    start, content_end = quick_element(head, content_at, 0x80, info_end)
    return UsualHead(
        content_type,
        size,
        recipients,
        encrypted_content_type,
        algorithm,
        start,
        content_end,
        info_end,
        end,
    )


def _read_recipients(head: bytes, at: int, after: int, limits: Limits) -> tuple[RecipientInfo, ...]:
    recipients: list[RecipientInfo] = []
    while at < after:
        begin, (_, at) = at, quick_element(head, at, 0x30, after)
        found = quick_key_transport(head[begin:at], limits)
        if found is None or len(recipients) >= limits.recipients:
            raise ValueError
        recipients.append(found)
    return tuple(recipients)


def _read_behind_content(raw: bytes, head: UsualHead, limits: Limits) -> tuple[bytes, bytes]:
    """The authenticated attributes and the MAC, behind which nothing follows."""
    at, attributes, mac = head.info_end, b"", b""
    if head.content_type == oids.AUTH_ENVELOPED_DATA:
        if raw[at] == 0xA1:
            begin, (_, at) = at, quick_element(raw, at, 0xA1, head.end)
            attributes = raw[begin:at]
        begin, at = quick_element(raw, at, 0x04, head.end)
        mac = raw[begin:at]
    is_small = len(attributes) <= limits.attributes_size and len(mac) <= limits.mac_size
    if not is_small or at != head.end or head.content_end != head.info_end:
        raise ValueError
    return attributes, mac


def _read_oid(head: bytes, at: int, stop: int, limits: Limits) -> tuple[str, int]:
    begin, end = quick_element(head, at, 0x06, stop)
    if end - begin > limits.identifier_size:
        raise ValueError
    return read_oid(head[begin:end]), end
