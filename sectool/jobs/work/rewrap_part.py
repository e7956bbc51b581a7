"""What a worker does to exchange the recipients of one encrypted part.

The content is opened in memory and judged once more (G3), so that a wrong key
is never wrapped; the ciphertext passes through, and no plaintext is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sectool import cms, smime
from sectool.errors import MalformedMessage
from sectool.joblog import SealablePart
from sectool.jobs.work.examine import Exchange
from sectool.jobs.work.open_with import find_opening
from sectool.jobs.work.sealers import PartSealer, Subject, WrittenCMS
from sectool.keys import KeyHistory, KeyMaterial
from sectool.message import Content
from sectool.outcome import Binding, ContentDigest


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

    def seal(
        self, content: Content, place: smime.Place, known: SealablePart, sink: cms.Sink
    ) -> WrittenCMS:
        assert isinstance(place, smime.EncryptedPart)
        guesses = self._guesses.get(place.envelope.digest)
        keys = self._keys.bind((), guesses) if guesses else self._keys
        found = find_opening(content, place, keys, self._released)
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
