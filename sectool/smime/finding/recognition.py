"""What a body is called and what it turns out to be (RFC 8551 section 3.2, RFC 3156, RFC 9580).

Labels only decide what is worth a look, and what must not pass for clear mail.
"""

from __future__ import annotations

import re

from sectool.mime.content_type import parse_disposition
from sectool.mime.entities import Entity
from sectool.smime.finding.file_kinds import is_text
from sectool.smime.parts import Placement

PKCS7_MIME = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SIGNATURE_TYPES = frozenset(
    {
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-signature",
    }
)
_NAMES_OF_MAIL = frozenset({b"smime.p7m", b"smime.p7z", b""})
_PKCS7_SUFFIXES = (b".p7m", b".p7s", b".p7z", b".p7c")
_RIGHTS_MANAGED_TYPE = "application/x-microsoft-rpmsg-message"
_RIGHTS_MANAGED = re.compile(rb"message(?:_v[0-9]+)?\.rpmsg")
_NOTES = b"encrypted.notes"
_PGP_TYPES = frozenset({"application/pgp-encrypted", "application/pgp"})

_FOREIGN_FILES = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_MAIL_CRYPT = b"CRYPTED\x03\x07"

_WORDS = re.compile(rb"[A-Za-z]{2,20} [A-Za-z]{2,20}")
_BASE64_LINE = re.compile(rb"^[A-Za-z0-9+/=]{40,}[ \t]*\r?$", re.MULTILINE)
_PGP_MESSAGE = re.compile(
    rb"^-----BEGIN PGP MESSAGE-----[ \t]*\r?\n"
    rb"(?:[A-Za-z]{1,40}: [^\r\n]*\r?\n){0,20}"
    rb"[ \t]*\r?\n"
    rb"[A-Za-z0-9+/]{20,}",
    re.MULTILINE,
)


def foreign_storage(head: bytes) -> str:
    """Why a stored file is no plain message, judged by its first bytes; empty: it may be one."""
    if head.startswith(_MAIL_CRYPT):
        return "the file is encrypted by the mail server (mail_crypt)"
    name = next((name for magic, name in _FOREIGN_FILES if head.startswith(magic)), "")
    return f"the file is compressed by the mail server ({name})" if name else ""


def is_candidate(entity: Entity) -> bool:
    """Whether a body is worth a look for CMS."""
    if entity.is_multipart or entity.content_type is None:
        return not entity.is_multipart
    return (
        entity.content_type.main_type == "application"
        or is_named(entity)
        or _is_encoded_message(entity)
    )


def _is_encoded_message(entity: Entity) -> bool:
    """Whether a message as a whole is base64, as a gateway leaves it that relabels mail."""
    return entity.is_message and entity.encoding.strip(" \t\r\n\v\f").lower() == "base64"


def is_named(entity: Entity) -> bool:
    """Whether a parameter names the body as S/MIME, whatever its media type says."""
    return "smime-type" in entity.parameters or _file_name(entity).endswith(_PKCS7_SUFFIXES)


def is_labelled(entity: Entity) -> bool:
    """Whether a body that is no CMS is damaged rather than something else."""
    if entity.media_type in PKCS7_MIME:
        return True
    return entity.is_message and (
        "smime-type" in entity.parameters or _file_name(entity).endswith(b".p7m")
    )


def is_talk(head: bytes) -> bool:
    """Whether a body labelled as S/MIME is empty or a text of words, and no damaged CMS."""
    if not head.strip():
        return True
    return is_text(head) and _WORDS.search(head) is not None and not _BASE64_LINE.search(head)


def is_document(entity: Entity) -> bool:
    """Whether CMS in a part is a file that somebody encrypted, and not an encrypted mail.

    A mail program that writes mail names it ``smime.p7m`` and says its type (RFC 8551
    section 3.2).
    """
    name = _file_name(entity)
    is_mail = "smime-type" in entity.parameters or name in _NAMES_OF_MAIL
    return name.endswith(b".p7m") and not is_mail


def placement_of(entity: Entity) -> Placement:
    """How an encrypted entity stands among others, as far as that is seen in it alone."""
    if entity.is_signed:
        is_body = entity.is_message or entity.is_signed_body
        return Placement.SEALED if is_body else Placement.SEALED_AMONG_OTHERS
    if not entity.is_message:
        return Placement.DOCUMENT if is_document(entity) else Placement.WRAPPED
    return Placement.FORWARDED if entity.path else Placement.ROOT


def is_detached_signature(entity: Entity) -> bool:
    """Whether a part is a signature over something else (RFC 8551 section 3.5.3)."""
    return entity.media_type in _SIGNATURE_TYPES or _file_name(entity).endswith(b".p7s")


def partial_reason(entity: Entity) -> str:
    """Which piece of a message an entity is (RFC 2046 section 5.2.2); empty: it is none."""
    if entity.media_type != "message/partial":
        return ""
    number, total = (
        entity.parameters.get(name, b"?")[:8].decode("ascii", "replace")
        for name in ("number", "total")
    )
    return f"message/partial: this is piece {number} of {total} of a message"


def _file_name(entity: Entity) -> bytes:
    disposition = entity.header.first(b"content-disposition")
    if disposition is not None:
        name = parse_disposition(disposition).parameters.get("filename", b"")
        if name.lower().endswith(_PKCS7_SUFFIXES):
            return name.lower()
    return entity.parameters.get("name", b"").lower()


def foreign_encryption(entity: Entity) -> str:
    """Which other encryption a multipart or a leaf is of, in words; empty: of none."""
    if entity.media_type == _RIGHTS_MANAGED_TYPE or _RIGHTS_MANAGED.fullmatch(entity.file_name):
        return "Microsoft rights management (message.rpmsg): only S/MIME is opened"
    if entity.file_name.endswith(_NOTES):
        return "Notes encryption (encrypted.notes): only S/MIME is opened"
    if entity.media_type == "multipart/encrypted":
        protocol = entity.parameters.get("protocol", b"").decode("ascii", "replace").lower()
        if "pgp" in protocol or not protocol:
            return "PGP/MIME: only S/MIME is opened"
        return "multipart/encrypted of an unknown protocol"
    if entity.media_type in _PGP_TYPES:
        return "PGP/MIME: only S/MIME is opened"
    return ""


def holds_pgp_message(text: bytes) -> bool:
    """Whether an armoured OpenPGP message stands in a text (RFC 9580 section 6.2)."""
    return b"-----BEGIN PGP" in text and _PGP_MESSAGE.search(text) is not None
