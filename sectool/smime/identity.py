"""What a message is known by, wherever it lies and whatever was added to its header.

Three digests: of a body with its line ends as CRLF, of an encrypted message by
its parts and what surrounds them, and of a plaintext copy by the fields that
describe its body, and that body. Others may write mail with the same body, so
that a copy has two more: of the fields that say which mail it is, and of all of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from sectool.message import Content
from sectool.mime.header import CONTENT_FIELDS, HeaderBlock, header_of
from sectool.mime.lines import CanonicalLines
from sectool.mime.ranges import ForwardReader
from sectool.outcome import Identity
from sectool.smime.parts import EncryptedPart
from sectool.smime.writing.plaintext_mark import MARK_FIELD
from sectool.values import dataclass

OBSCURED_SUBJECTS = frozenset({b"...", b"[...]", b"encrypted message"})
"""What mail programs put in the place of a Subject, lower case (RFC 9788 section 3.2)."""
_NOT_KEPT = CONTENT_FIELDS | {b"mime-version", MARK_FIELD}
"""Fields that are not the same in a message and its plaintext copy."""
_OF_AN_AUTHOR = frozenset({b"from", b"date", b"message-id"})
"""Fields that say which mail it is, and that no server adds to or takes away."""
_LINE_ENDS = 65_536
"""Line ends that are counted at a time."""
_FURTHER_LINE_ENDS = 8
"""So many more than a message has now it may have had at its end."""


class _CanonicalDigest:
    """SHA-256 of text whose line ends count as CRLF.

    Args:
        trimmed: takes the same text.
    """

    def __init__(self, trimmed: _TrimmedDigest | None = None) -> None:
        self._sha256 = hashlib.sha256()
        self._lines = CanonicalLines()
        self._trimmed = trimmed

    def update_all(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            self._update(self._lines.update(block))

    def mark(self, text: bytes) -> None:
        """Counts something that is no text, apart from what stands before and after."""
        self._update(self._lines.finish() + text)

    def _update(self, text: bytes) -> None:
        self._sha256.update(text)
        if self._trimmed is not None:
            self._trimmed.update(text)

    def hexdigest(self) -> str:
        self.mark(b"")
        return self._sha256.hexdigest()


class _TrimmedDigest:
    """SHA-256 of canonical text without the line ends at its end, in bounded memory."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._line_ends = 0

    def update(self, text: bytes) -> None:
        """Takes text whose lines end in CRLF, never cut inside one."""
        kept = len(text.rstrip(b"\r\n"))
        # A bare CR among the line ends is text.
        kept = max(kept, text.rfind(b"\r\r", kept) + 1)
        if text.endswith(b"\r"):
            kept = len(text)
        if kept:
            while self._line_ends:
                count = min(self._line_ends, _LINE_ENDS)
                self._sha256.update(b"\r\n" * count)
                self._line_ends -= count
            self._sha256.update(text[:kept])
        self._line_ends += (len(text) - kept) // 2

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    def in_full(self) -> str:
        """The digest of the same text with all its line ends."""
        sha256 = self._sha256.copy()
        while self._line_ends:
            count = min(self._line_ends, _LINE_ENDS)
            sha256.update(b"\r\n" * count)
            self._line_ends -= count
        return sha256.hexdigest()

    def with_line_ends(self) -> Iterator[str]:
        """The digests of the same text with any number of line ends at its end, within reason."""
        sha256 = self._sha256.copy()
        for _ in range(self._line_ends + _FURTHER_LINE_ENDS):
            yield sha256.hexdigest()
            sha256.update(b"\r\n")


@dataclass(frozen=True, slots=True)
class CopyIdentity:
    """What a plaintext copy is known by, each lower-case hexadecimal."""

    content: str
    """Of its Content-* fields, unfolded and in any order, and of its body with line ends as CRLF,
    without those at its end."""
    author: str
    """Of its From, Date and Message-ID fields, unfolded."""
    whole: str
    """Of all of it, with line ends as CRLF and without those at its end."""

    def __str__(self) -> str:
        return f"{self.content}:{self.author}:{self.whole}"


