"""RecipientInfos: read and named, whatever their kind (RFC 5652 section 6.2, RFC 9629 section 3).

What only a private key can use is kept as encoded, so that a message with many
recipients costs little and damage to another's RecipientInfo harms nobody. All are
read, in a stream; a bounded table of them is kept, and in any case those that are
asked for, such as those that a held key names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, replace
from enum import StrEnum

from sectool.asn1 import tags
from sectool.asn1.octets import quick_element, read_oid
from sectool.cms import oids
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    read_algorithm_identifier,
    read_issuer_and_serial_number,
    read_recipient_identifier,
)
from sectool.cms.limits import Limits
from sectool.cms.reader import CMSReader
from sectool.cms.seams import IssuerAndSerialNumber, RecipientIdentifier, SubjectKeyIdentifier
from sectool.errors import MalformedMessage
from sectool.remembering import remembering
from sectool.values import dataclass


class RecipientKind(StrEnum):
    """The choices of RecipientInfo."""

    KEY_TRANSPORT = "key-transport"
    KEY_AGREEMENT = "key-agreement"
    KEY_ENCRYPTION_KEY = "key-encryption-key"
    PASSWORD = "password"  # noqa: S105 - a kind of recipient
    KEM = "kem"
    OTHER = "other"


_QUICK_SIZE = 4096
"""Bytes of a RecipientInfo that may be of the usual form."""
_OF_CERTIFICATES = frozenset(
    {RecipientKind.KEY_TRANSPORT, RecipientKind.KEY_AGREEMENT, RecipientKind.KEM}
)


@dataclass(frozen=True, slots=True)
class RecipientInfo:
    """One recipient; a KeyAgreeRecipientInfo gives one for each it names."""

    kind: RecipientKind
    identifier: RecipientIdentifier | None = None
    """Whose key it asks for; None where that is not a certificate's."""
    algorithm: AlgorithmIdentifier | None = None
    """keyEncryptionAlgorithm, the KEM or the oriType; None where the kind is unknown."""
    encrypted_key: bytes = b""
    """The content-encryption key as wrapped; empty where ``detail`` holds it."""
    detail: bytes = b""
    """Further elements of its kind as encoded, read when a key is at hand: originator and ukm of
    a key agreement, kekid, keyDerivationAlgorithm, and what follows the kem."""
    originator_info: bytes = b""
    """Of the envelope, as encoded: may hold the certificate that a key agreement names."""

    @property
    def is_named(self) -> bool:
        """Whether it says whose it is: the name of a certificate may be too long to keep."""
        return self.identifier is not None or self.kind not in _OF_CERTIFICATES

    @property
    def size(self) -> int:
        """Bytes that keeping it takes, more or less."""
        identifier, algorithm = self.identifier, self.algorithm
        size = len(self.encrypted_key) + len(self.detail)
        if isinstance(identifier, IssuerAndSerialNumber):
            size += len(identifier.issuer)
        elif identifier is not None:
            size += len(identifier.value)
        if algorithm is not None:
            size += len(algorithm.parameters or b"")
        return size


@dataclass(frozen=True, slots=True)
class RecipientTable:
    """The recipients of an envelope that are kept."""

    kept: tuple[RecipientInfo, ...] = ()
    """In the order of the message."""
    total: int = 0
    """Recipients that were read."""
    is_complete: bool = True
    """Whether all that were asked for are kept: all there are, where nothing was said."""


RecipientFilter = Callable[[RecipientInfo], bool]
"""Whether a recipient is kept whatever its place."""


@dataclass(frozen=True, slots=True)
class UnwrappedKey:
    """A content-encryption key as a private key gave it."""

    content_encryption_key: bytes = field(repr=False)
    is_proven: bool
    """Whether the key encryption checks itself (OAEP, key wrap): a wrong key cannot get here."""


def read_recipient_infos(
    reader: CMSReader, originator_info: bytes = b""
) -> Iterator[RecipientInfo]:
    """Reads RecipientInfos (RFC 5652 section 6.2) and passes them.

    Args:
        reader: before the SET.
        originator_info: of the envelope, as encoded, for the key agreements.

    Raises:
        MalformedMessage: a RecipientInfo of a known kind is damaged.
        LimitExceeded: a field of one is too large.
    """
    reader.enter(tags.SET, "recipientInfos")
    while reader.peek() is not None:
        for recipient_info in _read_recipient_info(reader):
            if originator_info and recipient_info.kind is RecipientKind.KEY_AGREEMENT:
                yield replace(recipient_info, originator_info=originator_info)
            else:
                yield recipient_info
    reader.leave("recipientInfos")


