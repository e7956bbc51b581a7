"""Key encapsulation with ML-KEM, read and written (RFC 9629, RFC 9936).

Decapsulation never fails with a wrong key: the check is that of the key wrap.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    encode_recipient_identifier,
    read_algorithm_identifier,
    require_null_or_absent,
)
from sectool.cms.key_wrap import (
    AES_256_WRAP,
    key_wrap,
    with_and_without_null,
    wrap_with_aes_256,
)
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, UnwrappedKey
from sectool.cms.seams import IssuerAndSerialNumber, KeyOperations
from sectool.errors import DecryptionFailed, MalformedMessage, UnsupportedMessage
from sectool.values import dataclass

KEMPublicKey = mlkem.MLKEM768PublicKey | mlkem.MLKEM1024PublicKey
"""Kinds of keys that are encrypted to."""

KEMS = {oids.ML_KEM_768: "RFC 9936 section 2", oids.ML_KEM_1024: "RFC 9936 section 2"}
"""The documents of the key encapsulations, by object identifier."""
_CIPHERTEXT_SIZES = {oids.ML_KEM_768: 1088, oids.ML_KEM_1024: 1568}
"""Bytes, by object identifier (FIPS 203 section 8)."""
_DERIVATIONS: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    oids.HKDF_SHA256: hashes.SHA256,
    oids.HKDF_SHA384: hashes.SHA384,
    oids.HKDF_SHA512: hashes.SHA512,
}
"""Key derivation by object identifier (RFC 8619)."""
_WRITTEN_DERIVATION = AlgorithmIdentifier(oids.HKDF_SHA256)


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """What follows the kem in a KEMRecipientInfo (RFC 9629 section 3)."""

    ciphertext: bytes
    derivation: AlgorithmIdentifier
    key_encryption_key_size: int
    """kekLength, in bytes."""
    user_keying_material: bytes | None
    wrap: AlgorithmIdentifier
    encrypted_key: bytes

    @property
    def is_as_written(self) -> bool:
        """Whether derivation, wrap and ukm are those that ``encode_key_encapsulation`` writes."""
        found = (self.derivation, self.wrap, self.user_keying_material)
        return found == (_WRITTEN_DERIVATION, AES_256_WRAP, None)

    def key_encryption_key(self, secret: bytes) -> bytes:
        """The derived key; bound to it is CMSORIforKEMOtherInfo (RFC 9629 section 5)."""
        hash_function = _DERIVATIONS[self.derivation.oid]()
        size = self.key_encryption_key_size
        fields = [der.canonical(self.wrap.encode()), der.integer(size)]
        if self.user_keying_material is not None:
            fields.append(der.explicit(0, der.octet_string(self.user_keying_material)))
        info = der.sequence(*fields)
        return HKDF(hash_function, length=size, salt=None, info=info).derive(secret)


def read_encapsulation(detail: bytes) -> Encapsulation:
    """Reads the further elements of a KEMRecipientInfo.

    Raises:
        MalformedMessage: they are damaged, or kekLength is not that of the wrap.
        UnsupportedMessage: the derivation or the wrap is not supported.
    """
    reader = CMSReader.over(detail)
    limit = reader.limits.encrypted_key_size
    ciphertext = reader.read_octet_string("kemct", limit)
    derivation = read_algorithm_identifier(reader, "kdf")
    size = reader.read_integer("kekLength")
    user_keying_material = None
    if reader.at(tags.context(0)):
        reader.enter(tags.context(0), "ukm")
        user_keying_material = reader.read_octet_string("ukm", limit)
        reader.leave("ukm")
    wrap = read_algorithm_identifier(reader, "wrap")
    encrypted_key = reader.read_octet_string("encryptedKey", limit)
    if reader.peek() is not None:
        raise MalformedMessage("KEMRecipientInfo holds more than it should")
    if derivation.oid not in _DERIVATIONS:
        raise UnsupportedMessage(f"key derivation {derivation.oid} is not supported")
    require_null_or_absent(derivation, "kdf")
    if size != key_wrap(wrap).key_size:
        raise MalformedMessage("kekLength is not the size of a key of its key wrap")
    return Encapsulation(ciphertext, derivation, size, user_keying_material, wrap, encrypted_key)


def check_key_encapsulation(recipient_info: RecipientInfo) -> Encapsulation:
    """Reads a KEMRecipientInfo and refuses what no key could open.

    Raises:
        UnsupportedMessage: the KEM, or what ``read_encapsulation`` refuses.
        MalformedMessage: as ``read_encapsulation``.
    """
    algorithm = recipient_info.algorithm
    assert algorithm is not None
    if algorithm.oid not in KEMS:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"recipients by kem with {name} are not supported")
    require_null_or_absent(algorithm, "kem")
    encapsulation = read_encapsulation(recipient_info.detail)
    size, expected = len(encapsulation.ciphertext), _CIPHERTEXT_SIZES[algorithm.oid]
    if size != expected:
        name = oids.key_encryption_name(algorithm.oid)
        raise MalformedMessage(f"kemct has {size} bytes; {name} gives {expected}")
    return encapsulation


def unwrap_key_encapsulation(recipient_info: RecipientInfo, key: KeyOperations) -> UnwrappedKey:
    """The key of a KEMRecipientInfo; raises as ``unwrap``."""
    encapsulation = check_key_encapsulation(recipient_info)
    row = key_wrap(encapsulation.wrap)
    row.check(encapsulation.encrypted_key)
    secret = key.decapsulate(encapsulation.ciphertext)
    for bound in with_and_without_null(encapsulation.wrap):
        with suppress(DecryptionFailed):
            derived = replace(encapsulation, wrap=bound).key_encryption_key(secret)
            unwrapped = row.unwrap(derived, encapsulation.encrypted_key)
            return UnwrappedKey(unwrapped, is_proven=True)
    raise DecryptionFailed


def kem_algorithm(public_key: KEMPublicKey) -> AlgorithmIdentifier:
    """The kem of a public key (RFC 9936 section 2)."""
    is_small = isinstance(public_key, mlkem.MLKEM768PublicKey)
    return AlgorithmIdentifier(oids.ML_KEM_768 if is_small else oids.ML_KEM_1024)


def encode_key_encapsulation(
    identifier: IssuerAndSerialNumber, public_key: KEMPublicKey, content_encryption_key: bytes
) -> bytes:
    """DER of an OtherRecipientInfo that holds a KEMRecipientInfo, with AES-256 key wrap.

    Raises:
        ValueError: the library refuses the public key.
    """
    secret, ciphertext = public_key.encapsulate()
    size = key_wrap(AES_256_WRAP).key_size
    encapsulation = Encapsulation(ciphertext, _WRITTEN_DERIVATION, size, None, AES_256_WRAP, b"")
    wrapped = wrap_with_aes_256(encapsulation.key_encryption_key(secret), content_encryption_key)
    kem_recipient_info = der.sequence(
        der.integer(0),
        encode_recipient_identifier(identifier),
        kem_algorithm(public_key).encode(),
        der.octet_string(ciphertext),
        _WRITTEN_DERIVATION.encode(),
        der.integer(size),
        AES_256_WRAP.encode(),
        der.octet_string(wrapped),
    )
    return der.element(
        tags.context(4) | tags.CONSTRUCTED, der.oid(oids.ORI_KEM) + kem_recipient_info
    )
