"""Encrypted mail wrapped in what is not read: compression, uuencode, TNEF."""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Callable

from sectool import cms
from sectool.asn1 import der

ZLIB = "1.2.840.113549.1.9.16.3.8"
ATTACHMENT = 2
ATTACHMENT_DATA = 0x0006800F


def compressed(
    content: bytes | None,
    content_type: str = cms.ID_DATA,
    *,
    algorithm: str = ZLIB,
    alter: Callable[[bytes], bytes] = lambda packed: packed,
    bare: bool = False,
) -> bytes:
    """CompressedData (RFC 3274); bare, without its ContentInfo."""
    packed = b""
    if content is not None:
        packed = der.explicit(0, der.octet_string(alter(zlib.compress(content))))
    info = der.sequence(der.oid(content_type), packed)
    body = der.sequence(der.integer(0), der.sequence(der.oid(algorithm)), info)
    return body if bare else der.sequence(der.oid(cms.COMPRESSED_DATA), der.explicit(0, body))


def uuencoded(raw: bytes, line_end: bytes = b"\r\n") -> bytes:
    lines = [binascii.b2a_uu(raw[start : start + 45])[:-1] for start in range(0, len(raw), 45)]
    return line_end.join([b"begin 644 smime.p7m", *lines, b"`", b"end", b""])


def attribute(level: int, number: int, content: bytes) -> bytes:
    checksum = sum(content) & 0xFFFF
    return struct.pack("<BII", level, number, len(content)) + content + struct.pack("<H", checksum)


def tnef(*attributes: bytes) -> bytes:
    version = attribute(1, 0x00089006, b"\0\0\1\0")
    return struct.pack("<IH", 0x223E9F78, 1) + version + b"".join(attributes)
