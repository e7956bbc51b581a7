"""RecipientInfos: read, described, unwrapped (RFC 5652 section 6.2, RFC 8017, RFC 4055).

Every kind is recognised and named; which can be unwrapped is one table at the
end. Another kind is another reader, and a row there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from sectool.cms import ber, der, oids
from sectool.cms.ber import BERReader
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    encode_recipient_identifier,
    hash_algorithm,
    hash_name,
    read_algorithm_identifier,
    read_issuer_and_serial_number,
    read_recipient_identifier,
    require_null_or_absent,
)
from sectool.cms.seams import (
    OAEP,
    KeyOperations,
    PKCS1v15,
    RecipientIdentifier,
    RSAPadding,
    SubjectKeyIdentifier,
)
from sectool.errors import LimitExceeded, MalformedMessage, UnsupportedMessage


class RecipientKind(StrEnum):
    """The choices of RecipientInfo."""

    KEY_TRANSPORT = "key-transport"
    KEY_AGREEMENT = "key-agreement"
    KEY_ENCRYPTION_KEY = "key-encryption-key"
    PASSWORD = "password"  # noqa: S105 - a kind of recipient
    KEM = "kem"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class RecipientInfo:
    """One recipient; a KeyAgreeRecipientInfo gives one for each it names."""

    kind: RecipientKind
    identifier: RecipientIdentifier | None = None
    """Whose key it asks for; None where that is not a certificate's."""
    algorithm: AlgorithmIdentifier | None = None
    """keyEncryptionAlgorithm, or the KEM; None where the kind is unknown."""
    encrypted_key: bytes = b""
    """The content-encryption key as wrapped; empty for kinds that cannot be unwrapped."""


@dataclass(frozen=True, slots=True)
class UnwrappedKey:
    """A content-encryption key as a private key gave it."""

    content_encryption_key: bytes = field(repr=False)
    is_proven: bool
    """Whether the key encryption checks itself (OAEP): a wrong key cannot get here."""


# --- reading -----------------------------------------------------------------


def read_recipient_infos(reader: BERReader) -> Iterator[RecipientInfo]:
    """Reads RecipientInfos (RFC 5652 section 6.2) and passes them.

    Raises:
        MalformedMessage: a RecipientInfo of a known kind is damaged.
        LimitExceeded: there are too many, or they are too large.
    """
    limits = reader.limits
    reader.enter(ber.SET, "recipientInfos")
    start, count = reader.offset, 0
    while reader.peek() is not None:
        for recipient_info in _read_recipient_info(reader):
            count += 1
            if count > limits.recipients:
                raise LimitExceeded(f"the message has more than {limits.recipients} recipients")
            if reader.offset - start > limits.recipient_infos_size:
                raise LimitExceeded("the recipients of the message take too much space")
            yield recipient_info
    reader.leave("recipientInfos")


def _read_recipient_info(reader: BERReader) -> Iterator[RecipientInfo]:
    header = reader.peek()
    read = _READERS.get(header.tag) if header is not None else None
    if read is None:
        reader.skip("a recipient of unknown kind")
        yield RecipientInfo(RecipientKind.OTHER)
    else:
        yield from read(reader)


def _read_key_transport(reader: BERReader) -> Iterator[RecipientInfo]:
    what = "KeyTransRecipientInfo"
    reader.enter(ber.SEQUENCE, what)
    reader.read_integer("version")
    identifier = read_recipient_identifier(reader)
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.KEY_TRANSPORT, identifier, algorithm, encrypted_key)


def _read_key_agreement(reader: BERReader) -> Iterator[RecipientInfo]:
    what = "KeyAgreeRecipientInfo"
    reader.enter(ber.context(1), what)
    reader.read_integer("version")
    _skip_optional(reader, 0, "originator")
    _skip_optional(reader, 1, "ukm")
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    reader.enter(ber.SEQUENCE, "recipientEncryptedKeys")
    while reader.peek() is not None:
        reader.enter(ber.SEQUENCE, "RecipientEncryptedKey")
        identifier = _read_key_agree_identifier(reader)
        encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
        reader.leave("RecipientEncryptedKey")
        yield RecipientInfo(RecipientKind.KEY_AGREEMENT, identifier, algorithm, encrypted_key)
    reader.leave("recipientEncryptedKeys")
    reader.leave(what)


