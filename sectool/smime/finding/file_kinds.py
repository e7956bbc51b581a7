"""Tells the files that mail carries by their first bytes, as far as mail may lie in them."""

from __future__ import annotations

from enum import Enum


class FileKind(Enum):
    """What an attachment is."""

    OTHER = "other"
    MEDIA = "media"
    """Pictures, sound and film, in which no mail lies."""
    KEYS = "keys"
    """A PKCS#12 or Java key store: what is encrypted in it is a key."""
    PDF = "pdf"
    ZIP = "zip"
    GZIP = "gzip"
    TAR = "tar"
    COMPOUND = "compound file"
    """Of OLE ([MS-CFB]): mail of Outlook, and documents of old office programs."""
    SEALED = "sealed"
    """An archive or a mail store that is not looked into."""


_MAGIC = (
    (b"\xff\xd8\xff", FileKind.MEDIA),
    (b"\x89PNG\r\n\x1a\n", FileKind.MEDIA),
    (b"GIF8", FileKind.MEDIA),
    (b"RIFF", FileKind.MEDIA),
    (b"OggS", FileKind.MEDIA),
    (b"ID3", FileKind.MEDIA),
    (b"fLaC", FileKind.MEDIA),
    (b"\x1a\x45\xdf\xa3", FileKind.MEDIA),
    (b"II*\0", FileKind.MEDIA),
    (b"MM\0*", FileKind.MEDIA),
    (b"\xfe\xed\xfe\xed", FileKind.KEYS),
    (b"\xce\xce\xce\xce", FileKind.KEYS),
    (b"%PDF-", FileKind.PDF),
    (b"PK\x03\x04", FileKind.ZIP),
    (b"PK\x05\x06", FileKind.ZIP),
    (b"PK00PK\x03\x04", FileKind.ZIP),
    (b"\x1f\x8b", FileKind.GZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind.COMPOUND),
    (b"7z\xbc\xaf\x27\x1c", FileKind.SEALED),
    (b"Rar!\x1a\x07", FileKind.SEALED),
    (b"!BDN", FileKind.SEALED),
    (b"BZh", FileKind.SEALED),
    (b"\xfd7zXZ\0", FileKind.SEALED),
    (b"\x28\xb5\x2f\xfd", FileKind.SEALED),
    (b"MSCF\0\0\0\0", FileKind.SEALED),
    (b"\x60\xea", FileKind.SEALED),
)
_FILM = b"ftyp"
_TAR = (b"ustar", 257)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_NOT_ASCII = bytes(range(128, 256))
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"


def kind_of(head: bytes) -> FileKind:
    """What begins with these bytes; some three hundred are enough."""
    if is_pkcs12(head):
        return FileKind.KEYS
    if head[4:8] == _FILM:
        return FileKind.MEDIA
    magic, offset = _TAR
    if head.startswith(magic, offset):
        return FileKind.TAR
    return next((kind for begin, kind in _MAGIC if head.startswith(begin)), FileKind.OTHER)


def is_pkcs12(head: bytes) -> bool:
    """Whether a PFX begins here (RFC 7292 section 4): a SEQUENCE, and version 3 in it."""
    if head[:1] != b"\x30" or len(head) < 2:
        return False
    size = head[1] - 0x80 if head[1] > 0x80 else 0
    return head.startswith(b"\x02\x01\x03\x30", 2 + size)


def is_text(head: bytes) -> bool:
    """Whether these bytes are text rather than a binary format."""
    if head.startswith(_UTF_16):
        head = head.translate(None, b"\0" + _NOT_ASCII)
    return bool(head) and not head.translate(None, bytes(set(range(256)) - set(_CONTROLS)))
