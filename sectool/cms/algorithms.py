"""The table of content-encryption algorithms that can be opened.

One row each; the weak ones are those nothing is sealed with. Another algorithm is
another row, and a class like ``ciphers.CBC`` or ``aead.CCM`` where its mode or parameters are new.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from functools import partial
from typing import ClassVar

from cryptography.hazmat.decrepit.ciphers.algorithms import (
    CAST5,
    IDEA,
    SEED,
    Blowfish,
    Camellia,
    TripleDES,
)
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sectool.asn1 import der, tags
from sectool.cms import oids, rc2
from sectool.cms.aead import CCM, GCM, ChaCha20Poly1305, GCMWithTag
from sectool.cms.ciphers import (
    CBC,
    CBCDecryptor,
    ContentCipher,
    ContentEncryption,
    Decryptor,
    SealedContent,
    check_whole_blocks,
    parameters_reader,
    read_iv,
)
from sectool.cms.identifiers import AlgorithmIdentifier, read_algorithm_identifier
from sectool.cms.reader import CMSReader
from sectool.errors import MalformedMessage, UnsupportedMessage
from sectool.values import dataclass

# --- what old mail needs to be opened, and nothing is ever sealed with ----------------------------
# Short keys or blocks of 8 bytes: RFC 3370 (Triple DES, RC2), RFC 2984 (CAST5),
# RFC 3058 (IDEA). DES and Blowfish have no document for CMS; their parameters are
# the initialization vector.

_BLOCK_SIZE = 8
_DES_KEY_SIZE = 8
_WHOLE_RC2_KEY_SIZE = 16
"""Windows cuts the effective bits of a key of 128 bits; others write a short key."""
_CAST5_KEY_SIZES = range(5, 16 + 1)


def _des(key: bytes) -> TripleDES:
    """DES: three times the same key; parity bits are not looked at."""
    return TripleDES(3 * key)


def _triple_des(key: bytes) -> TripleDES:
    """Triple DES with two or three keys; parity bits are not looked at.

    The two-key form K1, K2 is K1, K2, K1 (RFC 3370 section 5.1).
    """
    return TripleDES(key if len(key) == 3 * _DES_KEY_SIZE else key + key[:_DES_KEY_SIZE])


def _read_cast5(row: ContentEncryption, parameters: bytes | None) -> CBC:
    """CastCBCParameters (RFC 2984 section 2): vector and key length in bits.

    OpenSSL writes the bare vector, which leaves the length of the key open.
    """
    reader = parameters_reader(parameters)
    if reader.at(tags.OCTET_STRING):
        return CBC(row, read_iv(reader, row.block_size))
    what = "the CAST5 parameters"
    reader.enter(tags.SEQUENCE, what)
    iv = bytes(row.block_size)
    if reader.at(tags.OCTET_STRING):
        iv = read_iv(reader, row.block_size)
    size, odd_bits = divmod(reader.read_integer("the CAST5 key length"), 8)
    reader.leave(what)
    if odd_bits or size not in _CAST5_KEY_SIZES:
        raise MalformedMessage("the CAST5 key length is not 40 to 128 bits")
    return CBC(replace(row, key_sizes=(size,)), iv)


def _read_idea(row: ContentEncryption, parameters: bytes | None) -> CBC:
    """IDEA-CBCPar (RFC 3058 section 4), or the bare vector as OpenSSL writes it."""
    reader = parameters_reader(parameters)
    if reader.at(tags.OCTET_STRING):
        return CBC(row, read_iv(reader, row.block_size))
    reader.enter(tags.SEQUENCE, "the IDEA parameters")
    if reader.peek() is None:
        raise UnsupportedMessage("IDEA with its vector in the content is not supported")
    iv = read_iv(reader, row.block_size)
    reader.leave("the IDEA parameters")
    return CBC(row, iv)


@dataclass(frozen=True, slots=True)
class RC2CBC:
    """RC2 in CBC mode, its effective key length read from the parameters."""

    is_aead: ClassVar[bool] = False
    iv: bytes
    effective_bits: int

    @classmethod
    def read(cls, row: ContentEncryption, parameters: bytes | None) -> RC2CBC:
        """RC2-CBC parameters (RFC 3370 section 5.2, RFC 2268 section 6)."""
        reader = parameters_reader(parameters)
        what = "the RC2 parameters"
        reader.enter(tags.SEQUENCE, what)
        version = reader.read_integer("the RC2 parameter version")
        iv = read_iv(reader, row.block_size)
        reader.leave(what)
        bits = rc2.effective_key_bits(version)
        if bits not in rc2.EFFECTIVE_BITS:
            raise UnsupportedMessage(f"RC2 parameter version {version} is not supported")
        return cls(iv, bits)

    @property
    def key_sizes(self) -> Container[int]:
        return {(self.effective_bits + 7) // 8, _WHOLE_RC2_KEY_SIZE}

    def check(self, sealed: SealedContent) -> None:
        check_whole_blocks(sealed.size, rc2.BLOCK_SIZE)

    def decryptor(self, key: bytes, sealed: SealedContent) -> Decryptor:  # noqa: ARG002 - the seam
        return CBCDecryptor(rc2.RC2Decryptor(key, self.effective_bits, self.iv), rc2.BLOCK_SIZE)


WEAK_CONTENT_ENCRYPTION = (
    ContentEncryption(
        oids.DES_EDE3_CBC,
        (3 * _DES_KEY_SIZE, 2 * _DES_KEY_SIZE),
        _BLOCK_SIZE,
        "RFC 3370 section 5.1",
        CBC.read,
        block_cipher=_triple_des,
    ),
    ContentEncryption(
        oids.DES_CBC,
        (_DES_KEY_SIZE,),
        _BLOCK_SIZE,
        "OIW; as OpenSSL writes it",
        CBC.read,
        block_cipher=_des,
    ),
    ContentEncryption(
        oids.RC2_CBC,
        (),
        rc2.BLOCK_SIZE,
        "RFC 3370 section 5.2",
        RC2CBC.read,
        "RC2-CBC-Parameter: version, which gives the effective key bits, and vector",
    ),
    ContentEncryption(
        oids.CAST5_CBC,
        tuple(_CAST5_KEY_SIZES),
        _BLOCK_SIZE,
        "RFC 2984 section 2",
        _read_cast5,
        "CastCBCParameters: vector and key bits; or the vector alone",
        block_cipher=CAST5,
    ),
    ContentEncryption(
        oids.IDEA_CBC,
        (16,),
        _BLOCK_SIZE,
        "RFC 3058 section 4",
        _read_idea,
        "IDEA-CBCPar: vector; or the vector alone",
        block_cipher=IDEA,
    ),
    ContentEncryption(
        oids.BLOWFISH_CBC,
        (16, 24, 32, 56),
        _BLOCK_SIZE,
        "none; as OpenSSL writes it",
        CBC.read,
        block_cipher=Blowfish,
    ),
)


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
