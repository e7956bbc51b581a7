"""What kind of key a recipient asks for, as far as its RecipientInfo tells without its certificate.

So that a key is tried on an identifier that it does not answer to only where it could
open anything: each trial is a private-key operation.
"""

from __future__ import annotations

from functools import lru_cache

from sectool.asn1 import tags
from sectool.cms import oids
from sectool.cms.identifiers import AlgorithmIdentifier, read_algorithm_identifier
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, RecipientKind
from sectool.cms.seams import RecipientIdentifier
from sectool.errors import MalformedMessage, MissingKey
from sectool.values import dataclass

_AGREEING = frozenset({oids.EC_PUBLIC_KEY, oids.X25519, oids.X448})
_ROUNDING = 8
"""RSA moduli are whole multiples of so many bytes, nearly always, and a short encryptedKey has lost
leading zeros of its own."""


@dataclass(frozen=True, slots=True)
class KeyKind:
    """Algorithm and size of a key, as a recipient or a SubjectPublicKeyInfo tells them."""

    algorithm: str
    """Of a SubjectPublicKeyInfo, dotted; empty: any that agrees on a key."""
    size: int = 0
    """Bytes of an RSA modulus, rounded up to a multiple of 8, or of a coordinate on a curve; 0:
    the algorithm has one size only."""
    curve: str = ""
    """Dotted; empty: not told."""

    def fits(self, key: KeyKind) -> bool:
        """Whether a key of that kind may be the one this recipient asks for."""
        if not self.algorithm:
            return key.algorithm in _AGREEING
        is_same = (self.algorithm, self.size) == (key.algorithm, key.size)
        return is_same and (not self.curve or not key.curve or self.curve == key.curve)


@dataclass(frozen=True, slots=True)
class UnknownRecipient:
    """A recipient that no key at hand answers to."""

    identifier: RecipientIdentifier
    kind: KeyKind


class UnknownRecipients(MissingKey):
    """No key at hand answers to any recipient of an envelope.

    Attributes:
        recipients: those by certificate, in the order of the envelope.
    """

    recipients: tuple[UnknownRecipient, ...] = ()


def kind_of_recipient(recipient_info: RecipientInfo) -> KeyKind | None:
    """The kind of key that would open a RecipientInfo; None where it cannot be told."""
    if recipient_info.kind is RecipientKind.KEY_TRANSPORT:
        return KeyKind(oids.RSA_ENCRYPTION, _rounded(len(recipient_info.encrypted_key)))
    if recipient_info.kind is RecipientKind.KEM and recipient_info.algorithm is not None:
        return KeyKind(recipient_info.algorithm.oid)
    if recipient_info.kind is RecipientKind.KEY_AGREEMENT:
        return _kind_of_originator(recipient_info.detail)
    return None


@lru_cache(maxsize=256)
def kind_of_key(public_key_info: bytes) -> KeyKind:
    """The kind of a key.

    Args:
        public_key_info: DER of its SubjectPublicKeyInfo.

    Raises:
        MalformedMessage: it is none.
    """
    what = "a SubjectPublicKeyInfo"
    reader = CMSReader.over(public_key_info)
    reader.enter(tags.SEQUENCE, what)
    algorithm = read_algorithm_identifier(reader, what)
    bits = reader.read_primitive(tags.BIT_STRING, what, len(public_key_info))[1:]
    if algorithm.oid != oids.RSA_ENCRYPTION:
        return _kind_of_point(algorithm, bits)
    key = CMSReader.over(bits)
    key.enter(tags.SEQUENCE, what)
    modulus = key.read_primitive(tags.INTEGER, what, len(bits)).lstrip(b"\0")
    return KeyKind(algorithm.oid, _rounded(len(modulus)))


def _rounded(size: int) -> int:
    return -(-size // _ROUNDING) * _ROUNDING


@lru_cache(maxsize=64)
def _kind_of_originator(detail: bytes) -> KeyKind | None:
    """By the sender's key, which is of the kind of the recipient's (RFC 5753 section 3.1.1)."""
    what = "the originator of a key agreement"
    try:
        reader = CMSReader.over(detail)
        reader.enter(tags.context(0), what)
        if not reader.at(tags.context(1)):
            return KeyKind("")
        reader.enter(tags.context(1), what)
        algorithm = read_algorithm_identifier(reader, what)
        return _kind_of_point(
            algorithm, reader.read_primitive(tags.BIT_STRING, what, len(detail))[1:]
        )
    except MalformedMessage:
        return None


def _kind_of_point(algorithm: AlgorithmIdentifier, octets: bytes) -> KeyKind:
    if algorithm.oid != oids.EC_PUBLIC_KEY:
        return KeyKind(algorithm.oid)
    is_compressed = octets[:1] in {b"\x02", b"\x03"}
    size = len(octets) - 1 if is_compressed else (len(octets) - 1) // 2
    curve = ""
    parameters = algorithm.parameters or b""
    if parameters[:1] == bytes((tags.OBJECT_IDENTIFIER,)):
        curve = CMSReader.over(parameters).read_oid("a curve")
    return KeyKind(algorithm.oid, size, curve)
