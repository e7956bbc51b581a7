"""What a message is known by, wherever it lies and whatever was added to its header.

Two digests: of a body with its line ends as CRLF, and of an encrypted message
by its parts and what surrounds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sectool.message import Content
from sectool.smime.lines import CanonicalLines
from sectool.smime.parts import EncryptedPart
from sectool.smime.ranges import ForwardReader


class _CanonicalDigest:
    """SHA-256 of text whose line ends count as CRLF."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._lines = CanonicalLines()

    def update_all(self, blocks: Iterable[bytes]) -> None:
        for block in blocks:
            self._sha256.update(self._lines.update(block))

    def mark(self, text: bytes) -> None:
        """Counts something that is no text, apart from what stands before and after."""
        self._sha256.update(self._lines.finish() + text)

    def hexdigest(self) -> str:
        self.mark(b"")
        return self._sha256.hexdigest()


def identity_of_body(content: Content, body_start: int) -> str:
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


def identity_of_parts(content: Content, body_start: int, parts: Sequence[EncryptedPart]) -> str:
    """The identity of a message with encrypted parts.

    What counts of the rest is what ``write_spliced`` copies, so that encrypting
    again changes the identity by the content digests alone.

    Args:
        content: the stored message.
        body_start: offset of its body.
        parts: in the order of the message.
    """
    words = [f"{part.path} {part.envelope.digest}" for part in parts]
    if any(part.path for part in parts):
        words.append(_surroundings(content, body_start, parts))
    return _combined("encrypted", words)


def _combined(kind: str, words: Sequence[str]) -> str:
    text = "\n".join((f"sectool identity 1 {kind}", *words))
    return hashlib.sha256(text.encode()).hexdigest()


def _surroundings(content: Content, body_start: int, parts: Sequence[EncryptedPart]) -> str:
    digest = _CanonicalDigest()
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
    return digest.hexdigest()
