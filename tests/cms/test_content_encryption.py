"""Every row of the table of content encryption opens what its document describes.

What is encrypted here is made with the libraries' one-shot calls; what other
programs write is held against in ``tests/interop``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from Cryptodome.Cipher import ARC2
from cryptography.hazmat.decrepit.ciphers import algorithms as decrepit
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.algorithms import CONTENT_ENCRYPTION
from sectool.errors import DecryptionFailed, MalformedMessage, MessageError, UnsupportedMessage

if TYPE_CHECKING:
    from tests.cms.conftest import Forge

OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]

CONTENT = b"Content-Type: text/plain\r\n\r\n" + random.Random(7).randbytes(5000)
IV = bytes(range(50, 66))
NONCE = bytes(range(12))
ATTRIBUTES = der.element(0xA1, der.sequence(der.oid("1.2.3.4"), der.set_of([der.integer(5)])))


def pad(content: bytes, block_size: int) -> bytes:
    size = block_size - len(content) % block_size
    return content + bytes((size,)) * size


# --- CBC ---


@dataclass(frozen=True)
class CBCCase:
    """An algorithm with its parameters, and what encrypts under it."""

    oid: str
    key: bytes
    parameters: bytes
    encrypt: Callable[[bytes, bytes], bytes]
    """From key and content to encrypted content."""


def block_cipher(
    oid: str,
    key_size: int,
    algorithm: Callable[[bytes], BlockCipherAlgorithm],
    parameters: Callable[[bytes], bytes] = der.octet_string,
    vector: bytes | None = None,
) -> CBCCase:
    iv = IV[: CONTENT_ENCRYPTION[oid].block_size] if vector is None else vector

    def encrypt(key: bytes, content: bytes) -> bytes:
        encryptor = Cipher(algorithm(key), modes.CBC(iv)).encryptor()
        return encryptor.update(pad(content, len(iv)))

    return CBCCase(oid, bytes(range(1, key_size + 1)), parameters(iv), encrypt)


def rc2(key_size: int, effective_bits: int, version: int) -> CBCCase:
    def encrypt(key: bytes, content: bytes) -> bytes:
        cipher = ARC2.new(  # type: ignore[call-arg]
            key, ARC2.MODE_CBC, iv=IV[:8], effective_keylen=effective_bits
        )
        return cipher.encrypt(pad(content, 8))

    parameters = der.sequence(der.integer(version), der.octet_string(IV[:8]))
    return CBCCase(oids.RC2_CBC, bytes(range(1, key_size + 1)), parameters, encrypt)


def cast5_sequence(bits: int) -> Callable[[bytes], bytes]:
    return lambda iv: der.sequence(der.octet_string(iv), der.integer(bits))


def in_sequence(iv: bytes) -> bytes:
    return der.sequence(der.octet_string(iv))


def single_des(key: bytes) -> BlockCipherAlgorithm:
    return decrepit.TripleDES(key * 3)


def two_key_triple_des(key: bytes) -> BlockCipherAlgorithm:
    return decrepit.TripleDES(key + key[:8])


CBC_CASES = {
    "aes-128-cbc": block_cipher(oids.AES_128_CBC, 16, AES),
    "aes-192-cbc": block_cipher(oids.AES_192_CBC, 24, AES),
    "aes-256-cbc": block_cipher(oids.AES_256_CBC, 32, AES),
    "camellia-128-cbc": block_cipher(oids.CAMELLIA_128_CBC, 16, decrepit.Camellia),
    "camellia-192-cbc": block_cipher(oids.CAMELLIA_192_CBC, 24, decrepit.Camellia),
    "camellia-256-cbc": block_cipher(oids.CAMELLIA_256_CBC, 32, decrepit.Camellia),
    "seed-cbc": block_cipher(oids.SEED_CBC, 16, decrepit.SEED),
    "sm4-cbc": block_cipher(oids.SM4_CBC, 16, SM4),
    "des-ede3-cbc three keys": block_cipher(oids.DES_EDE3_CBC, 24, decrepit.TripleDES),
    "des-ede3-cbc two keys": block_cipher(oids.DES_EDE3_CBC, 16, two_key_triple_des),
    "B38-des-cbc": block_cipher(oids.DES_CBC, 8, single_des),
    "B38-rc2-cbc 40": rc2(5, 40, 160),
    "rc2-cbc 40 of a key of 128": rc2(16, 40, 160),
    "rc2-cbc 56": rc2(7, 56, 52),
    "rc2-cbc 64": rc2(8, 64, 120),
    "rc2-cbc 64 of a key of 128": rc2(16, 64, 120),
    "rc2-cbc 128": rc2(16, 128, 58),
    "rc2-cbc 256": rc2(32, 256, 256),
    "rc2-cbc 1024": rc2(128, 1024, 1024),
    **{
        f"cast5-cbc {bits} bare": block_cipher(oids.CAST5_CBC, bits // 8, decrepit.CAST5)
        for bits in (40, 64, 80, 128)
    },
    **{
        f"cast5-cbc {bits} in a sequence": block_cipher(
            oids.CAST5_CBC, bits // 8, decrepit.CAST5, cast5_sequence(bits)
        )
        for bits in (40, 64, 80, 128)
    },
    "cast5-cbc without vector": block_cipher(
        oids.CAST5_CBC, 16, decrepit.CAST5, lambda _: der.sequence(der.integer(128)), bytes(8)
    ),
    "idea-cbc bare": block_cipher(oids.IDEA_CBC, 16, decrepit.IDEA),
    "idea-cbc in a sequence": block_cipher(oids.IDEA_CBC, 16, decrepit.IDEA, in_sequence),
    "blowfish-cbc 128": block_cipher(oids.BLOWFISH_CBC, 16, decrepit.Blowfish),
    "blowfish-cbc 448": block_cipher(oids.BLOWFISH_CBC, 56, decrepit.Blowfish),
}


@pytest.mark.parametrize("case", CBC_CASES.values(), ids=CBC_CASES)
def test_cbc_content_opens(case: CBCCase, forge: Forge, open_as_bob: OpenBytes) -> None:
    raw = forge.cbc(
        encrypted=case.encrypt(case.key, CONTENT),
        algorithm=der.sequence(der.oid(case.oid), case.parameters),
        recipients=[forge.recipient(key=case.key)],
    )
    result, content = open_as_bob(raw)
    assert content == CONTENT
    assert type(result) is cms.Unproven
    assert result.content_encryption_algorithm == oids.content_encryption_name(case.oid)


@pytest.mark.parametrize("case", CBC_CASES.values(), ids=CBC_CASES)
def test_cbc_content_does_not_open_with_a_key_of_another_length(
    case: CBCCase, forge: Forge, open_as_bob: OpenBytes
) -> None:
    raw = forge.cbc(
        encrypted=case.encrypt(case.key, CONTENT),
        algorithm=der.sequence(der.oid(case.oid), case.parameters),
        recipients=[forge.recipient(key=case.key + b"\0" * 100)],
    )
    with pytest.raises(DecryptionFailed):
        open_as_bob(raw)


def algorithm(oid: str, *parameters: bytes) -> bytes:
    return der.sequence(der.oid(oid), *parameters)


BAD_PARAMETERS: dict[str, tuple[bytes, type[MessageError]]] = {
    "rc2-cbc missing": (algorithm(oids.RC2_CBC), MalformedMessage),
    "rc2-cbc bare": (algorithm(oids.RC2_CBC, der.octet_string(bytes(8))), MalformedMessage),
    "rc2-cbc without vector": (
        algorithm(oids.RC2_CBC, der.sequence(der.integer(58))),
        MalformedMessage,
    ),
    "rc2-cbc with a short vector": (
        algorithm(oids.RC2_CBC, der.sequence(der.integer(58), der.octet_string(bytes(7)))),
        MalformedMessage,
    ),
    **{
        f"rc2-cbc version {version}": (
            algorithm(oids.RC2_CBC, der.sequence(der.integer(version), der.octet_string(bytes(8)))),
            UnsupportedMessage,
        )
        for version in (-1, 0xBD, 0xEA, 1025, 2**64)
    },
    **{
        f"cast5-cbc {bits} bits": (
            algorithm(oids.CAST5_CBC, der.sequence(der.octet_string(bytes(8)), der.integer(bits))),
            MalformedMessage,
        )
        for bits in (-40, 0, 32, 44, 136, 2**64)
    },
    "cast5-cbc without length": (
        algorithm(oids.CAST5_CBC, der.sequence(der.octet_string(bytes(8)))),
        MalformedMessage,
    ),
    "idea-cbc without vector": (algorithm(oids.IDEA_CBC, der.sequence()), UnsupportedMessage),
    "idea-cbc null": (algorithm(oids.IDEA_CBC, der.NULL), MalformedMessage),
    "camellia-256-cbc short vector": (
        algorithm(oids.CAMELLIA_256_CBC, der.octet_string(bytes(8))),
        MalformedMessage,
    ),
    "rc4": (algorithm("1.2.840.113549.3.4", der.NULL), UnsupportedMessage),
    "aes-256-ccm": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(NONCE))),
        MalformedMessage,
    ),
    "chacha20-poly1305": (
        algorithm(oids.CHACHA20_POLY1305, der.octet_string(NONCE)),
        MalformedMessage,
    ),
}


@pytest.mark.parametrize(("bad", "error"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS)
def test_parameters_that_cannot_serve_are_refused(
    bad: bytes, error: type[MessageError], forge: Forge, open_as_bob: OpenBytes
) -> None:
    with pytest.raises(MessageError) as caught:
        open_as_bob(forge.cbc(algorithm=bad))
    assert type(caught.value) is error


# --- with a tag ---


@dataclass(frozen=True)
class AEADCase:
    """An algorithm with its parameters, and what encrypts under it."""

    oid: str
    key: bytes
    parameters: bytes
    tag_size: int
    encrypt: Callable[[bytes, bytes, bytes], bytes]
    """From key, content and additional data to encrypted content and tag."""


def ccm(
    oid: str, key_size: int, *, nonce: int = 12, tag: int = 16, declared: bool = True
) -> AEADCase:
    def encrypt(key: bytes, content: bytes, additional_data: bytes) -> bytes:
        return AESCCM(key, tag).encrypt(IV[:nonce], content, additional_data)

    size = der.integer(tag) if declared else b""
    parameters = der.sequence(der.octet_string(IV[:nonce]), size)
    return AEADCase(oid, bytes(range(1, key_size + 1)), parameters, tag, encrypt)


def chacha20(key: bytes, content: bytes, additional_data: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(NONCE, content, additional_data)


AEAD_CASES = {
    "B45-aes-128-ccm": ccm(oids.AES_128_CCM, 16),
    "aes-192-ccm": ccm(oids.AES_192_CCM, 24),
    "aes-256-ccm": ccm(oids.AES_256_CCM, 32),
    **{
        f"aes-256-ccm nonce of {nonce}": ccm(oids.AES_256_CCM, 32, nonce=nonce)
        for nonce in (7, 8, 13)
    },
    **{
        f"aes-256-ccm tag of {tag}": ccm(oids.AES_256_CCM, 32, tag=tag)
        for tag in (4, 6, 8, 10, 12, 14)
    },
    "aes-256-ccm tag of 12 undeclared": ccm(oids.AES_256_CCM, 32, tag=12, declared=False),
    "aes-256-ccm tag of 16 undeclared": ccm(oids.AES_256_CCM, 32, tag=16, declared=False),
    "chacha20-poly1305": AEADCase(
        oids.CHACHA20_POLY1305, bytes(range(32)), der.octet_string(NONCE), 16, chacha20
    ),
}


def seal(
    forge: Forge,
    case: AEADCase,
    content: bytes = CONTENT,
    *,
    attributes: bytes = b"",
    written_attributes: bytes | None = None,
    alter: Callable[[bytes], bytes] = lambda encrypted: encrypted,
) -> bytes:
    additional_data = b"\x31" + attributes[1:] if attributes else b""
    sealed = alter(case.encrypt(case.key, content, additional_data))
    encrypted, tag = sealed[: -case.tag_size], sealed[-case.tag_size :]
    written = attributes if written_attributes is None else written_attributes
    return forge.cbc(
        encrypted=encrypted,
        algorithm=algorithm(case.oid, case.parameters),
        recipients=[forge.recipient(key=case.key)],
        content_type=oids.AUTH_ENVELOPED_DATA,
        after=written + der.octet_string(tag),
    )


@pytest.mark.parametrize("attributes", [b"", ATTRIBUTES], ids=["plain", "with attributes"])
@pytest.mark.parametrize("case", AEAD_CASES.values(), ids=AEAD_CASES)
def test_authenticated_content_opens(
    case: AEADCase, attributes: bytes, forge: Forge, open_as_bob: OpenBytes
) -> None:
    result, content = open_as_bob(seal(forge, case, attributes=attributes))
    assert content == CONTENT
    assert (type(result), result.aead) == (cms.Authenticated, True)
    assert result.content_encryption_algorithm == oids.content_encryption_name(case.oid)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65])
@pytest.mark.parametrize("case", ["aes-256-ccm", "chacha20-poly1305"])
def test_authenticated_content_of_any_size_opens(
    size: int, case: str, forge: Forge, open_as_bob: OpenBytes
) -> None:
    _, content = open_as_bob(seal(forge, AEAD_CASES[case], bytes(size)))
    assert content == bytes(size)


@pytest.mark.parametrize("case", ["aes-256-ccm", "chacha20-poly1305"])
def test_large_authenticated_content_is_streamed(
    case: str, forge: Forge, open_as_bob: OpenBytes
) -> None:
    large = random.Random(3).randbytes(1_500_000)
    _, content = open_as_bob(seal(forge, AEAD_CASES[case], large))
    assert content == large


def flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(raw: bytes) -> bytes:
        altered = bytearray(raw)
        altered[position] ^= 1
        return bytes(altered)

    return flipped


@pytest.mark.parametrize("position", [0, 3000, -1], ids=["first", "middle", "tag"])
@pytest.mark.parametrize("case", AEAD_CASES.values(), ids=AEAD_CASES)
def test_altered_content_or_tag_fails(
    case: AEADCase, position: int, forge: Forge, open_as_bob: OpenBytes
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        open_as_bob(seal(forge, case, alter=flip(position)))
    assert str(caught.value) == DecryptionFailed.TEXT


@pytest.mark.parametrize("case", ["aes-256-ccm", "chacha20-poly1305"])
@pytest.mark.parametrize("written", [b"", ATTRIBUTES], ids=["removed", "added"])
def test_other_attributes_than_those_authenticated_fail(
    written: bytes, case: str, forge: Forge, open_as_bob: OpenBytes
) -> None:
    attributes = b"" if written else ATTRIBUTES
    raw = seal(forge, AEAD_CASES[case], attributes=attributes, written_attributes=written)
    with pytest.raises(DecryptionFailed):
        open_as_bob(raw)


BAD_AEAD: dict[str, tuple[bytes, int]] = {
    "ccm nonce of 6": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(bytes(6)), der.integer(16))),
        16,
    ),
    "ccm nonce of 14": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(bytes(14)), der.integer(16))),
        16,
    ),
    "ccm tag length of 5": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(NONCE), der.integer(5))),
        5,
    ),
    "ccm tag length of 2": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(NONCE), der.integer(2))),
        2,
    ),
    "ccm tag shorter than declared": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(NONCE), der.integer(16))),
        8,
    ),
    "ccm tag of 8 undeclared": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(NONCE))),
        8,
    ),
    "ccm parameters missing": (algorithm(oids.AES_256_CCM), 16),
    "ccm content longer than the nonce allows": (
        algorithm(oids.AES_256_CCM, der.sequence(der.octet_string(bytes(13)), der.integer(16))),
        16,
    ),
    "chacha20 nonce of 8": (algorithm(oids.CHACHA20_POLY1305, der.octet_string(bytes(8))), 16),
    "chacha20 parameters missing": (algorithm(oids.CHACHA20_POLY1305), 16),
    "chacha20 tag of 12": (algorithm(oids.CHACHA20_POLY1305, der.octet_string(NONCE)), 12),
    "camellia-256-cbc": (algorithm(oids.CAMELLIA_256_CBC, der.octet_string(IV)), 16),
    "rc2-cbc": (
        algorithm(oids.RC2_CBC, der.sequence(der.integer(58), der.octet_string(IV[:8]))),
        16,
    ),
}


@pytest.mark.parametrize(("bad", "tag_size"), BAD_AEAD.values(), ids=BAD_AEAD)
def test_what_cannot_be_authenticated_is_malformed(
    bad: bytes, tag_size: int, forge: Forge, open_as_bob: OpenBytes
) -> None:
    raw = forge.cbc(
        encrypted=bytes(65_536),
        algorithm=bad,
        content_type=oids.AUTH_ENVELOPED_DATA,
        after=der.octet_string(bytes(tag_size)),
    )
    with pytest.raises(MalformedMessage):
        open_as_bob(raw)
