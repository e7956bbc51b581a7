"""Pieces that vectors are made of."""

from __future__ import annotations

from sectool.asn1 import der
from tests.bad_inputs.people import Forger
from tests.bad_inputs.vector import CONTENT

ATTRIBUTE_ONE = der.sequence(der.oid("1.2.3.4"), der.set_of([der.integer(5)]))
ATTRIBUTE_TWO = der.sequence(der.oid("1.2.3.5"), der.set_of([der.octet_string(b"x")]))


def indefinite(identifier: int, *parts: bytes) -> bytes:
    return bytes((identifier, 0x80)) + b"".join(parts) + b"\0\0"


def segments(raw: bytes, size: int) -> list[bytes]:
    return [der.octet_string(raw[start : start + size]) for start in range(0, len(raw), size)]


def flip(raw: bytes, position: int) -> bytes:
    altered = bytearray(raw)
    altered[position] ^= 1
    return bytes(altered)


def encrypted_content(forge: Forger, content: bytes = CONTENT) -> bytes:
    """The encrypted content of ``forge.cbc(content)``, which is the same every time."""
    raw = forge.cbc(content)
    return raw[-(len(content) + 16 - len(content) % 16) :]
