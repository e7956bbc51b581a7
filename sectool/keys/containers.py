"""Recognises a key file by its content and reads it: PKCS#12, PEM, DER.

Names are hints only: a ``.pem`` may be DER, a ``.crt`` may hold keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path

from sectool.budget import of_key_file
from sectool.errors import BudgetExceeded, SectoolError
from sectool.keys import pem
from sectool.keys.contents import FileContents
from sectool.keys.files import read_file
from sectool.keys.foreign import recognise_foreign
from sectool.keys.objects import add_object, recognise_object
from sectool.keys.passphrases import FilePassphrases
from sectool.keys.private_structures import KnownKeys
from sectool.keys.problems import KeyFileError, ProblemKind, damaged, over_limit, unsupported

KEY_SUFFIXES = frozenset(
    {
        *(".p12", ".pfx", ".pem", ".key", ".p8", ".pk8", ".der", ".crt", ".cer"),
        *(".p7b", ".p7c", ".jks", ".jceks", ".ks", ".keystore", ".bks", ".uber", ".bcfks"),
        *(".pvk", ".ppk", ".epf"),
    }
)
"""What a file must be called to be reported although its content says nothing."""

_BARE_BASE64 = re.compile(rb"MI[A-Za-z0-9+/\s]++=*+\s*+\Z")
_MAIL_BEGINS = re.compile(rb"(?:>?From |[!-9;-~]+:[ \t])")
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")
_UTF_8_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def exists(path: Path) -> bool:
    """Whether something is there; False also where the system does not tell."""
    try:
        return path.exists()
    except OSError:
        return False


def is_key_file(raw: bytes) -> bool:
    """Whether the content says that this is one, or the key store of another program."""
    raw = _unwrapped(raw)
    return (
        any(block.is_wanted for block in pem.blocks(raw))
        or recognise_object(raw) is not None
        or recognise_foreign(raw) is not None
    )


def read_contents(
    raw: bytes,
    passphrases: FilePassphrases,
    *,
    wants_keys: bool = True,
    checks_mac: bool = True,
    known: KnownKeys | None = None,
) -> FileContents:
    """All keys and certificates of one file.

    Args:
        raw: the bytes of the file.
        passphrases: of this file.
        wants_keys: False to leave private keys alone where certificates can be
            read without them.
        checks_mac: False to read a PKCS#12 file although its MAC says nothing for it.
        known: keys of other files that were checked before; takes those of this one.

    Raises:
        KeyFileError: nothing of the file can be read, or all of it asks for too much work.
            What concerns one key alone stands in ``problems`` of the answer.
    """
    contents = FileContents(passphrases, wants_keys, checks_mac=checks_mac)
    if known is not None:
        contents.known = known
    try:
        with of_key_file():
            _read(_unwrapped(raw), contents)
    except BudgetExceeded as error:
        raise over_limit(error.message) from error
    return contents


def _read(raw: bytes, contents: FileContents) -> None:
    if pem.BEGIN in raw:
        pem.read_pem(raw, contents)
        return
    kind = recognise_object(raw)
    if kind is None:
        raise _not_read(raw)
    add_object(raw, kind, contents)
    if not (contents.wants_keys or contents.certificates or contents.problems):
        raise damaged("the file holds a private key and no certificate")


def _not_read(raw: bytes) -> KeyFileError:
    if not raw:
        return KeyFileError("the file is empty", kind=ProblemKind.DAMAGED, withholds_key=False)
    foreign = recognise_foreign(raw)
    if foreign is not None:
        return foreign.error()
    if raw.startswith(_ARCHIVES):
        return unsupported("an archive or a compressed file", hint="unpack it")
    return damaged("the file is no PKCS#12, PEM or DER key file, or it is cut short")


def _unwrapped(raw: bytes) -> bytes:
    """As ASCII, and without base64 around everything.

    Windows writes text as UTF-16, and some programs export PKCS#12 and certificates
    as base64 without the PEM lines.
    """
    raw = _as_ascii(raw)
    if not _BARE_BASE64.match(raw):
        return raw
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error:
        return raw


def _as_ascii(raw: bytes) -> bytes:
    if raw.startswith(_UTF_16_MARKS):
        return raw.decode("utf-16", "replace").encode()
    head = raw[:2]
    for encoding, is_likely in (("utf-16-le", head[1:] == b"\0"), ("utf-16-be", head[:1] == b"\0")):
        if is_likely and pem.BEGIN.decode().encode(encoding) in raw:
            return raw.decode(encoding, "replace").encode()
    return raw.removeprefix(_UTF_8_MARK)


def looks_like_key_or_certificate(path: Path) -> bool:
    """Whether a file given as a mailbox is really a key file; never raises.

    A mail that has a PEM block in its text is none.
    """
    try:
        raw = read_file(path.resolve())
    except (SectoolError, OSError, RuntimeError):
        return False
    if pem.BEGIN not in _as_ascii(raw):
        return is_key_file(raw)
    if _MAIL_BEGINS.match(raw.lstrip()) and path.suffix.lower() not in KEY_SUFFIXES:
        return False
    try:
        return is_key_file(raw)
    except SectoolError:
        return False
