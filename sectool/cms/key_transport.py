"""RSA key transport, read and written (RFC 5652 section 6.2.1, RFC 8017, RFC 4055)."""

from __future__ import annotations

from collections.abc import Callable

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    encode_recipient_identifier,
    hash_algorithm,
    hash_name,
    read_algorithm_identifier,
    require_null_or_absent,
)
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, UnwrappedKey
from sectool.cms.seams import (
    OAEP,
    KeyOperations,
    PKCS1v15,
    RecipientIdentifier,
    RSAPadding,
    SubjectKeyIdentifier,
)
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.values import dataclass


def _read_pkcs1_v15(algorithm: AlgorithmIdentifier) -> RSAPadding:
    require_null_or_absent(algorithm, "rsaEncryption")
    return PKCS1v15()


def _read_oaep(algorithm: AlgorithmIdentifier) -> RSAPadding:
    """RSAES-OAEP-params (RFC 4055 section 4.1).

    They must be present; who leaves them out means the defaults of RFC 8017 appendix A.2.1,
    as a writer does that drops what is empty. Anything else than them or nothing is damage.
    """
    what = "RSAES-OAEP-params"
    default = OAEP()
    if algorithm.parameters is None:
        return default
    reader = CMSReader.over(algorithm.parameters)
    reader.enter(tags.SEQUENCE, what)
    hash_function, mgf_hash, label = default.hash_name, default.mgf_hash_name, default.label
    if reader.at(tags.context(0)):
        reader.enter(tags.context(0), what)
        hash_function = hash_name(read_algorithm_identifier(reader, "hashFunc"), what)
        reader.leave(what)
    if reader.at(tags.context(1)):
        reader.enter(tags.context(1), what)
        mgf_hash = mgf1_hash(read_algorithm_identifier(reader, "maskGenFunc"))
        reader.leave(what)
    if reader.at(tags.context(2)):
        reader.enter(tags.context(2), what)
        label = _oaep_label(read_algorithm_identifier(reader, "pSourceFunc"))
        reader.leave(what)
    reader.leave(what)
    return OAEP(hash_function, mgf_hash, label)


def mgf1_hash(algorithm: AlgorithmIdentifier) -> str:
    """The hash function of the mask generation function MGF1 (RFC 8017 appendix B.2.1)."""
    if algorithm.oid != oids.MGF1:
        raise UnsupportedMessage(f"mask generation function {algorithm.oid} is not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the hash function of MGF1 is missing")
    reader = CMSReader.over(algorithm.parameters)
    return hash_name(read_algorithm_identifier(reader, "the hash function of MGF1"), "MGF1")


def _oaep_label(algorithm: AlgorithmIdentifier) -> bytes:
    if algorithm.oid != oids.P_SPECIFIED:
        raise UnsupportedMessage(f"OAEP label source {algorithm.oid} is not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the OAEP label is missing")
    reader = CMSReader.over(algorithm.parameters)
    return reader.read_octet_string("the OAEP label", reader.limits.identifier_size)


@dataclass(frozen=True, slots=True)
class KeyTransportRow:
    """One row of the table of key-transport algorithms."""

    oid: str
    parameters: str
    """What its parameters are, in a few words."""
    specification: str
    """The document that gives them."""
    read: Callable[[AlgorithmIdentifier], RSAPadding]
    """Reads the parameters; raises MalformedMessage or UnsupportedMessage."""


KEY_TRANSPORT = {
    row.oid: row
    for row in (
        KeyTransportRow(
            oids.RSA_ENCRYPTION, "NULL or none", "RFC 3370 section 4.2.1", _read_pkcs1_v15
        ),
        KeyTransportRow(oids.RSAES_OAEP, "RSAES-OAEP-params", "RFC 4055 section 4.1", _read_oaep),
    )
}
"""Rows by object identifier."""


def rsa_padding(algorithm: AlgorithmIdentifier) -> RSAPadding:
    """The padding a keyEncryptionAlgorithm names.

    Raises:
        MalformedMessage: its parameters are damaged; never read as another padding.
        UnsupportedMessage: it is none of RSA.
    """
    row = KEY_TRANSPORT.get(algorithm.oid)
    if row is None:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"key encryption {name} is not supported")
    return row.read(algorithm)


def check_key_transport(recipient_info: RecipientInfo) -> None:
    """Refuses what no key could open; raises as ``rsa_padding``."""
    assert recipient_info.algorithm is not None
    rsa_padding(recipient_info.algorithm)


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


def unwrap_key_transport(recipient_info: RecipientInfo, key: KeyOperations) -> UnwrappedKey:
    """The key of a KeyTransRecipientInfo; raises as ``unwrap``."""
    assert recipient_info.algorithm is not None
    padding = rsa_padding(recipient_info.algorithm)
    content_encryption_key = key.decrypt_rsa(recipient_info.encrypted_key, padding)
    return UnwrappedKey(content_encryption_key, is_proven=isinstance(padding, OAEP))
