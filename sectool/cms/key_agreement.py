"""Key agreement on elliptic curves, read and written (RFC 5753, RFC 8418).

The shared secret is the private key's to compute; key derivation and key wrap
are done here, so that a token needs to know neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    encode_recipient_identifier,
    read_algorithm_identifier,
    read_recipient_identifier,
    require_identifier,
)
from sectool.cms.key_wrap import (
    AES_256_WRAP,
    key_wrap,
    with_and_without_null,
    wrap_with_aes_256,
)
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, UnwrappedKey
from sectool.cms.seams import (
    IssuerAndSerialNumber,
    KeyOperations,
    RecipientIdentifier,
    SenderKeys,
    SubjectKeyIdentifier,
)
from sectool.errors import DecryptionFailed, MalformedMessage, UnsupportedMessage
from sectool.values import dataclass

AgreementPublicKey = ec.EllipticCurvePublicKey | x25519.X25519PublicKey
"""Kinds of keys that are encrypted to."""

_POINT_KEYS = {oids.EC_PUBLIC_KEY, oids.X25519, oids.X448}
_VERSION = 3


@dataclass(frozen=True, slots=True)
class AgreementScheme:
    """One row of the table of key-agreement schemes."""

    oid: str
    hash_function: Callable[[], hashes.HashAlgorithm]
    derive: Callable[[hashes.HashAlgorithm, bytes, bytes, int], bytes]
    """From hash, shared secret, shared information and a size in bytes to a key."""
    specification: str
    """The document that describes it."""


def _x963(hash_function: hashes.HashAlgorithm, secret: bytes, info: bytes, size: int) -> bytes:
    return X963KDF(hash_function, length=size, sharedinfo=info).derive(secret)


def _hkdf(hash_function: hashes.HashAlgorithm, secret: bytes, info: bytes, size: int) -> bytes:
    return HKDF(hash_function, length=size, salt=None, info=info).derive(secret)


# Cofactor and standard agreement give the same secret: every curve here has
# cofactor one, and X25519 and X448 clear theirs by themselves.
_X963_SCHEMES = (
    (oids.ECDH_SHA1_KDF, oids.ECDH_COFACTOR_SHA1_KDF, hashes.SHA1),
    (oids.ECDH_SHA224_KDF, oids.ECDH_COFACTOR_SHA224_KDF, hashes.SHA224),
    (oids.ECDH_SHA256_KDF, oids.ECDH_COFACTOR_SHA256_KDF, hashes.SHA256),
    (oids.ECDH_SHA384_KDF, oids.ECDH_COFACTOR_SHA384_KDF, hashes.SHA384),
    (oids.ECDH_SHA512_KDF, oids.ECDH_COFACTOR_SHA512_KDF, hashes.SHA512),
)
_HKDF_SCHEMES = (
    (oids.ECDH_HKDF_SHA256, hashes.SHA256),
    (oids.ECDH_HKDF_SHA384, hashes.SHA384),
    (oids.ECDH_HKDF_SHA512, hashes.SHA512),
)
SCHEMES = {
    **{
        oid: AgreementScheme(oid, hash_function, _x963, "RFC 5753 section 7.1.4")
        for *pair, hash_function in _X963_SCHEMES
        for oid in pair
    },
    **{
        oid: AgreementScheme(oid, hash_function, _hkdf, "RFC 8418 section 2.2")
        for oid, hash_function in _HKDF_SCHEMES
    },
}
"""Rows by object identifier."""


def _key_encryption_key(
    scheme: AgreementScheme,
    secret: bytes,
    wrap: AlgorithmIdentifier,
    user_keying_material: bytes | None,
) -> bytes:
    """The derived key; the information bound to it is ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""
    size = key_wrap(wrap).key_size
    fields = [wrap.encode()]
    if user_keying_material is not None:
        fields.append(der.explicit(0, der.octet_string(user_keying_material)))
    fields.append(der.explicit(2, der.octet_string((8 * size).to_bytes(4, "big"))))
    return scheme.derive(scheme.hash_function(), secret, der.sequence(*fields), size)


