"""The table of content-encryption algorithms that can be opened.

One row each; ``weak`` has those nothing is sealed with. Another algorithm is
another row, and a class like ``ciphers.CBC`` or ``aead.CCM`` where its mode or parameters are new.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import SEED, Camellia
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

from sectool.cms import oids
from sectool.cms.aead import CCM, GCM, ChaCha20Poly1305, GCMWithTag
from sectool.cms.cek_hkdf import DerivedKeyCipher, read_inner_algorithm
from sectool.cms.ciphers import CBC, ContentCipher, ContentEncryption
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.cms.weak import WEAK_CONTENT_ENCRYPTION
from sectool.errors import MalformedMessage, UnsupportedMessage


def _cbc(
    oid: str,
    key_size: int,
    block_cipher: Callable[[bytes], BlockCipherAlgorithm],
    specification: str,
    *,
    is_written: bool = False,
) -> ContentEncryption:
    return ContentEncryption(
        oid=oid,
        key_sizes=(key_size,),
        block_size=16,
        is_aead=False,
        parameters="initialization vector",
        specification=specification,
        read=CBC.read,
        block_cipher=block_cipher,
        new=CBC.new if is_written else None,
    )


def _gcm(oid: str, key_size: int) -> ContentEncryption:
    return ContentEncryption(
        oid=oid,
        key_sizes=(key_size,),
        block_size=16,
        is_aead=True,
        parameters="GCMParameters",
        specification="RFC 5084 section 3.2",
        read=GCM.read,
        read_with_tag=GCMWithTag.read,
        new=GCM.new,
    )


def _ccm(oid: str, key_size: int) -> ContentEncryption:
    return ContentEncryption(
        oid=oid,
        key_sizes=(key_size,),
        block_size=16,
        is_aead=True,
        parameters="CCMParameters",
        specification="RFC 5084 section 3.1",
        read=CCM.read,
    )


_CHACHA20_POLY1305 = ContentEncryption(
    oid=oids.CHACHA20_POLY1305,
    key_sizes=(32,),
    block_size=64,
    is_aead=True,
    parameters="nonce of 12 bytes",
    specification="RFC 8103 section 3",
    read=ChaCha20Poly1305.read,
)

CONTENT_ENCRYPTION: dict[str, ContentEncryption] = {
    row.oid: row
    for row in (
        _cbc(oids.AES_128_CBC, 16, AES, "RFC 3565 section 4.1", is_written=True),
        _cbc(oids.AES_192_CBC, 24, AES, "RFC 3565 section 4.1", is_written=True),
        _cbc(oids.AES_256_CBC, 32, AES, "RFC 3565 section 4.1", is_written=True),
        _cbc(oids.CAMELLIA_128_CBC, 16, Camellia, "RFC 3657 section 3.2"),
        _cbc(oids.CAMELLIA_192_CBC, 24, Camellia, "RFC 3657 section 3.2"),
        _cbc(oids.CAMELLIA_256_CBC, 32, Camellia, "RFC 3657 section 3.2"),
        _cbc(oids.SEED_CBC, 16, SEED, "RFC 4010 section 3"),
        _cbc(oids.SM4_CBC, 16, SM4, "GM/T 0010; as OpenSSL writes it"),
        _gcm(oids.AES_128_GCM, 16),
        _gcm(oids.AES_192_GCM, 24),
        _gcm(oids.AES_256_GCM, 32),
        _ccm(oids.AES_128_CCM, 16),
        _ccm(oids.AES_192_CCM, 24),
        _ccm(oids.AES_256_CCM, 32),
        _CHACHA20_POLY1305,
        *WEAK_CONTENT_ENCRYPTION,
    )
}
"""Rows by object identifier."""


def content_cipher(algorithm: AlgorithmIdentifier, *, content_type: str) -> ContentCipher:
    """The cipher of an EncryptedContentInfo, its parameters read.

    Args:
        algorithm: contentEncryptionAlgorithm.
        content_type: of the envelope. AuthEnvelopedData admits only AEADs: with a
            plain mode its tag would be ignored. EnvelopedData has no place for a tag,
            so that the content has to end in it.

    Raises:
        UnsupportedMessage: the algorithm has no row.
        MalformedMessage: its parameters are damaged, or it does not belong there.
    """
    if algorithm.oid == oids.CEK_HKDF_SHA256:
        inner = read_inner_algorithm(algorithm)
        return DerivedKeyCipher(content_cipher(inner, content_type=content_type), inner)
    name = oids.content_encryption_name(algorithm.oid)
    row = CONTENT_ENCRYPTION.get(algorithm.oid)
    if row is None:
        raise UnsupportedMessage(f"content encryption {name} is not supported")
    has_tag = content_type == oids.AUTH_ENVELOPED_DATA
    if row.read_with_tag is not None and not has_tag:
        return row.read_with_tag(row, algorithm.parameters)
    if row.is_aead != has_tag:
        envelope = oids.content_type_name(content_type)
        raise MalformedMessage(f"content encryption {name} has no place in {envelope}")
    return row.read(row, algorithm.parameters)
