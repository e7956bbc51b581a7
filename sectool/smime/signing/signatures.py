"""Checks the signature of an entity as it stands (RFC 8551 section 3.5, RFC 1847).

Knows whose key signed, and nothing of whether that certificate is to be trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from email.utils import getaddresses
from functools import partial
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from sectool import cms
from sectool.cms.contents import signed_blocks
from sectool.errors import LimitExceeded, MalformedMessage, MessageError
from sectool.message import Content, InnerEntity
from sectool.mime.content_type import parse_content_type
from sectool.mime.header import HeaderBlock, header_of, read_header
from sectool.mime.lines import CanonicalLines, LineScanner
from sectool.mime.ranges import ForwardReader
from sectool.mime.transfer_encoding import HEAD_SIZE, find_layers, stream_of
from sectool.outcome import CertificateFingerprint, Integrity
from sectool.smime.parts import BodySource, EncryptedPart, NestedContent
from sectool.values import dataclass

_NOT_READ = "the signature cannot be read"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """What became of the check of one signature."""

    is_valid: bool
    """Whether at least one signer's signature verifies over the content."""
    fingerprint: CertificateFingerprint
    """SHA-256 of the signer's certificate, lower-case hexadecimal; empty where the
    message does not hold it. Of several signers the first one that verifies."""
    addresses: tuple[str, ...]
    """Mail addresses that certificate names, as it writes them."""
    reason: str
    """Why it does not verify; empty where it does."""


def check_signature(content: Content, *, content_type: str = cms.ID_DATA) -> SignatureCheck | None:
    """Verifies the signature that covers a whole entity, clear or opaque.

    Args:
        content: a message or another entity; or a bare SignedData.
        content_type: what ``content`` is, as the CMS that held it says.

    Returns:
        None where the root entity is not signed with S/MIME. A signature that
        cannot be read does not verify.

    Raises:
        MessageChanged: the content became shorter meanwhile.
        OSError: it cannot be read.
    """
    if content_type == cms.SIGNED_DATA:
        return _judged(lambda: cms.verify_signers(content))
    if content_type != cms.ID_DATA:
        return None
    try:
        header = header_of(content)
    except LimitExceeded:
        return None
    boundary = _signed_boundary(header)
    if boundary is None:
        return _check_opaque(content, header)
    parts = _find_parts(content, header, boundary)
    return None if parts is None else _check_clear(content, parts)


def signed_entity(content: Content, *, content_type: str = cms.ID_DATA) -> Content | None:
    """What the signature covers that covers a whole entity; it is not verified.

    Args:
        content: a message or another entity; or a bare SignedData.
        content_type: what ``content`` is, as the CMS that held it says.

    Returns:
        None where the root entity is not signed with S/MIME.
    """
    if content_type == cms.SIGNED_DATA:
        return NestedContent(partial(_open_signed, content))
    if content_type != cms.ID_DATA:
        return None
    header = header_of(content)
    boundary = _signed_boundary(header)
    if boundary is not None:
        parts = _find_parts(content, header, boundary)
        if parts is None:
            return None
        return NestedContent(BodySource(content, parts.start, parts.end, ()).open)
    body = _body(content, header, content.size)
    return NestedContent(partial(_open_signed, body)) if _is_signed_data(body) else None


def _open_signed(source: Content | BodySource) -> BinaryIO:
    stream = source.open()
    return stream_of(stream, signed_blocks(stream))


def _signed_boundary(header: HeaderBlock) -> bytes | None:
    """Boundary of a multipart/signed; empty where it has none, None where it is no such."""
    media_type = parse_content_type(header.first(b"content-type") or b"")
    if media_type is None or media_type.value != "multipart/signed":
        return None
    return media_type.parameters.get("boundary", b"").rstrip(b" \t")


# --- opaque -----------------------------------------------------------------------


def _check_opaque(content: Content, header: HeaderBlock) -> SignatureCheck | None:
    body = _body(content, header, content.size)
    return _judged(lambda: cms.verify_signers(body)) if _is_signed_data(body) else None


