"""Reads the blocks of PEM files (RFC 7468, and RFC 1421 headers as OpenSSL writes them).

Any number of keys and certificates may stand in one file, with any text
around them and any line ends.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sectool.asn1 import tags
from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.contents import FileContents
from sectool.keys.encryption import pem_decryptions
from sectool.keys.foreign import ARMOUR
from sectool.keys.objects import add_object, recognise_object
from sectool.keys.pkcs12 import read_pkcs12
from sectool.keys.problems import damaged, over_limit

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
