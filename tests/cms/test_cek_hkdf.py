"""Keys that are bound to their algorithm open any content encryption (RFC 9709)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.cms.algorithms import derive_key
from sectool.cms.identifiers import AlgorithmIdentifier
from sectool.errors import DecryptionFailed, MalformedMessage, MessageError, UnsupportedMessage

if TYPE_CHECKING:
    from tests.cms.conftest import Forge

OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Encrypt = Callable[[bytes], bytes]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
KEY = bytes(range(32))
NONCE = bytes(range(12))
RFC_KEY = bytes.fromhex("c702e7d0a9e064b09ba55245fb733cf3")


def identifier(oid: str, *parameters: bytes) -> AlgorithmIdentifier:
    return AlgorithmIdentifier(oid, b"".join(parameters) or None)


GCM = identifier(oids.AES_256_GCM, der.sequence(der.octet_string(NONCE), der.integer(16)))
CHACHA20 = identifier(oids.CHACHA20_POLY1305, der.octet_string(NONCE))


def cbc(algorithm: Callable[[bytes], BlockCipherAlgorithm], iv: bytes) -> Callable[[bytes], bytes]:
    def encrypt(key: bytes) -> bytes:
        size = len(iv) - len(CONTENT) % len(iv)
        encryptor = Cipher(algorithm(key), modes.CBC(iv)).encryptor()
        return encryptor.update(CONTENT + bytes((size,)) * size)

    return encrypt


CBC = {
    "aes-256-cbc": (identifier(oids.AES_256_CBC, der.octet_string(bytes(16))), AES, 16, 32),
    "des-ede3-cbc": (identifier(oids.DES_EDE3_CBC, der.octet_string(bytes(8))), TripleDES, 8, 24),
}
AEAD: dict[str, tuple[AlgorithmIdentifier, Encrypt]] = {
    "aes-256-gcm": (GCM, lambda key: AESGCM(key).encrypt(NONCE, CONTENT, None)),
    "chacha20-poly1305": (
        CHACHA20,
        lambda key: ChaCha20Poly1305(key).encrypt(NONCE, CONTENT, None),
    ),
}


def outer(inner: bytes) -> bytes:
    return der.sequence(der.oid(oids.CEK_HKDF_SHA256), inner)


def test_the_derived_key_is_that_of_the_rfc() -> None:
    inner = bytes.fromhex("301b0609608648016503040106300e040c5c79058ba2f43447639d29e2")
    parameters = inner[2 + 11 :]
    derived = derive_key(RFC_KEY, AlgorithmIdentifier(oids.AES_128_GCM, parameters))
    assert derived.hex() == "2124ffb29fac4e0fbbc7d5d87492bff3"


@pytest.mark.parametrize(("inner", "algorithm", "block", "size"), CBC.values(), ids=CBC)
def test_cbc_under_a_derived_key_opens(
    inner: AlgorithmIdentifier,
    algorithm: Callable[[bytes], BlockCipherAlgorithm],
    block: int,
    size: int,
    forge: Forge,
    open_as_bob: OpenBytes,
) -> None:
    key = KEY[:size]
    raw = forge.cbc(
        encrypted=cbc(algorithm, bytes(block))(derive_key(key, inner)),
        algorithm=outer(inner.encode()),
        recipients=[forge.recipient(key=key)],
    )
    result, content = open_as_bob(raw)
    assert (content, type(result)) == (CONTENT, cms.Unproven)
    assert result.content_encryption_algorithm == "cek-hkdf-sha256"


def authenticated(
    forge: Forge, inner: AlgorithmIdentifier, encrypt: Encrypt, *, key: bytes
) -> bytes:
    sealed = encrypt(key)
    return forge.cbc(
        encrypted=sealed[:-16],
        algorithm=outer(inner.encode()),
        recipients=[forge.recipient(key=KEY)],
        content_type=oids.AUTH_ENVELOPED_DATA,
        after=der.octet_string(sealed[-16:]),
    )


@pytest.mark.parametrize(("inner", "encrypt"), AEAD.values(), ids=AEAD)
def test_authenticated_content_under_a_derived_key_opens(
    inner: AlgorithmIdentifier, encrypt: Encrypt, forge: Forge, open_as_bob: OpenBytes
) -> None:
    raw = authenticated(forge, inner, encrypt, key=derive_key(KEY, inner))
    result, content = open_as_bob(raw)
    assert (content, type(result)) == (CONTENT, cms.Authenticated)


def test_the_key_that_was_not_derived_fails(forge: Forge, open_as_bob: OpenBytes) -> None:
    with pytest.raises(DecryptionFailed):
        open_as_bob(authenticated(forge, *AEAD["aes-256-gcm"], key=KEY))


BAD: dict[str, tuple[bytes, str, type[MessageError]]] = {
    "parameters missing": (b"", oids.ENVELOPED_DATA, MalformedMessage),
    "parameters null": (der.NULL, oids.ENVELOPED_DATA, MalformedMessage),
    "itself": (outer(GCM.encode()), oids.AUTH_ENVELOPED_DATA, MalformedMessage),
    "cbc where a tag is": (
        identifier(oids.AES_256_CBC, der.octet_string(bytes(16))).encode(),
        oids.AUTH_ENVELOPED_DATA,
        MalformedMessage,
    ),
    "gcm where no tag is": (GCM.encode(), oids.ENVELOPED_DATA, UnsupportedMessage),
    "rc4": (
        identifier("1.2.840.113549.3.4", der.NULL).encode(),
        oids.ENVELOPED_DATA,
        UnsupportedMessage,
    ),
    "unknown": (identifier("1.2.3.4.5").encode(), oids.AUTH_ENVELOPED_DATA, UnsupportedMessage),
}


@pytest.mark.parametrize(("inner", "content_type", "error"), BAD.values(), ids=BAD)
def test_what_stands_inside_is_judged_as_if_it_stood_alone(
    inner: bytes,
    content_type: str,
    error: type[MessageError],
    forge: Forge,
    open_as_bob: OpenBytes,
) -> None:
    after = der.octet_string(bytes(16)) if content_type == oids.AUTH_ENVELOPED_DATA else b""
    with pytest.raises(MessageError) as caught:
        open_as_bob(forge.cbc(algorithm=outer(inner), content_type=content_type, after=after))
    assert type(caught.value) is error
