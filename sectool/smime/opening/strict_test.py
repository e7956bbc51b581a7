"""Watches plaintext go by and says whether it is certainly mail (the strict test).

It decides where the decryption itself proves nothing: with PKCS#1 v1.5 and CBC a
wrong key yields random bytes. By construction fewer than one in 2**40 such
contents pass: a known field name of five bytes or more (36 bits, as letters
count seven), legal lines and a blank line (13 bits together); or a CMS
structure whose encoded length is exactly that of the content (43 bits or more), which
without its own tag and length begins as one does, names a type of PKCS and ends with an
element (70 bits or more).

What fails the test is not thereby garbage: text in any charset and small files are no
MIME. Whether it may be called garbage depends on who named the key; see ``accept``.
"""

from __future__ import annotations

import re
from enum import StrEnum

from sectool import cms
from sectool.errors import MalformedMessage
from sectool.message import BytesContent
from sectool.mime.content_type import ParameterizedValue, parse_content_type
from sectool.mime.header import HeaderBlock, header_of
from sectool.mime.limits import Limits

_HEAD_SIZE = 1024 * 1024
"""Plaintext kept to read its header from; longer headers are for a person to judge."""
_SAMPLE_SIZE = 64 * 1024
"""Plaintext judged as text where no header is found."""
_TAIL_SIZE = 16
_SHORT_TEXT = 64
_LIMITS = Limits(header_size=_HEAD_SIZE)

# Names below five bytes with their colon (To, Cc) would let too much chance pass.
_KNOWN_FIELDS = frozenset(
    {
        b"content-type",
        b"content-transfer-encoding",
        b"content-disposition",
        b"content-description",
        b"content-id",
        b"content-language",
        b"content-location",
        b"mime-version",
        b"from",
        b"date",
        b"sender",
        b"subject",
        b"reply-to",
        b"message-id",
        b"received",
        b"return-path",
        b"in-reply-to",
        b"references",
        b"x-mailer",
        b"user-agent",
    }
)
_SELF_EVIDENT_FIELDS = frozenset({b"content-type", b"mime-version"})
"""Long enough names to prove a header that no blank line ends."""

# TAB, LF, FF, CR and the ESC of ISO-2022 occur in text.
_CONTROLS = bytes(set(range(32)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B}) + b"\x7f"
_PRINTABLE = bytes(range(32, 127)) + b"\t\n\r\f"
_DOCUMENTS = (b"%PDF-", b"PK\x03\x04", b"\x89PNG\r\n", b"GIF8", b"\xd0\xcf\x11\xe0", b"{\\rtf")
_BINARY_ENCODING = re.compile(rb"content-transfer-encoding:[ \t]*(?:\r?\n[ \t]+)?\"?binary")
_OVERLAP = 128

_CMS_TYPES = frozenset(
    {
        cms.ENVELOPED_DATA,
        cms.AUTH_ENVELOPED_DATA,
        cms.SIGNED_DATA,
        cms.COMPRESSED_DATA,
        cms.SIGNED_AND_ENVELOPED_DATA,
        cms.ENCRYPTED_DATA,
        cms.DIGESTED_DATA,
        cms.AUTHENTICATED_DATA,
    }
)
# version, then digestAlgorithms or recipientInfos, an algorithm, or originatorInfo.
_BARE_STRUCTURE = re.compile(rb"\x02\x01[\x00-\x05][\x30\x31\xa0]")
_PKCS_TYPE = bytes.fromhex("2a864886f70d01")
"""What the object identifiers of CMS types begin with."""
_TYPE_SEARCH = 4096
_NO_MIME = _CMS_TYPES | {cms.TST_INFO}
"""Types that say what the content is; any other, known or not, says no more than id-data."""


class Verdict(StrEnum):
    """What a plaintext looks like."""

    PLAINTEXT = "plaintext"
    """It passed the strict test."""
    ODD = "odd"
    """It could be real mail of an odd make: a person decides."""
    GARBAGE = "garbage"
    """It looks like what a wrong key gives, and may be text or a file all the same."""


