"""Checkpoints as CMS to transport certificates, opened with their private keys (RFC 5083).

Nothing of what is inside is used before the authentication tag over all of it
verified: a small checkpoint is held in memory, a large one is decrypted once
more for every reading.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from sectool import cms
from sectool.checkpoint.layout import Checkpoint, damaged, head, read_layout
from sectool.errors import (
    CertificateUnusable,
    DecryptionFailed,
    MessageError,
    MissingKey,
    reason_of,
)
from sectool.message import (
    COPY_BLOCK,
    IN_MEMORY,
    BytesContent,
    Content,
    FileContent,
    InnerEntity,
    digest_stream,
)
from sectool.values import dataclass

_PROFILES = (cms.Profile.MODERN, cms.Profile.POST_QUANTUM)
"""Those with authenticated encryption, the more widely read one first."""


def profile_for(recipients: Sequence[cms.Recipient]) -> cms.Profile:
    """The profile that checkpoints are sealed under.

    Args:
        recipients: whom every checkpoint is sealed to, at least one.

    Raises:
        CertificateUnusable: no profile with authenticated encryption takes them all.
    """
    able = [{one for one in _PROFILES if _serves(each, one)} for each in recipients]
    for recipient, profiles in zip(recipients, able, strict=True):
        if not profiles:
            recipient.check(_PROFILES[0])
    for profile in _PROFILES:
        if all(profile in profiles for profiles in able):
            return profile
    raise CertificateUnusable(
        "ML-KEM certificates and others cannot be sealed to together",
        hint="name certificates of the one kind or the other",
    )


def _serves(recipient: cms.Recipient, profile: cms.Profile) -> bool:
    try:
        recipient.check(profile)
    except CertificateUnusable:
        return False
    return True


class SealedFiles:
    """Checkpoints of which only the holders of certain keys can read anything.

    Args:
        recipients: whom they are sealed to; none where none is written.
        keys: private keys to open them with; None where none is opened.
        unnamed_keys: those of them that have no certificate.
    """

    suffix = ".p7m"

    def __init__(
        self,
        recipients: Sequence[cms.Recipient] = (),
        keys: cms.KeySource | None = None,
        unnamed_keys: Sequence[cms.KeyOperations] = (),
    ) -> None:
        self._recipients = tuple(recipients)
        self._profile = profile_for(recipients) if recipients else None
        self._keys = keys
        self._unnamed_keys = unnamed_keys

    def write(
        self, path: Path, stream: BinaryIO, outer_header: bytes, inner: InnerEntity, /
    ) -> str:
        assert self._profile is not None
        before = head(outer_header, inner)
        sealer = cms.Sealer(
            stream, len(before) + inner.size, self._recipients, profile=self._profile
        )
        sealer.write(before)
        inner.write_to(sealer)
        sealed = sealer.finish()
        stream.flush()
        self._prove(path, sealed)
        return sealed.digest

    def _prove(self, path: Path, sealed: cms.Sealed) -> None:
        """Once the old keys are gone, nothing else holds the plaintext."""
        try:
            checked = cms.check_sealed(
                FileContent(path),
                sealed.content_encryption_key,
                self._recipients,
                profile=self._profile,
            )
        except MessageError as error:
            raise MessageError("its sealed checkpoint does not open again") from error
        if (checked.digest, checked.content_sha256) != (sealed.digest, sealed.content_sha256):
            raise MessageError("its sealed checkpoint is not what was written")

    def open(self, path: Path) -> Checkpoint:
        with _telling(path.stem):
            plaintext = self._plaintext(path)
            with plaintext.open() as stream:
                layout = read_layout(path.stem, stream, plaintext.size)
        inner = _after(plaintext, layout.offset)
        return Checkpoint(inner, layout.inner_sha256, layout.content_type, layout.outer_header)

    def _plaintext(self, path: Path) -> BytesContent | _Decrypted:
        """All of a checkpoint, after its tag verified."""
        source = FileContent(path)
        openings = self._openings(source)
        if openings.description.trailing_bytes:
            raise MessageError("something follows the envelope")
        is_small = source.size <= IN_MEMORY
        for opening in openings:
            buffer = io.BytesIO()
            try:
                opened = opening.decrypt(buffer if is_small else cms.DISCARD)
            except DecryptionFailed:
                continue
            if not opened.aead:
                raise MessageError("it is not authenticated")
            if is_small:
                return BytesContent(buffer.getvalue())
            return _Decrypted(path.stem, opening, opened.size)
        raise openings.failure

    def _openings(self, source: Content) -> cms.Openings:
        return cms.find_openings(source, self._keys or _NO_KEYS, unnamed_keys=self._unnamed_keys)

    def is_for_keys(self, path: Path) -> bool | None:
        try:
            return self._has_key(FileContent(path))
        except (OSError, MessageError):
            return None

    def _has_key(self, source: Content) -> bool:
        # A wrong key gives none: the ways in which keys are encrypted here check themselves.
        try:
            return next(iter(self._openings(source)), None) is not None
        except (MissingKey, DecryptionFailed):
            return False

    def open_their_own(self) -> bool:
        """Whether what is sealed to these recipients opens with these keys."""
        assert self._profile is not None
        sealed = io.BytesIO()
        cms.seal_envelope(BytesContent(b""), sealed, self._recipients, profile=self._profile)
        return self._has_key(BytesContent(sealed.getvalue()))

    def may_hold(self, path: Path, inner_size: int) -> bool:
        try:
            envelope = cms.describe_envelope(FileContent(path))
        except (OSError, MessageError):
            return False
        return (envelope.encrypted_content_size or 0) >= inner_size

    def is_whole(
        self, path: Path, _inner_sha256: str, inner_size: int, _header_sha256: str | None
    ) -> bool:
        return self.may_hold(path, inner_size)

    def size_of(self, inner_size: int) -> int:
        assert self._profile is not None
        return cms.sealed_size(inner_size, self._recipients, profile=self._profile)


class _NoKeys:
    def find(self, _: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        return ()


_NO_KEYS = _NoKeys()


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """Turns what went wrong with a checkpoint into the one error that says which."""
    try:
        yield
    except OSError as error:
        raise damaged(name, reason_of(error)) from error
    except MissingKey as error:
        raise damaged(name, "no key of --seal-keys opens it") from error
    except DecryptionFailed as error:
        raise damaged(name, "it was altered, or sealed to another key") from error
    except MessageError as error:
        raise damaged(name, error.message) from error


@dataclass(frozen=True)
class _Decrypted:
    """Content too large for memory, decrypted anew whenever it is read."""

    name: str
    opening: cms.Opening
    size: int
    offset: int = 0
    """Bytes of plaintext before it."""

    @cached_property
    def digest(self) -> str:
        with self.open() as stream:
            return digest_stream(stream)

    def open(self) -> BinaryIO:
        plaintext = _Plaintext(self.name, self.opening.blocks())
        stream = io.BufferedReader(plaintext, COPY_BLOCK)
        left = self.offset
        while left and (block := stream.read(min(left, COPY_BLOCK))):
            left -= len(block)
        return stream


def _after(content: BytesContent | _Decrypted, offset: int) -> Content:
    """What follows the first bytes of a content."""
    if isinstance(content, BytesContent):
        return BytesContent(content.raw[offset:])
    return replace(content, offset=offset, size=content.size - offset)


class _Plaintext(io.RawIOBase):
    """Blocks of plaintext as a stream that cannot be sought in.

    Its end is reached only where the tag verified again.
    """

    def __init__(self, name: str, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._name = name
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # the buffer protocol
        with _telling(self._name):
            while not self._left:
                block = next(self._blocks, None)
                if block is None:
                    return 0
                self._left = memoryview(block)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if isinstance(self._blocks, Generator):
            self._blocks.close()
        super().close()