class TableMaker:
    """Keeps some of the recipients that go by.

    Args:
        limits: on what is kept.
        wanted: which are asked for; None: all.
    """

    def __init__(self, limits: Limits, wanted: RecipientFilter | None) -> None:
        self._limits = limits
        self._wanted = wanted
        self._kept: list[RecipientInfo] = []
        self._issuers: dict[bytes, bytes] = {}
        self._room = limits.recipient_infos_size
        self._further = 0
        self._total = 0
        self._is_complete = True

    def add(self, recipient_info: RecipientInfo) -> None:
        """Takes the next recipient."""
        self._total += 1
        is_among_first = self._total <= self._limits.recipients and recipient_info.is_named
        if is_among_first and recipient_info.size <= self._room:
            self._room -= recipient_info.size
        elif self._wanted is None or not recipient_info.is_named:
            # No name that a held key has is too long to keep.
            self._is_complete &= self._wanted is not None
            return
        elif not self._wanted(recipient_info):
            return
        elif self._further < self._limits.wanted_recipients:
            self._further += 1
        else:
            self._is_complete = False
            return
        self._kept.append(self._with_shared_issuer(recipient_info))

    def _with_shared_issuer(self, recipient_info: RecipientInfo) -> RecipientInfo:
        identifier = recipient_info.identifier
        if not isinstance(identifier, IssuerAndSerialNumber):
            return recipient_info
        issuer = self._issuers.setdefault(identifier.issuer, identifier.issuer)
        if issuer is identifier.issuer:
            return recipient_info
        return replace(recipient_info, identifier=replace(identifier, issuer=issuer))

    def table(self) -> RecipientTable:
        """What was kept so far."""
        return RecipientTable(tuple(self._kept), self._total, self._is_complete)


def _read_recipient_info(reader: CMSReader) -> Iterator[RecipientInfo]:
    header = reader.peek()
    read = _READERS.get(header.tag) if header is not None else None
    if read is None:
        reader.skip("a recipient of unknown kind")
        yield RecipientInfo(RecipientKind.OTHER)
    else:
        yield from read(reader)


def _read_key_transport(reader: CMSReader) -> Iterator[RecipientInfo]:
    what = "KeyTransRecipientInfo"
    if found := quick_key_transport(reader.peek_whole(), reader.limits):
        reader.skip(what)
        yield found
        return
    reader.enter(tags.SEQUENCE, what)
    reader.read_integer("version")
    identifier = read_recipient_identifier(reader)
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.KEY_TRANSPORT, identifier, algorithm, encrypted_key)


def quick_key_transport(raw: bytes, limits: Limits) -> RecipientInfo | None:
    """A KeyTransRecipientInfo as nearly all are written, in a third of the time.

    A message to a hundred thousand people has as many of them.

    Args:
        raw: one element as encoded, or nothing.
        limits: on the sizes of fields.

    Returns:
        None where anything is unusual, be it damaged or not, so that it is to be read properly.
    """
    if len(raw) > _QUICK_SIZE:
        return None
    try:
        at, end = quick_element(raw, 0, 0x30, len(raw))
        _, at = quick_element(raw, at, 0x02, end)  # version
        identifier, at = _quick_identifier(raw, at, end, limits)
        algorithm_at, after = quick_element(raw, at, 0x30, end)
        algorithm = _remembered_algorithm(raw[algorithm_at:after])
        key_at, after_key = quick_element(raw, after, 0x04, end, is_last=True)
        if after_key - key_at > limits.encrypted_key_size:
            return None
        if len(algorithm.parameters or b"") > limits.parameters_size:
            return None
    except (IndexError, ValueError, MalformedMessage):
        return None
    return RecipientInfo(RecipientKind.KEY_TRANSPORT, identifier, algorithm, raw[key_at:after_key])


def _quick_identifier(
    raw: bytes, at: int, end: int, limits: Limits
) -> tuple[RecipientIdentifier, int]:
    if raw[at] == 0x80:
        begin, after = quick_element(raw, at, 0x80, end)
        if after - begin > limits.identifier_size:
            raise ValueError
        return SubjectKeyIdentifier(raw[begin:after]), after
    name_at, after = quick_element(raw, at, 0x30, end)
    named = _quick_issuer_and_serial(raw[name_at:after], limits.name_size, limits.identifier_size)
    return named, after


