"""Private keys in software: loading them, describing them, and the operations they offer.

RFC 5958 (PKCS#8), RFC 8017 (RSA), RFC 9935 (ML-KEM keys). Knows no files.
"""

from __future__ import annotations

from dataclasses import field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    mlkem,
    rsa,
    x448,
    x25519,
)
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from sectool.asn1 import der, tags
from sectool.budget import Work, current
from sectool.cms.identifiers import padding_of
from sectool.cms.seams import RSAPadding
from sectool.errors import DecryptionFailed, SectoolError
from sectool.keys import ber
from sectool.keys.private_structures import (
    KnownKeys,
    PrivateStructure,
    check_public,
    make_key,
    read_structure,
    rsa_weight,
)
from sectool.keys.problems import damaged, unsupported
from sectool.keys.unpadding import whole_encrypted_key
from sectool.values import dataclass

_ML_KEM = frozenset({"2.16.840.1.101.3.4.4.2", "2.16.840.1.101.3.4.4.3"})
_ML_KEM_SEED_BYTES = 64


@dataclass(frozen=True, slots=True)
class SoftwareKey:
    """A private key held in memory, as ``HeldOperations``."""

    private_key: PrivateKeyTypes
    label: str

    def __repr__(self) -> str:
        return f"SoftwareKey({self.label!r})"

    @property
    def public_key_info(self) -> bytes:
        return encode_public_key(self.private_key)

    @property
    def algorithm(self) -> str:
        return describe_key(self.private_key)

    @property
    def is_on_token(self) -> bool:
        return False

    def called(self, label: str) -> SoftwareKey:
        return SoftwareKey(self.private_key, label)

    @property
    def portable(self) -> PortableSoftwareKey:
        return PortableSoftwareKey(encode_private_key(self.private_key))

    def decrypt_rsa(self, encrypted_key: bytes, padding: RSAPadding) -> bytes:
        if not isinstance(self.private_key, rsa.RSAPrivateKey):
            raise DecryptionFailed
        encrypted_key = whole_encrypted_key(encrypted_key, (self.private_key.key_size + 7) // 8)
        count_operation(self.private_key)
        try:
            return self.private_key.decrypt(encrypted_key, padding_of(padding))
        except Exception as error:  # whatever it is, it must look the same
            raise DecryptionFailed from error

    def agree(self, public_key: bytes) -> bytes:
        key = self.private_key
        count_operation(key)
        try:
            if isinstance(key, ec.EllipticCurvePrivateKey):
                point = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, public_key)
                return key.exchange(ec.ECDH(), point)
            if isinstance(key, x25519.X25519PrivateKey):
                return key.exchange(x25519.X25519PublicKey.from_public_bytes(public_key))
            if isinstance(key, x448.X448PrivateKey):
                return key.exchange(x448.X448PublicKey.from_public_bytes(public_key))
        except Exception as error:  # whatever it is, it must look the same
            raise DecryptionFailed from error
        raise DecryptionFailed

    def decapsulate(self, ciphertext: bytes) -> bytes:
        key = self.private_key
        if not isinstance(key, mlkem.MLKEM768PrivateKey | mlkem.MLKEM1024PrivateKey):
            raise DecryptionFailed
        count_operation(key)
        try:
            return key.decapsulate(ciphertext)
        except Exception as error:  # whatever it is, it must look the same
            raise DecryptionFailed from error


@dataclass(frozen=True, slots=True)
class PortableSoftwareKey:
    """A private key as bytes, as ``PortableKey``."""

    pkcs8: bytes = field(repr=False)
    """DER, not encrypted: a secret."""

    def restore(self, label: str) -> SoftwareKey:
        return SoftwareKey(load_trusted_private_key(self.pkcs8), label)


def load_private_key(
    encoded: bytes | memoryview, known: KnownKeys | None = None
) -> PrivateKeyTypes:
    """A private key that is not encrypted, checked for consistency.

    Args:
        encoded: PKCS#8, or the older RSAPrivateKey and ECPrivateKey, in BER; written as
            oddly as programs do, and followed by anything.
        known: keys that were checked before, and are not checked again; takes this one.

    Raises:
        KeyFileError: damaged, contradicting itself, of an unknown kind, or over a limit.
        BudgetExceeded: no more keys of the file are checked.
    """
    structure = read_structure(encoded)
    key = make_key(structure, {} if known is None else known)
    if key is not None:
        return key
    key = _load(_without_oddities(structure))
    if structure.public is not None and structure.name in _ML_KEM:
        check_public(key, structure.public)
    return key


def load_trusted_private_key(pkcs8: bytes) -> PrivateKeyTypes:
    """A key that ``load_private_key`` has checked before: a thousand times as fast."""
    return _load(pkcs8)


def _load(encoded: bytes) -> PrivateKeyTypes:
    try:
        return load_der_private_key(encoded, None, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise unsupported("a private key of a kind that is not known here") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise _why_not(encoded) from error


def _why_not(encoded: bytes) -> SectoolError:
    """Tells a damaged key from one of an unknown kind."""
    try:
        algorithm = ber.read(encoded).children()[1].children()[0].object_identifier()
    except (SectoolError, IndexError):
        return damaged("a private key is damaged")
    if algorithm in _ML_KEM:
        return unsupported("an ML-KEM private key without its seed")
    return damaged(f"a private key ({algorithm}) is damaged or of a kind that is not known here")


def _without_oddities(structure: PrivateStructure) -> bytes:
    """PKCS#8 of version 1 in DER; what is no PKCS#8 as it was found.

    An ML-KEM key in the form ``both`` loses its expanded half (RFC 9935 section 6): the
    seed makes the whole key, and the loader takes only the form ``seed``.
    """
    if structure.algorithm is None:
        return structure.octets
    octets, private = structure.octets, structure.private
    if structure.name in _ML_KEM and private.tag == tags.SEQUENCE:
        seed = private.children()[0].octets() if private.children() else b""
        if len(seed) == _ML_KEM_SEED_BYTES:
            octets = der.element(tags.context(0), seed)
    version = der.element(tags.INTEGER, b"\0")
    octet_string = der.element(tags.OCTET_STRING, octets)
    return der.sequence(version, structure.algorithm.der(), octet_string)


def encode_private_key(key: PrivateKeyTypes) -> bytes:
    """PKCS#8 in DER, not encrypted."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def encode_public_key(key: PrivateKeyTypes | PublicKeyTypes) -> bytes:
    """SubjectPublicKeyInfo in DER, of a public key or of a private key's public half."""
    public_key = key.public_key() if hasattr(key, "public_key") else key
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def count_operation(key: PrivateKeyTypes | PublicKeyTypes) -> None:
    """Spends what one use of a private key takes, in operations of RSA-2048.

    The time that RSA takes grows with the cube of its length, that of curves with the square.

    Args:
        key: or its public half.

    Raises:
        BudgetExceeded: no more such operations are done for the message.
    """
    operations = 1
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        operations = rsa_weight(key.key_size)
    elif isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        operations = (-(-key.curve.key_size // 256)) ** 2
    current().spend(Work.PRIVATE_KEY, operations)


def describe_key(key: PrivateKeyTypes | PublicKeyTypes) -> str:
    """Algorithm and size as people say it: ``RSA 2048``, ``EC secp256r1``, ``ML-KEM-768``."""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, dsa.DSAPrivateKey | dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    name = type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey")
    for prefix in ("MLKEM", "MLDSA"):
        if name.startswith(prefix):
            return f"ML-{prefix[2:]}-{name.removeprefix(prefix)}"
    return name