class PlaintextWitness:
    """A sink that keeps a bounded part of what it takes.

    Args:
        content_type: of the encrypted content, dotted.
    """

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._size = 0
        self._head: bytes | bytearray = bytearray()
        self._content: BytesContent | None = None
        self._tail = b""
        self._holds_nul = False
        self._watch: _StructureWatch | None = None
        self._elements = _ElementWatch() if content_type != cms.ID_DATA else None

    def write(self, data: bytes, /) -> int:
        """Takes the next plaintext."""
        self._size += len(data)
        self._tail = (self._tail + data[-_TAIL_SIZE:])[-_TAIL_SIZE:]
        self._holds_nul = self._holds_nul or b"\0" in data
        if self._elements is not None:
            self._elements.update(data)
        if self._watch is not None:
            self._watch.update(data)
            return len(data)
        self._head += data
        if len(self._head) >= _HEAD_SIZE:
            self._begin_watching()
        return len(data)

    def take(self, content: BytesContent) -> None:
        """Takes all of a plaintext that is in memory."""
        if content.size >= _HEAD_SIZE:
            self.write(content.raw)
            return
        self._content = content
        self._head = content.raw
        self._size = content.size
        self._tail = content.raw[-_TAIL_SIZE:]
        self._holds_nul = b"\0" in content.raw
        if self._elements is not None:
            self._elements.update(content.raw)

    def _begin_watching(self) -> None:
        # A plaintext that is whole and holds no NUL announces no binary encoding that would count.
        is_text = self._content is not None and not self._holds_nul
        self._watch = _StructureWatch(self._header(), seeks_binary=not is_text)
        self._watch.update(bytes(self._head))

    # --- what was seen ---

    def has_header_block(self) -> bool:
        """Whether the content begins with header fields, so that it is a MIME entity."""
        header = self._header()
        is_whole = header.body_start > header.end or header.end == self._size
        if self._content_type == cms.ID_DATA:
            return bool(header.fields) and is_whole
        return self._is_mail and _is_known(header) and is_whole

    @property
    def _is_mail(self) -> bool:
        return self._content_type not in _NO_MIME

    def judge(self) -> tuple[Verdict, str]:
        """The verdict on all that was taken, and what speaks against the content.

        The words never hold any of the plaintext.
        """
        if self._is_structure():
            return Verdict.PLAINTEXT, ""
        header = self._header()
        if self._is_mail and _is_known(header):
            problem = self._problem(header)
            return (Verdict.ODD if problem else Verdict.PLAINTEXT), problem
        if self._begins_as_structure():
            return Verdict.ODD, "the CMS inside does not fill the content exactly"
        if self._is_mail and self._could_be_text():
            return Verdict.ODD, "the content has no MIME header"
        return Verdict.GARBAGE, "the content is neither MIME nor CMS"

    def _header(self) -> HeaderBlock:
        try:
            return header_of(self._content or BytesContent(bytes(self._head)), _LIMITS)
        except MalformedMessage:
            return HeaderBlock(0, 0, 0, (), b"\n")

    def _problem(self, header: HeaderBlock) -> str:
        """What keeps a content with a known field from being certainly mail."""
        if self._watch is None:
            self._begin_watching()
        watch = self._watch
        assert watch is not None
        raw = bytes(self._head[: header.end])
        if raw.translate(None, _CONTROLS) != raw:
            return "the header holds control characters"
        if header.end == header.body_start and not self._ends_without_body(header):
            return "no blank line ends the header"
        if header.first(b"content-type") is not None and watch.content_type is None:
            return "the Content-Type cannot be read"
        if not watch.boundary_seen:
            return "the boundary of the multipart does not occur"
        if self._holds_nul and not watch.is_binary:
            return "the content holds NUL bytes that no binary encoding announces"
        return ""

    def _ends_without_body(self, header: HeaderBlock) -> bool:
        names = {field.name for field in header.fields}
        return header.end == self._size and not names.isdisjoint(_SELF_EVIDENT_FIELDS)

    # --- CMS instead of MIME ---

    def _begins_as_structure(self) -> bool:
        return _structure_length(bytes(self._head[:64]), with_bare=False) is not None

    def _is_structure(self) -> bool:
        """Whether a CMS structure covers the content exactly."""
        if self._elements is not None and self._is_structure_inside_out():
            return True
        length = _structure_length(
            bytes(self._head[:64]), with_bare=self._content_type != cms.ID_DATA
        )
        if length == _INDEFINITE:
            return self._tail.endswith(b"\0\0")
        return length == self._size

    def _is_structure_inside_out(self) -> bool:
        """Whether it is what a structure holds, without its own tag and length.

        PKCS #7 (RFC 2315 section 10.3) encrypts the contents octets only, and .NET still does.
        """
        head = bytes(self._head[:_TYPE_SEARCH])
        begins = _BARE_STRUCTURE.match(head) is not None and _PKCS_TYPE in head
        return begins and self._elements is not None and self._elements.is_whole

    def _could_be_text(self) -> bool:
        sample = bytes(self._head[:_SAMPLE_SIZE])
        if not sample:
            return True
        if sample.startswith(_DOCUMENTS):
            return True
        if len(sample) < _SHORT_TEXT:
            return not sample.translate(None, _PRINTABLE) or _is_utf8_text(sample)
        controls = len(sample) - len(sample.translate(None, _CONTROLS))
        return b"\0" not in sample and controls * 200 <= len(sample)