# --- reading -----------------------------------------------------------------


def _read_algorithms(
    recipient_info: RecipientInfo,
) -> tuple[AgreementScheme, AlgorithmIdentifier]:
    """Scheme and key wrap of a KeyAgreeRecipientInfo."""
    algorithm = recipient_info.algorithm
    assert algorithm is not None
    scheme = SCHEMES.get(algorithm.oid)
    if scheme is None:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"recipients by key-agreement with {name} are not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the key wrap of a key agreement is missing")
    wrap = read_algorithm_identifier(
        CMSReader.over(algorithm.parameters), "the key wrap of a key agreement"
    )
    return scheme, wrap


def check_key_agreement(recipient_info: RecipientInfo) -> None:
    """Refuses what no key could open, by scheme, key wrap and curve.

    Raises:
        UnsupportedMessage: one of them is not supported.
        MalformedMessage: the RecipientInfo is damaged.
    """
    _, wrap = _read_algorithms(recipient_info)
    key_wrap(wrap)
    reader = CMSReader.over(recipient_info.detail)
    reader.enter(tags.context(0), "the originator of a key agreement")
    if not reader.at(tags.context(1)):
        return
    reader.enter(tags.context(1), "originatorKey")
    algorithm = read_algorithm_identifier(reader, "the algorithm of originatorKey")
    _check_kind(algorithm)
    # RFC 5753 section 3.1.1: absent or NULL, since the curve is the recipient's.
    if algorithm.parameters is None or algorithm.parameters[:1] != bytes((tags.OBJECT_IDENTIFIER,)):
        return
    curve = CMSReader.over(algorithm.parameters).read_oid("the curve of originatorKey")
    try:
        ec.get_curve_for_oid(x509.ObjectIdentifier(curve))
    except LookupError:
        raise UnsupportedMessage(f"key agreement on the curve {curve} is not supported") from None


def unwrap_key_agreement(
    recipient_info: RecipientInfo, key: KeyOperations, senders: SenderKeys | None = None
) -> UnwrappedKey:
    """The key of a RecipientEncryptedKey; arguments and errors as of ``unwrap``."""
    scheme, wrap = _read_algorithms(recipient_info)
    row = key_wrap(wrap)
    public_keys, user_keying_material = _read_detail(recipient_info, senders)
    row.check(recipient_info.encrypted_key)
    for public_key in public_keys:
        try:
            secret = key.agree(public_key)
        except DecryptionFailed:
            continue
        for bound in with_and_without_null(wrap):
            with suppress(DecryptionFailed):
                derived = _key_encryption_key(scheme, secret, bound, user_keying_material)
                unwrapped = row.unwrap(derived, recipient_info.encrypted_key)
                return UnwrappedKey(unwrapped, is_proven=True)
    raise DecryptionFailed


def _read_detail(
    recipient_info: RecipientInfo, senders: SenderKeys | None
) -> tuple[Sequence[bytes], bytes | None]:
    """Public keys the originator may have, and the user keying material (RFC 5652 section 6.2.2).

    One that the message holds, or several where certificates share a name.
    """
    reader = CMSReader.over(recipient_info.detail)
    reader.enter(tags.context(0), "the originator of a key agreement")
    if reader.at(tags.context(1)):
        public_keys: Sequence[bytes] = [_read_originator_key(reader)]
    else:
        identifier = require_identifier(
            read_recipient_identifier(reader), "the sender of a key agreement"
        )
        public_keys = originator_public_keys(recipient_info.originator_info, identifier, senders)
    reader.leave("the originator of a key agreement")
    user_keying_material = None
    if reader.at(tags.context(1)):
        reader.enter(tags.context(1), "ukm")
        user_keying_material = reader.read_octet_string("ukm", reader.limits.parameters_size)
        reader.leave("ukm")
    return public_keys, user_keying_material


