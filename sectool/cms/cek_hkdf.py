"""A content-encryption key that is bound to its algorithm before use (RFC 9709).

The algorithm inside is judged by the table of content encryption like any other.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.ciphers import ContentCipher, Decryptor, SealedContent
from sectool.cms.identifiers import AlgorithmIdentifier, read_algorithm_identifier
from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage

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