def _body(content: Content, header: HeaderBlock, end: int) -> BodySource:
    start = header.body_start
    declared = (header.first(b"content-transfer-encoding") or b"").decode("latin-1")
    return BodySource(content, start, end, find_layers(content, start, end, declared))


def _is_signed_data(body: BodySource) -> bool:
    head = body.beginning(HEAD_SIZE, is_needed=False)
    if not head.startswith(b"\x30"):
        return False
    try:
        return cms.identify(head) == cms.SIGNED_DATA
    except MalformedMessage:
        return False


# --- clear ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    """The two parts of a multipart/signed."""

    start: int
    """Offset of the entity that is signed."""
    end: int
    """After it, without the line end that belongs to the delimiter."""
    signature: HeaderBlock
    signature_end: int


def _find_parts(content: Content, header: HeaderBlock, boundary: bytes) -> _Parts | None:
    if not boundary:
        return None
    with content.open() as stream:
        scanner = LineScanner(stream)
        scanner.skip(header.body_start)
        return _find_parts_behind(scanner, (b"--" + boundary,))


def _find_parts_behind(scanner: LineScanner, boundaries: tuple[bytes, ...]) -> _Parts | None:
    if (first := scanner.find_delimiter(boundaries)) is None or first.is_final:
        return None
    start = scanner.offset
    if (second := scanner.find_delimiter(boundaries)) is None or second.is_final:
        return None
    try:
        signature = read_header(scanner, boundaries)
    except LimitExceeded:
        return None
    last = scanner.find_delimiter(boundaries)
    return _Parts(start, second.start, signature, scanner.offset if last is None else last.start)


def _check_clear(content: Content, parts: _Parts) -> SignatureCheck | None:
    body = _body(content, parts.signature, parts.signature_end)
    if not _is_signed_data(body):
        return None

    def digests(names: frozenset[str]) -> cms.Digests:
        with content.open() as stream:
            reader = ForwardReader(stream)
            reader.pass_to(parts.start)
            return _digests(reader.blocks_to(parts.end), names)

    return _judged(lambda: cms.verify_signers(body, digests))


def _digests(blocks: Iterable[bytes], names: frozenset[str]) -> cms.Digests:
    """Of the bytes as they are, and with each line end as CRLF.

    A store keeps lines as it likes, so that the second is what was signed; a body
    in binary encoding was signed as it is.
    """
    plain = {name: hashlib.new(name) for name in names}
    canonical = {name: hashlib.new(name) for name in names}
    lines = CanonicalLines()
    for block in blocks:
        _update(plain, block)
        _update(canonical, lines.update(block))
    _update(canonical, lines.finish())
    return {name: frozenset({plain[name].digest(), canonical[name].digest()}) for name in names}


def _update(hashers: dict[str, hashlib._Hash], block: bytes) -> None:
    for hasher in hashers.values():
        hasher.update(block)


# --- both -------------------------------------------------------------------------


def _judged(verify: Callable[[], tuple[cms.Signer, ...]]) -> SignatureCheck:
    try:
        signers = verify()
    except MessageError as error:
        return SignatureCheck(
            False, CertificateFingerprint(""), (), f"{_NOT_READ}: {error.message}"
        )
    if not signers:
        return SignatureCheck(False, CertificateFingerprint(""), (), "nobody signed it")
    signer = next((one for one in signers if not one.failure), signers[0])
    return SignatureCheck(
        is_valid=not signer.failure,
        fingerprint=_fingerprint(signer.certificate),
        addresses=cms.certificate_addresses(signer.certificate) if signer.certificate else (),
        reason=signer.failure,
    )


def _fingerprint(certificate: x509.Certificate | None) -> CertificateFingerprint:
    digest = b"" if certificate is None else certificate.fingerprint(hashes.SHA256())
    return CertificateFingerprint(digest.hex())


# --- what is known of a plaintext's integrity when it is decrypted (G8) ---------------------------
# Whoever encrypted it need not be who signed it, and neither need be who the
# message says it is from.


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
        return _displayed(header_of(content))
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