def identities_in_clear(content: Content, header: HeaderBlock) -> tuple[Identity, CopyIdentity]:
    """The identity of a message by its body, and the one it has as a plaintext copy.

    Args:
        content: the stored message.
        header: of it.
    """
    trimmed = _TrimmedDigest()
    lines = CanonicalLines()
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(header.body_start)
        for block in reader.blocks_to(content.size):
            trimmed.update(lines.update(block))
        trimmed.update(lines.finish())
    in_full = trimmed.in_full()
    # Of several with one name the first counts to readers, so that these keep their order.
    body = _combined("body", [in_full])
    trimmed_body = trimmed.hexdigest()
    lines = CanonicalLines()
    with content.open() as stream:
        header_text = lines.update(stream.read(header.end)) + lines.finish()
    return body, CopyIdentity(
        content=_combined("plaintext", [*_words(header, CONTENT_FIELDS), trimmed_body]),
        author=_combined("author", _words(header, _OF_AN_AUTHOR)),
        whole=_combined("copy", [hashlib.sha256(header_text).hexdigest(), trimmed_body]),
    )


def header_words(content: Content) -> Counter[str]:
    """What a message says in its header beside its body, one digest for each field.

    Without the Subject where that tells nothing, since another may be shown in its place.

    Args:
        content: the message.

    Raises:
        LimitExceeded: the header is longer than is looked at.
    """
    header = header_of(content, is_message=True)
    return Counter(
        hashlib.sha256(b"%s %s" % (field.name, b" ".join(field.value.split()))).hexdigest()
        for field in header.fields
        if field.name not in _NOT_KEPT
        and not (field.name == b"subject" and field.value.lower() in OBSCURED_SUBJECTS)
    )


def _words(header: HeaderBlock, names: frozenset[bytes]) -> list[str]:
    """A word for each of these fields, unfolded, by name and then in the order of the header."""
    fields = sorted((one for one in header.fields if one.name in names), key=lambda one: one.name)
    return [f"{one.name.decode()} {b' '.join(one.value.split()).hex()}" for one in fields]


def identity_of_body(content: Content, body_start: int) -> Identity:
    """The identity of a message that is known by its body: clear, signed or not understood.

    Args:
        content: the stored message.
        body_start: offset of its body.
    """
    digest = _CanonicalDigest()
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(body_start)
        digest.update_all(reader.blocks_to(content.size))
    return _combined("body", [digest.hexdigest()])


def identity_of_parts(
    content: Content, body_start: int, parts: Sequence[EncryptedPart]
) -> Identity:
    """The identity of a message with encrypted parts.

    What counts of the rest is what ``write_spliced`` copies, so that encrypting
    again changes the identity by the content digests alone.

    Args:
        content: the stored message.
        body_start: offset of its body.
        parts: in the order of the message.
    """
    words = [(part.word, part.envelope.digest) for part in parts]
    if not any(part.path for part in parts):
        return _of_parts(words)
    surroundings = _CanonicalDigest()
    _read_surroundings(content, body_start, parts, surroundings)
    return _of_parts(words, surroundings.hexdigest())


def differs_by_envelopes_only(
    content: Content,
    parts: Sequence[EncryptedPart],
    words: Sequence[tuple[str, str]],
    identity: Identity,
) -> bool:
    """Whether a message is another one but for its header and envelopes, and its last line ends.

    Args:
        content: the message.
        parts: in the order of the message.
        words: of each part ``part_word`` and the content digest in the other one.
        identity: of the other one.

    Raises:
        MessageChanged: the content became shorter meanwhile.
    """
    if not any(part.path for part in parts):
        return True  # beside its envelope it has a header only
    body_start = header_of(content, is_message=True).body_start
    trimmed = _TrimmedDigest()
    surroundings = _CanonicalDigest(trimmed)
    _read_surroundings(content, body_start, parts, surroundings)
    surroundings.mark(b"")
    return any(_of_parts(words, one) == identity for one in trimmed.with_line_ends())


def _of_parts(words: Sequence[tuple[str, str]], *around: str) -> Identity:
    return _combined("encrypted", [*(f"{word} {digest}" for word, digest in words), *around])


def _combined(kind: str, words: Sequence[str]) -> Identity:
    text = "\n".join((f"sectool identity 1 {kind}", *words))
    return Identity(hashlib.sha256(text.encode()).hexdigest())


def _read_surroundings(
    content: Content, body_start: int, parts: Sequence[EncryptedPart], digest: _CanonicalDigest
) -> None:
    with content.open() as stream:
        reader = ForwardReader(stream)
        reader.pass_to(body_start)
        for part in parts:
            for start, end in part.content_fields:
                digest.update_all(reader.blocks_to(start))
                reader.pass_to(end)
            digest.update_all(reader.blocks_to(part.header.end))
            digest.mark(f"\0{part.path}\0".encode())
            reader.pass_to(part.body_end)
        digest.update_all(reader.blocks_to(content.size))
