"""Where the new CMS of an encrypted part comes from: a checkpoint, or a message in clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sectool import cms, smime
from sectool.checkpoint import CheckpointStore
from sectool.joblog import SealablePart
from sectool.jobs.work.checkpoint_access import CheckpointPlace, header_of
from sectool.jobs.work.seal_nested import NestedSealer
from sectool.message import Content


class WrittenCMS(Protocol):
    """What the proof of a CMS needs of its writing."""

    @property
    def digest(self) -> str:
        """SHA-256 of the CMS, lower-case hexadecimal."""

    @property
    def content_encryption_key(self) -> bytes:
        """Never stored."""


class PartSealer(Protocol):
    """Writes the new CMS of an encrypted part."""

    def seal(
        self, content: Content, place: smime.Place, known: SealablePart, sink: cms.Sink
    ) -> WrittenCMS:
        """Writes one CMS.

        Args:
            content: the stored message.
            place: where in it.
            known: what the log knows of the plaintext, which the CMS must hold.
            sink: takes the CMS.

        Raises:
            MessageError: it cannot be done for this message.
            CheckpointDamaged: the plaintext is not there as the log knows it.
        """

    def subject(self, known: SealablePart) -> Subject | None:
        """The protected Subject of a plaintext and the header that was around it at first.

        Raises:
            CheckpointDamaged: the plaintext is not there, or the header is another one.
        """


@dataclass(frozen=True, slots=True)
class Subject:
    """A Subject that stands protected in a plaintext."""

    protected: bytes
    """As a header may show it."""
    outer_header: bytes
    """Of the message as it was found, without the fields of the body."""


class SealingMethod(Protocol):
    """Where new CMS comes from; travels to the workers."""

    def sealer(self, recipients: Sequence[cms.Recipient], profile: cms.Profile) -> PartSealer:
        """What writes it, made once in each worker."""


@dataclass(frozen=True, slots=True)
class FromCheckpoints:
    """Encrypts what checkpoints hold."""

    checkpoints: CheckpointPlace

    def sealer(self, recipients: Sequence[cms.Recipient], profile: cms.Profile) -> PartSealer:
        """As ``SealingMethod`` has it."""
        checkpoints = self.open()
        return _CheckpointSealer(checkpoints, NestedSealer(checkpoints, recipients, profile))

    def open(self) -> CheckpointStore:
        """The checkpoints, opened in whichever process asks."""
        return self.checkpoints.store()


class _CheckpointSealer:
    def __init__(self, checkpoints: CheckpointStore, sealer: NestedSealer) -> None:
        self._checkpoints = checkpoints
        self._sealer = sealer

    def seal(
        self, _content: Content, _place: smime.Place, known: SealablePart, sink: cms.Sink
    ) -> WrittenCMS:
        return self._sealer.seal(known.checkpoint, known.layers, sink)

    def subject(self, known: SealablePart) -> Subject | None:
        checkpoint = self._checkpoints.open(known.checkpoint.content_digest)
        subject = smime.protected_subject(checkpoint.inner, known.checkpoint.content_type)
        if subject is None:
            return None
        return Subject(subject, header_of(checkpoint, known.checkpoint))


class ClearSealer:
    """A ``PartSealer`` for one message in clear."""

    def __init__(
        self,
        entity: smime.ClearEntity,
        recipients: Sequence[cms.Recipient],
        profile: cms.Profile,
    ) -> None:
        self._entity = entity
        self._recipients = recipients
        self._profile = profile

    def seal(
        self, _content: Content, _place: smime.Place, _known: SealablePart, sink: cms.Sink
    ) -> WrittenCMS:
        return cms.seal_envelope(self._entity, sink, self._recipients, profile=self._profile)

    def subject(self, _known: SealablePart) -> Subject | None:
        return None
