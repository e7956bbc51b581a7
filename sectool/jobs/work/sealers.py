"""Where the new CMS of an encrypted part comes from: a checkpoint, or a message in clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from sectool import cms, smime
from sectool.checkpoint import CheckpointStore
from sectool.errors import MalformedMessage
from sectool.joblog import SealablePart
from sectool.jobs.work.checkpoint_access import CheckpointPlace, header_of
from sectool.jobs.work.examine import Exchange
from sectool.jobs.work.open_with import find_opening
from sectool.jobs.work.seal_nested import NestedSealer
from sectool.keys import KeyHistory, KeyMaterial
from sectool.outcome import Binding, ContentDigest
from sectool.values import dataclass


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

    def seal(self, place: smime.Place, known: SealablePart, sink: cms.Sink) -> WrittenCMS:
        """Writes one CMS.

        Args:
            place: where in the stored message.
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

    def seal(self, _place: smime.Place, known: SealablePart, sink: cms.Sink) -> WrittenCMS:
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

    def seal(self, _place: smime.Place, _known: SealablePart, sink: cms.Sink) -> WrittenCMS:
        return cms.seal_envelope(self._entity, sink, self._recipients, profile=self._profile)

    def subject(self, _known: SealablePart) -> Subject | None:
        return None


# --- other recipients for the same content --------------------------------------------------------
# The content is opened in memory and judged once more (G3), so that a wrong key
# is never wrapped; the ciphertext passes through, and no plaintext is written.


@dataclass(frozen=True, slots=True)
class FromMailbox:
    """Exchanges the recipients of the envelopes that are stored; a ``SealingMethod``."""

    material: KeyMaterial = field(repr=False)
    """The key history."""
    exchange: Exchange
    released: frozenset[str]
    """Content digests that a person takes although nothing proves them mail."""
    guesses: Mapping[ContentDigest, tuple[Binding, ...]] = field(default_factory=dict)
    """Keys that opened a part on trial, by its content digest."""

    def sealer(self, recipients: Sequence[cms.Recipient], profile: cms.Profile) -> PartSealer:
        """As ``SealingMethod`` has it."""
        return _Rewrapper(self, recipients, profile)


class _Rewrapper:
    def __init__(
        self, method: FromMailbox, recipients: Sequence[cms.Recipient], profile: cms.Profile
    ) -> None:
        self._keys = KeyHistory.from_material(method.material)
        self._exchange = method.exchange
        self._released = method.released
        self._guesses = method.guesses
        self._recipients = recipients
        self._profile = profile

    def seal(self, place: smime.Place, known: SealablePart, sink: cms.Sink) -> WrittenCMS:
        assert isinstance(place, smime.EncryptedPart)
        guesses = self._guesses.get(place.envelope.digest)
        keys = self._keys.bind((), guesses) if guesses else self._keys
        found = find_opening(place, keys, self._released)
        inner, opening = found.inner, found.opening
        wanted = known.checkpoint.inner_sha256, known.checkpoint.content_type
        if (inner.sha256, inner.content_type) != wanted:
            raise MalformedMessage("it opens to something else than before")
        if self._exchange.or_reencrypt and cms.why_not_rewrapped(opening, self._profile):
            sealer = cms.Sealer(
                sink,
                inner.size,
                self._recipients,
                profile=self._profile,
                content_type=inner.content_type,
            )
            inner.write_to(sealer)
            return sealer.finish()
        return cms.rewrap_envelope(opening, sink, self._recipients, profile=self._profile)

    def subject(self, _known: SealablePart) -> Subject | None:
        return None  # no byte but the recipients is touched