def _check_kind(algorithm: AlgorithmIdentifier) -> None:
    if algorithm.oid not in _POINT_KEYS:
        raise UnsupportedMessage(f"key agreement with a key of kind {algorithm.oid}")


def _read_originator_key(reader: CMSReader) -> bytes:
    what = "originatorKey"
    reader.enter(tags.context(1), what)
    algorithm = read_algorithm_identifier(reader, f"the algorithm of {what}")
    _check_kind(algorithm)
    bits = reader.read_primitive(tags.BIT_STRING, what, reader.limits.encrypted_key_size)
    reader.leave(what)
    if bits[:1] != b"\0":
        raise MalformedMessage(f"{what} is not whole bytes")
    return bits[1:]


# --- writing -----------------------------------------------------------------


def key_agreement_algorithm(scheme_oid: str) -> AlgorithmIdentifier:
    """The keyEncryptionAlgorithm that is written: a scheme with AES-256 key wrap."""
    return AlgorithmIdentifier(scheme_oid, AES_256_WRAP.encode())


def encode_key_agreement(
    identifier: IssuerAndSerialNumber,
    public_key: AgreementPublicKey,
    scheme_oid: str,
    content_encryption_key: bytes,
) -> bytes:
    """DER of a KeyAgreeRecipientInfo with an ephemeral key (RFC 5753 section 3.1).

    Raises:
        ValueError: the library refuses the public key.
    """
    originator_key, secret = _agree_ephemeral(public_key)
    key_encryption_key = _key_encryption_key(SCHEMES[scheme_oid], secret, AES_256_WRAP, None)
    wrapped = wrap_with_aes_256(key_encryption_key, content_encryption_key)
    encrypted_key = der.sequence(encode_recipient_identifier(identifier), der.octet_string(wrapped))
    return der.element(
        tags.context(1) | tags.CONSTRUCTED,
        der.integer(_VERSION)
        + der.explicit(0, originator_key)
        + key_agreement_algorithm(scheme_oid).encode()
        + der.sequence(encrypted_key),
    )


def _agree_ephemeral(public_key: AgreementPublicKey) -> tuple[bytes, bytes]:
    """OriginatorPublicKey under its tag, and the shared secret."""
    if isinstance(public_key, x25519.X25519PublicKey):
        ephemeral = x25519.X25519PrivateKey.generate()
        oid, secret = oids.X25519, ephemeral.exchange(public_key)
        octets = ephemeral.public_key().public_bytes_raw()
    else:
        private_key = ec.generate_private_key(public_key.curve)
        oid, secret = oids.EC_PUBLIC_KEY, private_key.exchange(ec.ECDH(), public_key)
        octets = private_key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
    # RFC 5753 section 3.1.1: parameters absent, the curve is the recipient's.
    key = AlgorithmIdentifier(oid).encode() + der.element(tags.BIT_STRING, b"\0" + octets)
    return der.element(tags.context(1) | tags.CONSTRUCTED, key), secret


# --- the public key of a sender who is named by a certificate -------------------------------------
# RFC 5652 sections 6.1 and 6.2.2. Certificates are taken from the message itself,
# else from those a person has; nothing is verified, since a wrong one only gives a
# secret that unwraps nothing.


_MOST_CERTIFICATES = 100
_MOST_SENDERS = 10
"""Certificates of one name that are tried: an authority is to give a serial number once."""
_EXTENSION_OID = "2.5.29.14"
"""subjectKeyIdentifier (RFC 5280 section 4.2.1.2)."""


@dataclass(frozen=True, slots=True)
class _Certificate:
    issuer_and_serial_number: IssuerAndSerialNumber
    subject_key_identifier: bytes
    """Empty: the certificate has no such extension."""
    public_key: bytes
    """Content of subjectPublicKey, whole bytes."""


