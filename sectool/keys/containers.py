"""Recognises a key file by its content and reads it: PKCS#12, PEM, DER.

Names are hints only: a ``.pem`` may be DER, a ``.crt`` may hold keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import StrEnum
from pathlib import Path

from sectool.errors import SectoolError, reason_of
from sectool.keys import ber, limits, pem
from sectool.keys.contents import FileContents
from sectool.keys.passphrases import FilePassphrases
from sectool.keys.pkcs12 import read_pkcs12
from sectool.keys.problems import KeyFileError, ProblemKind, damaged, over_limit, unsupported
from sectool.message import open_regular_file

KEY_SUFFIXES = frozenset({".p12", ".pfx", ".pem", ".key", ".p8", ".pk8", ".der", ".crt", ".cer"})
"""What a file must be called to be reported although its content says nothing."""

_PFX_BEGINS = re.compile(
    rb"\x30(?:\x80|\x81.|\x82..|\x83.{3}|\x84.{4}|[\x00-\x7f])\x02\x01\x03\x30", re.DOTALL
)
_JAVA_KEY_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_BARE_BASE64 = re.compile(rb"MI[A-Za-z0-9+/\s]++=*+\s*+\Z")
_MAIL_BEGINS = re.compile(rb"(?:>?From |[!-9;-~]+:[ \t])")


class ContainerKind(StrEnum):
    """What a key file turns out to be."""

    PKCS12 = "PKCS#12"
    PEM = "PEM"
    CERTIFICATE = "certificate"
    PRIVATE_KEY = "private key"
    ENCRYPTED_PRIVATE_KEY = "encrypted private key"
    JAVA_KEY_STORE = "Java key store"


def exists(path: Path) -> bool:
    """Whether something is there; False also where the system does not tell."""
    try:
        return path.exists()
    except OSError:
        return False


def read_file(path: Path) -> bytes:
    """The bytes of one key file.

    Raises:
        KeyFileError: it cannot be read or is too large.
    """
    try:
        with open_regular_file(path) as stream:
            raw = stream.read(limits.MAXIMUM_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "no such name"
        raise KeyFileError(
            f"the file cannot be read: {reason}", kind=ProblemKind.UNREADABLE
        ) from error
    if len(raw) > limits.MAXIMUM_FILE_BYTES:
        raise over_limit(f"the file is larger than {limits.MAXIMUM_FILE_BYTES} bytes")
    return raw


def recognise(raw: bytes) -> ContainerKind | None:
    """What kind of key file this is, from its content; None for anything else."""
    if pem.BEGIN in raw:
        return ContainerKind.PEM
    if raw.startswith(_JAVA_KEY_STORES):
        return ContainerKind.JAVA_KEY_STORE
    if _PFX_BEGINS.match(raw):
        return ContainerKind.PKCS12
    try:
        return _recognise_der(ber.read(raw))
    except SectoolError:
        return None


def _recognise_der(node: ber.Node) -> ContainerKind | None:
    if node.tag != ber.SEQUENCE:
        return None
    tags = [child.tag for child in node.children()]
    if tags == [ber.SEQUENCE, ber.SEQUENCE, ber.BIT_STRING]:
        return ContainerKind.CERTIFICATE if _has_certificate_fields(node) else None
    if tags == [ber.SEQUENCE, ber.OCTET_STRING]:
        return ContainerKind.ENCRYPTED_PRIVATE_KEY
    pkcs8 = tags[:3] == [ber.INTEGER, ber.SEQUENCE, ber.OCTET_STRING]
    rsa_or_dsa = len(tags) in {6, 9, 10} and set(tags[:6]) == {ber.INTEGER}
    elliptic = tags[:2] == [ber.INTEGER, ber.OCTET_STRING]
    return ContainerKind.PRIVATE_KEY if pkcs8 or rsa_or_dsa or elliptic else None


def _has_certificate_fields(node: ber.Node) -> bool:
    """Tells a certificate from a request or a revocation list, which have fewer fields."""
    tags = [child.tag for child in node.children()[0].children()]
    if tags[:1] == [ber.context(0)]:
        tags = tags[1:]
    return tags[:6] == [ber.INTEGER, *[ber.SEQUENCE] * 5]


def read_contents(
    raw: bytes, passphrases: FilePassphrases, *, wants_keys: bool = True
) -> FileContents:
    """All keys and certificates of one file.

    Args:
        raw: the bytes of the file.
        passphrases: of this file.
        wants_keys: False to leave private keys alone where certificates can be
            read without them.

    Raises:
        KeyFileError: nothing of the file can be read. What concerns one key
            alone stands in ``problems`` of the answer.
    """
    raw = _without_base64(raw)
    kind = recognise(raw)
    contents = FileContents(passphrases, wants_keys)
    if kind is ContainerKind.PEM:
        pem.read_pem(raw, contents)
    elif kind is ContainerKind.PKCS12:
        read_pkcs12(raw, contents)
    elif kind is ContainerKind.CERTIFICATE:
        contents.add_certificate(raw)
    elif kind is ContainerKind.PRIVATE_KEY and wants_keys:
        contents.add_private_key(bytes(ber.read(raw).encoding))
    elif kind is ContainerKind.ENCRYPTED_PRIVATE_KEY and wants_keys:
        contents.add_encrypted_key(ber.read(raw))
    else:
        raise _not_read(raw, kind)
    return contents


def _not_read(raw: bytes, kind: ContainerKind | None) -> KeyFileError:
    if not raw:
        return damaged("the file is empty")
    if kind is ContainerKind.JAVA_KEY_STORE:
        return unsupported(
            "a Java key store",
            hint="keytool -importkeystore -deststoretype PKCS12 turns it into a PKCS#12 file",
        )
    if kind is not None:
        return damaged("the file holds a private key and no certificate")
    return damaged("the file is no PKCS#12, PEM or DER key file, or it is cut short")


def _without_base64(raw: bytes) -> bytes:
    """Some programs export PKCS#12 and certificates as base64 without the PEM lines."""
    if not _BARE_BASE64.match(raw):
        return raw
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        return raw


def looks_like_key_or_certificate(path: Path) -> bool:
    """Whether a file given as a mailbox is really a key file; never raises.

    A mail that has a PEM block in its text is none.
    """
    try:
        raw = read_file(path.resolve())
    except (SectoolError, OSError, RuntimeError):
        return False
    kind = recognise(_without_base64(raw))
    if kind is not ContainerKind.PEM:
        return kind is not None
    if _MAIL_BEGINS.match(raw.lstrip()) and path.suffix.lower() not in KEY_SUFFIXES:
        return False
    try:
        return any(block.label in pem.LABELS for block in pem.blocks(raw))
    except SectoolError:
        return False
