"""Marks what is known of a plaintext's integrity when it is decrypted (G8).

Whoever encrypted it need not be who signed it, and neither need be who the
message says it is from.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import getaddresses

from sectool import cms
from sectool.errors import LimitExceeded
from sectool.message import Content, InnerEntity
from sectool.mime.header import HeaderBlock, read_header
from sectool.mime.lines import LineScanner
from sectool.outcome import Integrity
from sectool.smime.parts import EncryptedPart
from sectool.smime.signing.signatures import check_signature

_LONGEST_FROM = 64 * 1024


@dataclass(frozen=True, slots=True)
class IntegrityMark:
    """What is known of one plaintext."""

    integrity: Integrity
    signer: str = ""
    """SHA-256 of the certificate whose signature verifies, lower-case hexadecimal;
    empty where none does."""


def integrity_of(
    stored: Content,
    part: EncryptedPart,
    inner: InnerEntity,
    plaintext: Content,
) -> IntegrityMark:
    """Verifies the signature over a whole plaintext, and holds its signer against From.

    The signer must be who the message around the part is from, and who the
    plaintext itself says it is from, where it does: either may be shown.

    Args:
        stored: the message that holds the part.
        part: of the inventory of that very message.
        inner: what the part opened to.
        plaintext: the same, to be read.

    Raises:
        MessageError: the plaintext cannot be read.
        OSError: likewise.
    """
    check = check_signature(plaintext, content_type=inner.content_type)
    if check is None or not check.is_valid:
        return IntegrityMark(inner.integrity)
    around = _displayed(part.header)
    shown = [_from_of(stored) if around is None else around]
    if inner.content_type == cms.ID_DATA:
        shown.append(_from_of(plaintext))
    signer = frozenset(address.lower() for address in check.addresses)
    names = [addresses for addresses in shown if addresses is not None]
    is_matched = bool(names) and all(addresses and addresses <= signer for addresses in names)
    mark = Integrity.SIGNED if is_matched else Integrity.SIGNED_UNMATCHED
    return IntegrityMark(mark, check.fingerprint)


def _from_of(content: Content) -> frozenset[str] | None:
    try:
        with content.open() as stream:
            return _displayed(read_header(LineScanner(stream)))
    except LimitExceeded:
        return frozenset()


def _displayed(header: HeaderBlock) -> frozenset[str] | None:
    """The addresses a header says it is from, in lower case; None: it has no From.

    Empty where that cannot be told for certain, as with two such fields.
    """
    fields = [field for field in header.fields if field.name == b"from"]
    if not fields:
        return None
    if len(fields) > 1 or len(fields[0].value) > _LONGEST_FROM:
        return frozenset()
    try:
        pairs = getaddresses([fields[0].value.decode("utf-8", "replace")])
    except (RecursionError, ValueError, IndexError):  # comments in comments in comments
        return frozenset()
    addresses = frozenset(address.lower() for _, address in pairs)
    return addresses if all("@" in address for address in addresses) else frozenset()