def _read_key_agree_identifier(reader: BERReader) -> RecipientIdentifier:
    tag = ber.context(0)
    if not reader.at(tag):
        return read_issuer_and_serial_number(reader)
    reader.enter(tag, "RecipientKeyIdentifier")
    limit = reader.limits.identifier_size
    identifier = SubjectKeyIdentifier(reader.read_octet_string("subjectKeyIdentifier", limit))
    while reader.peek() is not None:
        reader.skip("date and other attributes")
    reader.leave("RecipientKeyIdentifier")
    return identifier


def _read_key_encryption_key(reader: BERReader) -> Iterator[RecipientInfo]:
    what = "KEKRecipientInfo"
    reader.enter(ber.context(2), what)
    reader.read_integer("version")
    reader.skip("kekid")
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.KEY_ENCRYPTION_KEY, None, algorithm, encrypted_key)


def _read_password(reader: BERReader) -> Iterator[RecipientInfo]:
    what = "PasswordRecipientInfo"
    reader.enter(ber.context(3), what)
    reader.read_integer("version")
    _skip_optional(reader, 0, "keyDerivationAlgorithm")
    algorithm = read_algorithm_identifier(reader, "keyEncryptionAlgorithm")
    encrypted_key = reader.read_octet_string("encryptedKey", reader.limits.encrypted_key_size)
    reader.leave(what)
    yield RecipientInfo(RecipientKind.PASSWORD, None, algorithm, encrypted_key)


def _read_other(reader: BERReader) -> Iterator[RecipientInfo]:
    what = "OtherRecipientInfo"
    reader.enter(ber.context(4), what)
    if reader.read_oid("oriType") == oids.ORI_KEM:
        yield _read_kem(reader)
    else:
        reader.skip("oriValue")
        yield RecipientInfo(RecipientKind.OTHER)
    reader.leave(what)


def _read_kem(reader: BERReader) -> RecipientInfo:
    """KEMRecipientInfo (RFC 9629 section 3), as far as it names its recipient."""
    what = "KEMRecipientInfo"
    reader.enter(ber.SEQUENCE, what)
    reader.read_integer("version")
    identifier = read_recipient_identifier(reader)
    algorithm = read_algorithm_identifier(reader, "kem")
    while reader.peek() is not None:
        reader.skip(what)
    reader.leave(what)
    return RecipientInfo(RecipientKind.KEM, identifier, algorithm)


def _skip_optional(reader: BERReader, number: int, what: str) -> None:
    if reader.at(ber.context(number)):
        reader.skip(what)


_READERS: dict[int, Callable[[BERReader], Iterator[RecipientInfo]]] = {
    ber.SEQUENCE: _read_key_transport,
    ber.context(1): _read_key_agreement,
    ber.context(2): _read_key_encryption_key,
    ber.context(3): _read_password,
    ber.context(4): _read_other,
}


# --- RSA key transport -------------------------------------------------------


def _read_pkcs1_v15(algorithm: AlgorithmIdentifier) -> RSAPadding:
    require_null_or_absent(algorithm, "rsaEncryption")
    return PKCS1v15()


def _read_oaep(algorithm: AlgorithmIdentifier) -> RSAPadding:
    """RSAES-OAEP-params (RFC 4055 section 4.1), which must be present."""
    what = "RSAES-OAEP-params"
    if algorithm.parameters is None:
        raise MalformedMessage(f"{what} are missing")
    reader = BERReader.over(algorithm.parameters)
    reader.enter(ber.SEQUENCE, what)
    default = OAEP()
    hash_function, mgf_hash, label = default.hash_name, default.mgf_hash_name, default.label
    if reader.at(ber.context(0)):
        reader.enter(ber.context(0), what)
        hash_function = hash_name(read_algorithm_identifier(reader, "hashFunc"), what)
        reader.leave(what)
    if reader.at(ber.context(1)):
        reader.enter(ber.context(1), what)
        mgf_hash = _mgf1_hash(read_algorithm_identifier(reader, "maskGenFunc"))
        reader.leave(what)
    if reader.at(ber.context(2)):
        reader.enter(ber.context(2), what)
        label = _oaep_label(read_algorithm_identifier(reader, "pSourceFunc"))
        reader.leave(what)
    reader.leave(what)
    return OAEP(hash_function, mgf_hash, label)


