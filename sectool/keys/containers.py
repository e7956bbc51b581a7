"""Recognises a key file by its content and reads it: PKCS#12, PEM, DER.

Names are hints only: a ``.pem`` may be DER, a ``.crt`` may hold keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sectool.asn1 import tags
from sectool.budget import of_key_file
from sectool.errors import BudgetExceeded, SectoolError
from sectool.keys import ber, limits
from sectool.keys.contents import FileContents
from sectool.keys.encryption import pem_decryptions
from sectool.keys.files import read_file
from sectool.keys.foreign import ARMOUR, recognise_foreign
from sectool.keys.objects import add_object, read_pkcs12, recognise_object
from sectool.keys.passphrases import FilePassphrases
from sectool.keys.private_structures import KnownKeys
from sectool.keys.problems import KeyFileError, ProblemKind, damaged, over_limit, unsupported
from sectool.values import dataclass

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
        any(block.is_wanted for block in blocks(raw))
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
    if BEGIN in raw:
        read_pem(raw, contents)
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
        if is_likely and BEGIN.decode().encode(encoding) in raw:
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
    if BEGIN not in _as_ascii(raw):
        return is_key_file(raw)
    if _MAIL_BEGINS.match(raw.lstrip()) and path.suffix.lower() not in KEY_SUFFIXES:
        return False
    try:
        return is_key_file(raw)
    except SectoolError:
        return False


# --- PEM ------------------------------------------------------------------------------------------
# RFC 7468, and RFC 1421 headers as OpenSSL writes them. Any number of keys and
# certificates may stand in one file, with any text around them and any line ends.


BEGIN = b"-----BEGIN "
_END = b"-----END "
_DASHES = b"-----"
_LONGEST_LABEL = 64
_PRIVATE_KEY = "PRIVATE KEY"
_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_BAGS = frozenset({"PKCS7", "CMS", "PKCS #7 SIGNED DATA", "CERTIFICATE CHAIN"})
_DEK_INFO = re.compile(
    rb"DEK-Info:[ \t]*([A-Za-z0-9-]{1,40})[ \t]*,[ \t]*((?:[0-9A-Fa-f]{2}){1,32})\s"
)
_PKCS12 = "PKCS12"
"""As gpgsm and GnuTLS write it, with words before it that name the key."""
_ESCAPED_LINE_END = re.compile(rb"\\[nr]")
"""As it stands in JSON and in environment variables."""


@dataclass(frozen=True, slots=True)
class Block:
    """One encapsulated text."""

    label: str
    body: bytes
    """Between the two lines; base64, perhaps after headers."""
    complete: bool
    """False where the end line is missing or of another label."""

    @property
    def is_key(self) -> bool:
        """Whether a private key is to be expected."""
        return self.label.endswith(_PRIVATE_KEY) or self.label in ARMOUR

    @property
    def is_wanted(self) -> bool:
        """Whether it holds a key or certificates, by its label."""
        return self.is_key or self.label in _CERTIFICATES | _BAGS | {_PKCS12}


def blocks(raw: bytes) -> Iterator[Block]:
    """All blocks of a file, in order, in time linear in its size."""
    position = raw.find(BEGIN)
    count = 0
    while position >= 0:
        count += 1
        if count > limits.MAXIMUM_ELEMENTS:
            raise over_limit(f"more than {limits.MAXIMUM_ELEMENTS} PEM blocks in one file")
        start = position + len(BEGIN)
        label_end = raw.find(_DASHES, start, start + _LONGEST_LABEL + len(_DASHES))
        if label_end < 0:
            position = raw.find(BEGIN, start)
            continue
        label, body_start = raw[start:label_end], label_end + len(_DASHES)
        body_end = raw.find(_DASHES, body_start)
        body_end = len(raw) if body_end < 0 else body_end
        complete = raw.startswith(_END + label + _DASHES, body_end)
        yield Block(label.decode("latin-1"), raw[body_start:body_end], complete)
        position = raw.find(BEGIN, body_end)


def read_pem(raw: bytes, contents: FileContents) -> None:
    """Adds all keys and certificates of the file to ``contents``.

    Blocks of other kinds (parameters, requests, public keys) are passed over.

    Raises:
        KeyFileError: over a limit; a block that fails becomes a problem in ``contents``.
    """
    for block in blocks(raw):
        if block.is_wanted and (contents.wants_keys or not block.is_key):
            contents.attempt(partial(_add_block, block, contents), is_key=block.is_key)


def _add_block(block: Block, contents: FileContents) -> None:
    if block.label in ARMOUR:
        raise ARMOUR[block.label].error()
    if not block.complete:
        raise damaged(f"a PEM block {block.label} has no end")
    if b"Proc-Type:" in block.body:
        contents.add_private_key(_open_traditional(block, contents))
        return
    raw = _from_base64(block.body, block.label)
    kind = recognise_object(raw)
    if kind is not None:
        add_object(raw, kind, contents)
    elif block.is_key:
        contents.add_private_key(raw)
    elif block.label in _CERTIFICATES:
        contents.add_certificate(raw)
    elif block.label == _PKCS12:
        read_pkcs12(raw, contents)
    # Other CMS than a bag of certificates has nothing to do with keys.


def _from_base64(text: bytes, label: str) -> bytes:
    try:
        return base64.b64decode(b"".join(_ESCAPED_LINE_END.sub(b"", text).split()), validate=True)
    except binascii.Error as error:
        raise damaged(f"a PEM block {label} is not base64") from error


def _open_traditional(block: Block, contents: FileContents) -> bytes:
    """A key that OpenSSL encrypted as a whole block, before PKCS#8."""
    header = _DEK_INFO.search(block.body)
    if header is None:
        raise damaged(f"the headers of a PEM block {block.label} are damaged")
    name, iv = header[1].decode("ascii").upper(), bytes.fromhex(header[2].decode("ascii"))
    # OpenSSL writes DEK-Info last; the ciphertext is all that follows.
    ciphertext = _from_base64(block.body[header.end() :], block.label)
    return contents.first_right(
        lambda passphrase: pem_decryptions(name, iv, ciphertext, passphrase),
        _is_traditional_key,
        "a private key",
    )


def _is_traditional_key(plaintext: bytes) -> bool:
    try:
        first = next(ber.read(plaintext).expect(tags.SEQUENCE).values(), None)
    except SectoolError:
        return False
    return first is not None and first.tag == tags.INTEGER
