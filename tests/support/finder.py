"""Finds by brute force what OpenSSL opens in a message, wherever and however it lies.

Knows nothing of sectool: the email package, regular expressions and openssl.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email
import gzip
import io
import re
import zipfile
from collections.abc import Iterator, Sequence

from tests.support import libcrypto
from tests.support.checker import Key

_BASE64 = re.compile(rb"MI[A-Za-z0-9+/=\s>]{60,}")
"""A SEQUENCE of over 127 bytes or of indefinite length begins so."""

_OIDS = (
    bytes.fromhex("06092a864886f70d010703"),  # id-envelopedData
    bytes.fromhex("060b2a864886f70d0109100117"),  # id-ct-authEnvelopedData
)

_FURTHEST = 12
"""Bytes from the beginning of a ContentInfo to its content type, at most."""

_DEEPEST = 5


def opens(raw: bytes, keys: Sequence[Key]) -> bool:
    """Whether openssl opens anything in a message with any of these keys.

    Args:
        raw: the stored message.
        keys: to try.
    """
    return any(_opens(cms, key) for cms in set(_envelopes(raw)) for key in keys)


def _opens(cms: bytes, key: Key) -> bool:
    if libcrypto.decrypted(cms, key.private_key, key.certificate) is not None:
        return True
    unnamed = libcrypto.decrypted(cms, key.private_key, None)
    # Where no recipient is named, a random key opens one message in 256 to garbage.
    return unnamed is not None and b"content-type:" in unnamed.lower()


def _envelopes(raw: bytes) -> Iterator[bytes]:
    for text in _texts(raw, _DEEPEST):
        for oid in _OIDS:
            for found in re.finditer(re.escape(oid), text):
                nearest = max(0, found.start() - _FURTHEST)
                for start in range(nearest, found.start()):
                    if text[start] == 0x30:  # SEQUENCE
                        yield text[start:]


def _texts(raw: bytes, depth: int) -> Iterator[bytes]:
    """A content and all that it can be decoded to."""
    yield raw
    if not depth:
        return
    for decoded in _decoded(raw):
        yield from _texts(decoded, depth - 1)


def _decoded(raw: bytes) -> Iterator[bytes]:
    for found in _BASE64.finditer(raw):
        text = re.sub(rb"[\s>]", b"", found.group())
        pieces = re.sub(rb"(=+)(?!$|=)", rb"\1 ", text).split()
        with contextlib.suppress(binascii.Error):
            yield b"".join(base64.b64decode(piece + b"==") for piece in pieces)
    if b":" not in raw[:200] and not raw.startswith((b"\x1f\x8b", b"PK")):
        return
    with contextlib.suppress(OSError, EOFError):
        yield gzip.decompress(raw)
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(raw)) as archive:
        yield from map(archive.read, archive.namelist())
    for part in email.message_from_bytes(raw).walk():
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes) and payload and payload != raw:
            yield payload