def _mgf1_hash(algorithm: AlgorithmIdentifier) -> str:
    if algorithm.oid != oids.MGF1:
        raise UnsupportedMessage(f"mask generation function {algorithm.oid} is not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the hash function of MGF1 is missing")
    reader = BERReader.over(algorithm.parameters)
    return hash_name(read_algorithm_identifier(reader, "the hash function of MGF1"), "MGF1")


def _oaep_label(algorithm: AlgorithmIdentifier) -> bytes:
    if algorithm.oid != oids.P_SPECIFIED:
        raise UnsupportedMessage(f"OAEP label source {algorithm.oid} is not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the OAEP label is missing")
    reader = BERReader.over(algorithm.parameters)
    return reader.read_octet_string("the OAEP label", reader.limits.identifier_size)


_RSA_PADDINGS: dict[str, Callable[[AlgorithmIdentifier], RSAPadding]] = {
    oids.RSA_ENCRYPTION: _read_pkcs1_v15,
    oids.RSAES_OAEP: _read_oaep,
}


def rsa_padding(algorithm: AlgorithmIdentifier) -> RSAPadding:
    """The padding a keyEncryptionAlgorithm names.

    Raises:
        MalformedMessage: its parameters are damaged; never read as another padding.
        UnsupportedMessage: it is none of RSA.
    """
    read = _RSA_PADDINGS.get(algorithm.oid)
    if read is None:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"key encryption {name} is not supported")
    return read(algorithm)


def rsa_padding_algorithm(padding: RSAPadding) -> AlgorithmIdentifier:
    """The keyEncryptionAlgorithm of a padding, in DER: what has its default is left out."""
    if isinstance(padding, PKCS1v15):
        return AlgorithmIdentifier(oids.RSA_ENCRYPTION, der.NULL)
    default = OAEP()
    fields: list[bytes] = []
    if padding.hash_name != default.hash_name:
        fields.append(der.explicit(0, hash_algorithm(padding.hash_name).encode()))
    if padding.mgf_hash_name != default.mgf_hash_name:
        mgf = AlgorithmIdentifier(oids.MGF1, hash_algorithm(padding.mgf_hash_name).encode())
        fields.append(der.explicit(1, mgf.encode()))
    if padding.label:
        source = AlgorithmIdentifier(oids.P_SPECIFIED, der.octet_string(padding.label))
        fields.append(der.explicit(2, source.encode()))
    return AlgorithmIdentifier(oids.RSAES_OAEP, der.sequence(*fields))


def encode_key_transport(
    identifier: RecipientIdentifier, padding: RSAPadding, encrypted_key: bytes
) -> bytes:
    """DER of a KeyTransRecipientInfo (RFC 5652 section 6.2.1)."""
    version = 2 if isinstance(identifier, SubjectKeyIdentifier) else 0
    return der.sequence(
        der.integer(version),
        encode_recipient_identifier(identifier),
        rsa_padding_algorithm(padding).encode(),
        der.octet_string(encrypted_key),
    )


# --- unwrapping --------------------------------------------------------------


def _unwrap_key_transport(recipient_info: RecipientInfo, key: KeyOperations) -> UnwrappedKey:
    assert recipient_info.algorithm is not None
    padding = rsa_padding(recipient_info.algorithm)
    content_encryption_key = key.decrypt_rsa(recipient_info.encrypted_key, padding)
    return UnwrappedKey(content_encryption_key, is_proven=isinstance(padding, OAEP))


_UNWRAPPERS: dict[RecipientKind, Callable[[RecipientInfo, KeyOperations], UnwrappedKey]] = {
    RecipientKind.KEY_TRANSPORT: _unwrap_key_transport,
}


def unwrap(recipient_info: RecipientInfo, key: KeyOperations) -> UnwrappedKey:
    """The content-encryption key, through one private key.

    Raises:
        DecryptionFailed: the key does not fit.
        MalformedMessage: the algorithm's parameters are damaged.
        UnsupportedMessage: this kind of recipient or its algorithm is not supported.
    """
    unwrapper = _UNWRAPPERS.get(recipient_info.kind)
    if unwrapper is None:
        algorithm = recipient_info.algorithm
        name = f" with {oids.key_encryption_name(algorithm.oid)}" if algorithm else ""
        raise UnsupportedMessage(f"recipients by {recipient_info.kind}{name} are not supported")
    return unwrapper(recipient_info, key)