@remembering
def _quick_issuer_and_serial(raw: bytes, name_size: int, number_size: int) -> IssuerAndSerialNumber:
    _, name_end = quick_element(raw, 0, 0x30, len(raw))
    begin, end = quick_element(raw, name_end, 0x02, len(raw), is_last=True)
    if name_end > name_size or end - begin > number_size:
        raise ValueError
    return IssuerAndSerialNumber(raw[:name_end], int.from_bytes(raw[begin:], "big", signed=True))


def quick_algorithm(raw: bytes) -> AlgorithmIdentifier:
    """An AlgorithmIdentifier from its content; raises as ``quick_element``."""
    begin, end = quick_element(raw, 0, 0x06, len(raw))
    if end < len(raw):
        quick_element(raw, end, raw[end], len(raw), is_last=True)
    return AlgorithmIdentifier(read_oid(raw[begin:end]), raw[end:] or None)


_remembered_algorithm = remembering(quick_algorithm)


def _read_key_agreement(reader: CMSReader) -> Iterator[RecipientInfo]:
    what = "KeyAgreeRecipientInfo"
    reader.enter(tags.context(1), what)
    reader.read_integer("version")
    detail = _read_optional(reader, 0, "originator") + _read_optional(reader, 1, "ukm")
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    reader.enter(tags.SEQUENCE, "recipientEncryptedKeys")
    while reader.peek() is not None:
        reader.enter(tags.SEQUENCE, "RecipientEncryptedKey")
        identifier = _read_key_agree_identifier(reader)
        encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
        reader.leave("RecipientEncryptedKey")
        yield RecipientInfo(
            RecipientKind.KEY_AGREEMENT, identifier, algorithm, encrypted_key, detail
        )
    reader.leave("recipientEncryptedKeys")
    reader.leave(what)


def _read_key_agree_identifier(reader: CMSReader) -> RecipientIdentifier | None:
    tag = tags.context(0)
    if not reader.at(tag):
        return read_issuer_and_serial_number(reader)
    reader.enter(tag, "RecipientKeyIdentifier")
    limit = reader.limits.identifier_size
    identifier = SubjectKeyIdentifier(reader.read_octet_string("subjectKeyIdentifier", limit))
    while reader.peek() is not None:
        reader.skip("date and other attributes")
    reader.leave("RecipientKeyIdentifier")
    return identifier


def _read_key_encryption_key(reader: CMSReader) -> Iterator[RecipientInfo]:
    what = "KEKRecipientInfo"
    reader.enter(tags.context(2), what)
    reader.read_integer("version")
    detail = reader.read_raw("kekid", reader.limits.parameters_size)
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.KEY_ENCRYPTION_KEY, None, algorithm, encrypted_key, detail)


def _read_password(reader: CMSReader) -> Iterator[RecipientInfo]:
    what = "PasswordRecipientInfo"
    reader.enter(tags.context(3), what)
    reader.read_integer("version")
    detail = _read_optional(reader, 0, "keyDerivationAlgorithm")
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.PASSWORD, None, algorithm, encrypted_key, detail)


def _read_other(reader: CMSReader) -> Iterator[RecipientInfo]:
    what = "OtherRecipientInfo"
    reader.enter(tags.context(4), what)
    kind = reader.read_oid("oriType")
    if kind == oids.ORI_KEM:
        yield _read_kem(reader)
    else:
        reader.skip("oriValue")
        yield RecipientInfo(RecipientKind.OTHER, algorithm=AlgorithmIdentifier(kind))
    reader.leave(what)


def _read_kem(reader: CMSReader) -> RecipientInfo:
    """KEMRecipientInfo (RFC 9629 section 3)."""
    what = "KEMRecipientInfo"
    reader.enter(tags.SEQUENCE, what)
    reader.read_integer("version")
    identifier = read_recipient_identifier(reader)
    algorithm = read_algorithm_identifier(reader, "kem")
    detail = b""
    while reader.peek() is not None:
        detail += reader.read_raw(what, reader.limits.encrypted_key_size - len(detail))
    reader.leave(what)
    return RecipientInfo(RecipientKind.KEM, identifier, algorithm, detail=detail)


def _read_optional(reader: CMSReader, number: int, what: str) -> bytes:
    if reader.at(tags.context(number)):
        return reader.read_raw(what, reader.limits.parameters_size)
    return b""


_READERS: dict[int, Callable[[CMSReader], Iterator[RecipientInfo]]] = {
    tags.SEQUENCE: _read_key_transport,
    tags.context(1): _read_key_agreement,
    tags.context(2): _read_key_encryption_key,
    tags.context(3): _read_password,
    tags.context(4): _read_other,
}