_INDEFINITE = -1


class _ElementWatch:
    """Follows elements of definite length that lie one behind the other."""

    def __init__(self) -> None:
        self._is_sound = True
        self._header = b""
        self._left = 0

    @property
    def is_whole(self) -> bool:
        """Whether what was taken ends with an element."""
        return self._is_sound and not self._left and not self._header

    def update(self, data: bytes) -> None:
        """Takes the next plaintext."""
        position = 0
        while self._is_sound and position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
            else:
                self._header += data[position : position + 1]
                position += 1
                self._read_header()

    def _read_header(self) -> None:
        if len(self._header) < 2:
            return
        first = self._header[1]
        octets = first & 0x7F if first >= 0x80 else 0
        if first == 0x80 or octets > 8 or self._header[0] & 0x1F == 0x1F:
            self._is_sound = False
        elif len(self._header) == 2 + octets:
            self._left = int.from_bytes(self._header[2:]) if octets else first
            self._header = b""


class _StructureWatch:
    """Looks for the boundary and a binary encoding in a content that goes by."""

    def __init__(self, header: HeaderBlock, *, seeks_binary: bool) -> None:
        value = header.first(b"content-type")
        self.content_type: ParameterizedValue | None = (
            None if value is None else parse_content_type(value)
        )
        self.boundary_seen = True
        self.is_binary = not seeks_binary or _is_binary(header)
        self._delimiter = b""
        self._tail = b"\n"
        if self.content_type is not None and self.content_type.main_type == "multipart":
            boundary = self.content_type.parameters.get("boundary", b"")
            self._delimiter = b"\n--" + boundary
            self.boundary_seen = False

    def update(self, data: bytes) -> None:
        """Takes the next plaintext."""
        if self.boundary_seen and self.is_binary:
            return
        text = self._tail + data
        if not self.boundary_seen and len(self._delimiter) > 3:
            self.boundary_seen = self._delimiter in text
        if not self.is_binary:
            lower = text.lower()
            self.is_binary = b"binary" in lower and _BINARY_ENCODING.search(lower) is not None
        self._tail = text[-max(_OVERLAP, len(self._delimiter)) :]


def _is_binary(header: HeaderBlock) -> bool:
    value = header.first(b"content-transfer-encoding") or b""
    return value.strip(b' "').lower() == b"binary"


def _is_known(header: HeaderBlock) -> bool:
    return any(field.name in _KNOWN_FIELDS for field in header.fields)


def _is_utf8_text(sample: bytes) -> bool:
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not sample.translate(None, bytes(set(range(256)) - set(_CONTROLS)))


def _structure_length(head: bytes, *, with_bare: bool) -> int | None:
    """The encoded length of the CMS structure that begins here; None: none does.

    Args:
        head: the first bytes.
        with_bare: also take a SignedData or its kin without its ContentInfo,
            which is what a content type other than id-data stands for.
    """
    if len(head) < 16 or head[0] != 0x30:
        return None
    first = head[1]
    octets = first & 0x7F if first >= 0x80 else 0
    if octets > 8:
        return None
    inside = head[2 + octets :]
    if not (_is_content_info(head) or (with_bare and _BARE_STRUCTURE.match(inside))):
        return None
    if first == 0x80:
        return _INDEFINITE
    length = int.from_bytes(head[2 : 2 + octets], "big") if octets else first
    return 2 + octets + length


def _is_content_info(head: bytes) -> bool:
    try:
        return cms.identify(head) in _CMS_TYPES
    except MalformedMessage:
        return False
