"""The table of content-encryption algorithms that can be opened.

One row each; ``weak`` has those nothing is sealed with. Another algorithm is
another row, and a class like ``ciphers.CBC`` where its mode or parameters are new.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.algorithms import AES

from sectool.cms import oids
from sectool.cms.ciphers import CBC, GCM, ContentCipher, ContentEncryption
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.weak import WEAK_CONTENT_ENCRYPTION
from sectool.errors import MalformedMessage, UnsupportedMessage


def _aes_cbc(oid: str, key_size: int) -> ContentEncryption:
    return ContentEncryption(
        oid=oid,
        key_sizes=(key_size,),
        block_size=16,
        is_aead=False,
        specification="RFC 3565 section 4.1",
        block_cipher=AES,
        read=CBC.read,
        new=CBC.new,
    )


def _aes_gcm(oid: str, key_size: int) -> ContentEncryption:
    return ContentEncryption(
        oid=oid,
        key_sizes=(key_size,),
        block_size=16,
        is_aead=True,
        specification="RFC 5084 section 3.2",
        block_cipher=AES,
        read=GCM.read,
        new=GCM.new,
    )


CONTENT_ENCRYPTION: dict[str, ContentEncryption] = {
    row.oid: row
    for row in (
        _aes_cbc(oids.AES_128_CBC, 16),
        _aes_cbc(oids.AES_192_CBC, 24),
        _aes_cbc(oids.AES_256_CBC, 32),
        _aes_gcm(oids.AES_128_GCM, 16),
        _aes_gcm(oids.AES_192_GCM, 24),
        _aes_gcm(oids.AES_256_GCM, 32),
        *WEAK_CONTENT_ENCRYPTION,
    )
}
"""Rows by object identifier."""


def content_cipher(algorithm: AlgorithmIdentifier, *, content_type: str) -> ContentCipher:
    """The cipher of an EncryptedContentInfo, its parameters read.

    Args:
        algorithm: contentEncryptionAlgorithm.
        content_type: of the envelope. AuthEnvelopedData admits only AEADs: with a
            plain mode its tag would be ignored. EnvelopedData admits none, as it
            has no place for a tag.

    Raises:
        UnsupportedMessage: the algorithm has no row.
        MalformedMessage: its parameters are damaged, or it does not belong there.
    """
    name = oids.content_encryption_name(algorithm.oid)
    row = CONTENT_ENCRYPTION.get(algorithm.oid)
    if row is None:
        raise UnsupportedMessage(f"content encryption {name} is not supported")
    if row.is_aead != (content_type == oids.AUTH_ENVELOPED_DATA):
        envelope = oids.content_type_name(content_type)
        raise MalformedMessage(f"content encryption {name} has no place in {envelope}")
    return row.read(row, algorithm.parameters)
