"""Walks an EnvelopedData or AuthEnvelopedData once (RFC 5652 section 6.1, RFC 5083), streaming.

It reads structure and describes it; it decrypts nothing and judges no algorithm.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import BinaryIO, NamedTuple

from sectool.asn1 import der, tags
from sectool.asn1.octets import quick_element, read_oid
from sectool.cms import oids
from sectool.cms.ciphers import SealedContent
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    read_algorithm_identifier,
)
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import (
    RecipientFilter,
    RecipientTable,
    TableMaker,
    read_recipient_infos,
)
from sectool.errors import MalformedMessage
from sectool.message import IN_MEMORY
from sectool.outcome import ContentDigest
from sectool.values import dataclass

_CONTENT_INFO = "ContentInfo"
_SEQUENCE = tags.SEQUENCE | tags.CONSTRUCTED
_CONTENT = tags.context(0) | tags.CONSTRUCTED
FAR = 1 << 32
"""Further than what lies in memory goes."""
ENCRYPTED_CONTENT_INFO = "encryptedContentInfo"
WITH_RECIPIENTS = frozenset(
    {oids.ENVELOPED_DATA, oids.AUTH_ENVELOPED_DATA, oids.SIGNED_AND_ENVELOPED_DATA}
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """All of an envelope but its encrypted content."""

    content_type: str
    """Of the outer ContentInfo, dotted."""
    recipients: RecipientTable
    encrypted_content_type: str
    content_encryption_algorithm: AlgorithmIdentifier
    encrypted_content_size: int | None
    """None: the content is absent (detached)."""
    authenticated_attributes: bytes
    """authAttrs as encoded, under its own tag; empty where absent."""
    mac: bytes
    """Empty in EnvelopedData."""
    digest: ContentDigest
    """SHA-256 of the outer element as encoded, lower-case hexadecimal."""
    size: int
    """Bytes of the outer element as encoded."""
    trailing_bytes: int
    """Bytes of the source after it."""
    other_attributes: bytes | None = b""
    """unprotectedAttrs or unauthAttrs as encoded; None: they are there, and were passed over."""
    encrypted_content: bytes | None = field(default=None, repr=False)
    """Where it is small enough for memory, and was not received by anybody else."""

    def sealed_content(self, limits: Limits) -> SealedContent:
        """What takes part in opening the content.

        Raises:
            MalformedMessage: the content is absent, or the attributes are damaged.
        """
        if self.encrypted_content_size is None:
            raise MalformedMessage("the encrypted content is detached or absent")
        # RFC 5083 section 2.2: the DER encoding with the tag of a SET OF.
        additional_data = canonical_set(self.authenticated_attributes, limits)
        return SealedContent(self.encrypted_content_size, self.mac, additional_data)


def canonical_set(attributes: bytes, limits: Limits) -> bytes:
    """Attributes under whatever tag as the DER of a SET OF; empty where there are none."""
    if not attributes:
        return b""
    return der.canonical(bytes((tags.SET | tags.CONSTRUCTED,)) + attributes[1:], limits)


def identify(head: bytes) -> str:
    """The content type of a ContentInfo, from its first bytes (BER or DER).

    Args:
        head: of what may be one.

    Returns:
        The dotted object identifier; see ``content_type_name``.

    Raises:
        MalformedMessage: it is not a ContentInfo.
    """
    try:
        at, end = quick_element(head, 0, _SEQUENCE, FAR)
        begin, at = quick_element(head, at, tags.OBJECT_IDENTIFIER, end)
        quick_element(head, at, _CONTENT, end)
        return read_oid(head[begin:at])
    except (IndexError, ValueError, MalformedMessage):
        return _identify_properly(head)


def _identify_properly(head: bytes) -> str:
    reader = CMSReader(io.BytesIO(head))
    try:
        content_type = enter_content_info(reader)
        if reader.peek() is None or reader.at(tags.context(0)):
            return content_type
    except MalformedMessage as error:
        raise MalformedMessage(f"this is not a CMS ContentInfo: {error}") from error
    raise MalformedMessage("this is not a CMS ContentInfo")


def enter_content_info(reader: CMSReader) -> str:
    """Enters a ContentInfo (RFC 5652 section 3); answers its content type."""
    reader.enter(tags.SEQUENCE, _CONTENT_INFO)
    return reader.read_oid("contentType")


def read_envelope(
    stream: BinaryIO,
    limits: Limits = DEFAULT_LIMITS,
    *,
    receive: Callable[[bytes], object] | None = None,
    with_recipients: bool = True,
    wanted: RecipientFilter | None = None,
    with_attributes: bool = False,
    holds_content: bool = True,
) -> Envelope:
    """Walks a whole envelope and what follows it.

    Args:
        stream: positioned at the first byte, left at its end.
        limits: bounds on depth, size and count.
        receive: takes the encrypted content in blocks.
        with_recipients: False passes over the RecipientInfos unread.
        wanted: which recipients are kept whatever their place among others.
        with_attributes: keeps attributes that nothing authenticates, which else are passed
            over whatever their size.
        holds_content: whether it is held where nobody receives it and it is small.

    Raises:
        MalformedMessage: it is not a whole EnvelopedData or AuthEnvelopedData.
        LimitExceeded: a bound was reached.
    """
    reader = CMSReader(stream, limits)
    content_type = enter_envelope(reader)
    originator_info = read_originator_info(reader)
    maker = TableMaker(limits, wanted)
    if with_recipients:
        for recipient_info in read_recipient_infos(reader, originator_info):
            maker.add(recipient_info)
    else:
        reader.skip("recipientInfos")
    content = _read_encrypted_content_info(reader, receive, holds_content=holds_content)
    attributes = mac = b""
    if content_type == oids.AUTH_ENVELOPED_DATA:
        if reader.at(tags.context(1)):
            attributes = reader.read_raw("authAttrs", limits.attributes_size)
        mac = reader.read_octet_string("mac", limits.mac_size)
        others = _other_attributes(reader, 2, "unauthAttrs", keep=with_attributes)
    else:
        others = _other_attributes(reader, 1, "unprotectedAttrs", keep=with_attributes)
    for what in ("the envelope", "the content of the ContentInfo", _CONTENT_INFO):
        reader.leave(what)
    return Envelope(
        content_type=content_type,
        recipients=maker.table(),
        encrypted_content_type=content.content_type,
        content_encryption_algorithm=content.algorithm,
        encrypted_content_size=content.size,
        authenticated_attributes=attributes,
        mac=mac,
        digest=ContentDigest(reader.digest()),
        size=reader.offset,
        trailing_bytes=reader.count_trailing(),
        other_attributes=others,
        encrypted_content=content.held,
    )


def encrypted_content_blocks(stream: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """The encrypted content of an envelope that was read whole before, a block at a time.

    Args:
        stream: positioned at the first byte; what follows the content is not read.
        limits: bounds on depth, size and count.

    Raises:
        MalformedMessage: it is not such an envelope.
        LimitExceeded: a bound was reached.
    """
    reader = CMSReader(stream, limits)
    enter_envelope(reader)
    read_originator_info(reader)
    reader.skip("recipientInfos")
    enter_encrypted_content_info(reader)
    if reader.at(tags.context(0)):
        header = reader.take("encryptedContent")
        yield from reader.octet_string_blocks(header, "encryptedContent")


def enter_envelope(reader: CMSReader) -> str:
    """Reads up to what follows the version; answers the type of the envelope.

    Raises:
        MalformedMessage: it is not an EnvelopedData or AuthEnvelopedData.
    """
    content_type = enter_content_info(reader)
    if content_type not in {oids.ENVELOPED_DATA, oids.AUTH_ENVELOPED_DATA}:
        name = oids.content_type_name(content_type)
        raise MalformedMessage(f"the content is {name}, not an envelope")
    reader.enter(tags.context(0), "the content of the ContentInfo")
    reader.enter(tags.SEQUENCE, "the envelope")
    reader.read_integer("version")
    return content_type


def read_originator_info(reader: CMSReader) -> bytes:
    """OriginatorInfo as encoded, where it is of a size to keep; else empty.

    Hardly a message needs it, so that it must never be a reason not to open one.
    """
    tag, what = tags.context(0), "originatorInfo"
    header = reader.peek()
    limit = reader.limits.originator_info_size
    if header is None or header.tag != tag:
        return b""
    if header.length is None or header.length + len(header.encoded) > limit:
        reader.skip(what)
        return b""
    return reader.read_raw(what, limit)


class _EncryptedContentInfo(NamedTuple):
    content_type: str
    algorithm: AlgorithmIdentifier
    size: int | None = None
    held: bytes | None = None


def _read_encrypted_content_info(
    reader: CMSReader, receive: Callable[[bytes], object] | None, *, holds_content: bool
) -> _EncryptedContentInfo:
    content_type, algorithm = enter_encrypted_content_info(reader)
    if not reader.at(tags.context(0)):
        reader.leave(ENCRYPTED_CONTENT_INFO)
        return _EncryptedContentInfo(content_type, algorithm)
    held: list[bytes] = []
    size = 0
    header = reader.take("encryptedContent")
    is_held = holds_content and receive is None and (header.length or 0) <= IN_MEMORY
    for block in reader.octet_string_blocks(header, "encryptedContent"):
        size += len(block)
        if receive is not None and block:
            receive(block)
        if is_held and size <= IN_MEMORY:
            held.append(block)
        else:
            is_held = False
            held.clear()
    reader.leave(ENCRYPTED_CONTENT_INFO)
    content = b"".join(held) if is_held else None
    return _EncryptedContentInfo(content_type, algorithm, size, content)


def enter_encrypted_content_info(reader: CMSReader) -> tuple[str, AlgorithmIdentifier]:
    """Reads up to the encrypted content; answers its type, and the algorithm.

    Raises:
        MalformedMessage: it is not an EncryptedContentInfo.
    """
    reader.enter(tags.SEQUENCE, ENCRYPTED_CONTENT_INFO)
    content_type = reader.read_oid("the type of the encrypted content")
    return content_type, read_algorithm_identifier(reader, "contentEncryptionAlgorithm")


def _other_attributes(reader: CMSReader, number: int, what: str, *, keep: bool) -> bytes | None:
    if not reader.at(tags.context(number)):
        return b""
    if keep:
        return reader.read_raw(what, reader.limits.attributes_size)
    reader.skip(what)
    return None


# --- description -------------------------------------------------------------
