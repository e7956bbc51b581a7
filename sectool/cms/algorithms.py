"""The table of content-encryption algorithms that can be opened.

One row each; ``weak`` has those nothing is sealed with. Another algorithm is
another row, and a class like ``ciphers.CBC`` or ``aead.CCM`` where its mode or parameters are new.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.decrepit.ciphers.algorithms import SEED, Camellia
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.aead import CCM, GCM, ChaCha20Poly1305, GCMWithTag
from sectool.cms.ciphers import CBC, ContentCipher, ContentEncryption, Decryptor, SealedContent
from sectool.cms.identifiers import AlgorithmIdentifier, read_algorithm_identifier
from sectool.cms.reader import CMSReader
from sectool.cms.weak import WEAK_CONTENT_ENCRYPTION
from sectool.errors import MalformedMessage, UnsupportedMessage

# --- a content-encryption key that is bound to its algorithm before use (RFC 9709) ----------------
# The algorithm inside is judged by the table below like any other.

_SALT = b"The Cryptographic Message Syntax"


def read_inner_algorithm(algorithm: AlgorithmIdentifier) -> AlgorithmIdentifier:
    """The algorithm that encrypts the content, from the parameters (RFC 9709 section 3).

    Raises:
        MalformedMessage: it is missing, damaged, or derives a key in its turn.
    """
    what = "the content encryption within cek-hkdf-sha256"
    if algorithm.parameters is None:
        raise MalformedMessage(f"{what} is missing")
    inner = read_algorithm_identifier(CMSReader.over(algorithm.parameters), what)
    if inner.oid == oids.CEK_HKDF_SHA256:
        raise MalformedMessage(f"{what} is cek-hkdf-sha256 again")
    return inner


def derive_key(content_encryption_key: bytes, inner: AlgorithmIdentifier) -> bytes:
    """CEK' of RFC 9709 section 2, as long as the key it is made from."""
    info = der.canonical(inner.encode())
    hkdf = HKDF(SHA256(), length=len(content_encryption_key), salt=_SALT, info=info)
    return hkdf.derive(content_encryption_key)


@dataclass(frozen=True, slots=True)
class DerivedKeyCipher:
    """A content cipher under the derived key."""

    cipher: ContentCipher
    inner: AlgorithmIdentifier

    @property
    def key_sizes(self) -> Container[int]:
        return self.cipher.key_sizes

    @property
    def is_aead(self) -> bool:
        return self.cipher.is_aead

    def check(self, sealed: SealedContent) -> None:
        self.cipher.check(sealed)

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:
        return self.cipher.decryptor(derive_key(key, self.inner), sealed)


# --- the table -----------------------------------------------------------------------------------

_aes_cbc = partial(
    ContentEncryption,
    block_size=16,
    specification="RFC 3565 section 4.1",
    read=CBC.read,
    block_cipher=AES,
    new=CBC.new,
)
_camellia_cbc = partial(
    ContentEncryption,
    block_size=16,
    specification="RFC 3657 section 3.2",
    read=CBC.read,
    block_cipher=Camellia,
)
_gcm = partial(
    ContentEncryption,
    block_size=16,
    specification="RFC 5084 section 3.2",
    read=GCM.read,
    parameters="GCMParameters",
    is_aead=True,
    read_with_tag=GCMWithTag.read,
    new=GCM.new,
)
_ccm = partial(
    ContentEncryption,
    block_size=16,
    specification="RFC 5084 section 3.1",
    read=CCM.read,
    parameters="CCMParameters",
    is_aead=True,
)

CONTENT_ENCRYPTION: dict[str, ContentEncryption] = {
    row.oid: row
    for row in (
        _aes_cbc(oids.AES_128_CBC, (16,)),
        _aes_cbc(oids.AES_192_CBC, (24,)),
        _aes_cbc(oids.AES_256_CBC, (32,)),
        _camellia_cbc(oids.CAMELLIA_128_CBC, (16,)),
        _camellia_cbc(oids.CAMELLIA_192_CBC, (24,)),
        _camellia_cbc(oids.CAMELLIA_256_CBC, (32,)),
        ContentEncryption(
            oids.SEED_CBC, (16,), 16, "RFC 4010 section 3", CBC.read, block_cipher=SEED
        ),
        ContentEncryption(
            oids.SM4_CBC, (16,), 16, "GM/T 0010; as OpenSSL writes it", CBC.read, block_cipher=SM4
        ),
        _gcm(oids.AES_128_GCM, (16,)),
        _gcm(oids.AES_192_GCM, (24,)),
        _gcm(oids.AES_256_GCM, (32,)),
        _ccm(oids.AES_128_CCM, (16,)),
        _ccm(oids.AES_192_CCM, (24,)),
        _ccm(oids.AES_256_CCM, (32,)),
        ContentEncryption(
            oids.CHACHA20_POLY1305,
            key_sizes=(32,),
            block_size=64,
            specification="RFC 8103 section 3",
            read=ChaCha20Poly1305.read,
            parameters="nonce of 12 bytes",
            is_aead=True,
        ),
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