def originator_public_keys(
    originator_info: bytes, identifier: RecipientIdentifier, senders: SenderKeys | None
) -> Sequence[bytes]:
    """The points or bytes of the public keys that an originator's identifier may mean.

    Args:
        originator_info: as encoded, under its tag; empty where the message has none.
        identifier: of the originator of a key agreement.
        senders: asked where the message does not hold that certificate.

    Raises:
        UnsupportedMessage: nobody holds that certificate.
        MalformedMessage: originatorInfo is damaged.
    """
    for certificate in _certificates(originator_info) if originator_info else ():
        if isinstance(identifier, SubjectKeyIdentifier):
            is_named = certificate.subject_key_identifier == identifier.value
        else:
            found = certificate.issuer_and_serial_number
            is_named = found.serial_number == identifier.serial_number and (
                der.canonical(found.issuer) == der.canonical(identifier.issuer)
            )
        if is_named:
            return [certificate.public_key]
    held = senders.find_public_keys(identifier) if senders is not None else ()
    if not held:
        raise UnsupportedMessage(
            "the sender's certificate of a key agreement is not in the message",
            hint="put the sender's certificate beside the keys that --keys names",
        )
    return held[:_MOST_SENDERS]


def _certificates(originator_info: bytes) -> Iterator[_Certificate]:
    """The X.509 certificates of an OriginatorInfo; other choices are passed over."""
    reader = CMSReader.over(originator_info)
    reader.enter(tags.context(0), "originatorInfo")
    if not reader.at(tags.context(0)):
        return
    reader.enter(tags.context(0), "the certificates of originatorInfo")
    for _ in range(_MOST_CERTIFICATES):
        if reader.peek() is None:
            return
        if reader.at(tags.SEQUENCE):
            raw = reader.read_raw("a certificate of originatorInfo", len(originator_info))
            yield _read_certificate(raw)
        else:
            reader.skip("a certificate of originatorInfo")


def _read_certificate(raw: bytes) -> _Certificate:
    """Certificate and TBSCertificate (RFC 5280 section 4.1), as far as they name a key."""
    what = "a certificate of originatorInfo"
    reader = CMSReader.over(raw)
    reader.enter(tags.SEQUENCE, what)
    reader.enter(tags.SEQUENCE, what)
    if reader.at(tags.context(0)):
        reader.skip("version")
    serial_number = reader.read_integer("serialNumber")
    reader.skip("signature")
    issuer = reader.read_raw("issuer", reader.limits.name_size)
    reader.skip("validity")
    reader.skip("subject")
    reader.enter(tags.SEQUENCE, "subjectPublicKeyInfo")
    reader.skip("the algorithm of subjectPublicKeyInfo")
    bits = reader.read_primitive(tags.BIT_STRING, "subjectPublicKey", len(raw))
    reader.leave("subjectPublicKeyInfo")
    if bits[:1] != b"\0":
        raise MalformedMessage("the public key of a certificate is not whole bytes")
    while reader.peek() is not None and not reader.at(tags.context(3)):
        reader.skip(what)
    key_identifier = _read_key_identifier(reader) if reader.peek() is not None else b""
    return _Certificate(IssuerAndSerialNumber(issuer, serial_number), key_identifier, bits[1:])


def _read_key_identifier(reader: CMSReader) -> bytes:
    """The subjectKeyIdentifier among the extensions, or nothing."""
    what = "the extensions of a certificate"
    reader.enter(tags.context(3), what)
    reader.enter(tags.SEQUENCE, what)
    while reader.peek() is not None:
        reader.enter(tags.SEQUENCE, what)
        oid = reader.read_oid(what)
        if not reader.at(tags.OCTET_STRING):
            reader.skip("critical")
        value = reader.read_octet_string(what, reader.limits.attributes_size)
        reader.leave(what)
        if oid == _EXTENSION_OID:
            limit = reader.limits.identifier_size
            return CMSReader.over(value).read_octet_string("subjectKeyIdentifier", limit)
    return b""
