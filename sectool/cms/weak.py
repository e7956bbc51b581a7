"""Content encryption that old mail needs to be opened, and nothing is ever sealed with.

Short keys or blocks of 8 bytes: RFC 3370 (Triple DES, RC2), RFC 2984 (CAST5),
RFC 3058 (IDEA). DES and Blowfish have no document for CMS; their parameters are
the initialization vector.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import ClassVar

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, IDEA, Blowfish, TripleDES

from sectool.asn1 import tags
from sectool.cms import oids, rc2
from sectool.cms.ciphers import (
    CBC,
    CBCDecryptor,
    ContentEncryption,
    Decryptor,
    SealedContent,
    check_whole_blocks,
    parameters_reader,
    read_iv,
)
from sectool.errors import MalformedMessage, UnsupportedMessage

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
